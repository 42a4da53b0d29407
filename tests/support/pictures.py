"""Image files for tests: written by Pillow from arrays of levels, or byte by byte where Pillow would not."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image


def image(levels: np.ndarray) -> Image.Image:
    """(channels, height, width) or (height, width) uint8 as an image."""
    return Image.fromarray(levels if levels.ndim == 2 else levels[0] if len(levels) == 1 else levels.transpose(1, 2, 0))


def encoded(levels: np.ndarray, kind: str = "PNG", **options: Any) -> bytes:
    """The bytes of an image file."""
    file = io.BytesIO()
    image(levels).save(file, kind, **options)
    return file.getvalue()


def write(path: Path, levels: np.ndarray, **options: Any) -> Path:
    """Write an image whose format its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image(levels).save(path, **options)
    return path


def chunk(kind: bytes, content: bytes) -> bytes:
    """A chunk of a PNG."""
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, bits: int, colour: int, rows: bytes) -> bytes:
    """A PNG with any header; ``rows`` is not looked at."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def noise(n: int, *shape: int, seed: int = 0) -> np.ndarray:
    """``n`` images of random levels, no two of them the same."""
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), np.uint8)
