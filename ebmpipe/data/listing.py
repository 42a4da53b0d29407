"""What lies at a path of the user's: the names of its files, and whether their content is what it was."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from ebmpipe.files import digest, sha256
from ebmpipe.progress import Progress

#: Bytes of files from which on reading them shows its progress.
LONG = 10**8


@dataclass(frozen=True)
class Listing:
    """Files below a folder, or the one file that a path is.

    Attributes:
        root: the folder; of a single file, the one that holds it.
        names: paths below ``root``, with slashes, sorted by their code points, so that the order is the same on every machine.
        others: how many files of other endings lie beside them.
    """

    root: Path
    names: tuple[str, ...]
    others: int = 0

    @property
    def paths(self) -> list[Path]:
        """The files."""
        return [self.root / name for name in self.names]

    def fingerprint(self) -> str:
        """A checksum of names, sizes and times, which is had at once and changes with every change of a file; and when one is copied."""
        states = [path.stat() for path in self.paths]
        return digest([[printable(name), state.st_size, state.st_mtime_ns] for name, state in zip(self.names, states, strict=True)])

    def checksums(self) -> list[str]:
        """The SHA-256 of every file; shows how many are read, where that takes a while."""
        paths, found = self.paths, []
        long = sum(path.stat().st_size for path in paths) >= LONG
        with Progress(f"checksums of {self.root}", len(paths)) if long else nullcontext() as progress:
            for path in paths:
                found.append(sha256(path))
                if progress is not None:
                    progress.advance()
        return found

    def content(self, checksums: Sequence[str]) -> str:
        """A checksum of the names and contents of all files, given that of each."""
        lines = sorted(f"{checksum}  {printable(name)}\n" for name, checksum in zip(self.names, checksums, strict=True))
        return hashlib.sha256("".join(lines).encode()).hexdigest()


def printable(name: str) -> str:
    """A file's name as text that can be written anywhere; bytes of no UTF-8 are shown as escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def listed(folder: Path, suffixes: Sequence[str]) -> Listing:
    """The files below ``folder`` whose names end so, in any case; hidden ones are left out, and links to folders are not followed."""
    names, others = [], 0
    for place, below, files in os.walk(folder):
        below[:] = sorted(name for name in below if not name.startswith("."))
        for file in files:
            if file.startswith("."):
                continue
            if file.lower().endswith(tuple(suffixes)):
                names.append((Path(place) / file).relative_to(folder).as_posix())
            else:
                others += 1
    return Listing(folder, tuple(sorted(names)), others)
