"""Train, sample, evaluate and compare energy-based models."""

__version__ = "0.1.0"
