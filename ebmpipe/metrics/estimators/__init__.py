"""Numerics that metric families share. A package, so that it is not taken for a family itself."""
