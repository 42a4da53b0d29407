"""Training methods, one per file: ``from ebmpipe.methods import build``."""

from ebmpipe.methods.base import Method, NoEnergy, Reference, Samples, Setup, build

__all__ = ["Method", "NoEnergy", "Reference", "Samples", "Setup", "build"]
