"""Feature networks for image metrics, one per file."""
