"""Normalising flows: invertible maps from data to a Gaussian, one per file."""
