"""Denoising and inpainting by sampling an energy under what was observed."""

#: Bumped when the same energy and observations would give other restorations.
REVISION = 1
