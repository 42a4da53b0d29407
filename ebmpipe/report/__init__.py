"""What people read: tables, figures and the first screen of the report."""
