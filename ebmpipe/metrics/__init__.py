"""Metric families, one per file."""
