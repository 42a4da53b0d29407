"""Data sets, one per file, and what reads them once prepared."""
