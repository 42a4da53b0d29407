"""Checksums of raw files, as they were published: each is written with its algorithm, as in ``md5:c58f…``."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ebmpipe.data.fetching import UnusableRawData

#: What the algorithms are called in messages.
ALGORITHMS = {"md5": "MD5", "sha1": "SHA-1", "sha256": "SHA-256"}


def compare(checksum: str, found: str, source: str) -> None:
    """Refuse what has another checksum.

    Raises:
        UnusableRawData: naming ``source``.
    """
    algorithm, _, expected = checksum.partition(":")
    if found != expected:
        raise UnusableRawData(f"{source} is not the published file: its {ALGORITHMS[algorithm]} is {found}, not {expected}")


def checked(content: bytes, checksum: str, source: str) -> bytes:
    """``content``, if it has the ``checksum``.

    Raises:
        UnusableRawData: if not, naming ``source``.
    """
    compare(checksum, hashlib.new(checksum.partition(":")[0], content, usedforsecurity=False).hexdigest(), source)
    return content


def checked_file(path: Path, checksum: str, source: str) -> Path:
    """``path``, if the file has the ``checksum``.

    Raises:
        UnusableRawData: if not, or if it cannot be read, naming ``source``.
    """
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, lambda: hashlib.new(checksum.partition(":")[0], usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UnusableRawData(f"{source} cannot be read ({error})") from error
    compare(checksum, found, source)
    return path
