"""Whether a folder can be written, or made. Standard library only: planning and the doctor ask."""

from __future__ import annotations

import tempfile
from pathlib import Path


def writable(folder: Path) -> tuple[Path, str | None]:
    """The nearest part of ``folder`` that exists, and why nothing can be written there; None if it can."""
    there = folder.absolute()
    while not there.exists():
        there = there.parent
    try:
        with tempfile.NamedTemporaryFile(dir=there, prefix=".ebmpipe-"):
            return there, None
    except OSError as error:
        return there, error.strerror or str(error)
