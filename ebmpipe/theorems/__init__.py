"""Identities that tie training methods together, one per file, measured with the losses that the methods train with."""
