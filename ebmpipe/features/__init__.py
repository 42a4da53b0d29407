"""Feature networks for image metrics, one per file; each adds ``frechet_<file>`` and ``kernel_<file>``."""
