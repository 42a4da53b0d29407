"""Zip archives of others: opened only where every member is what it should be."""

from __future__ import annotations

import lzma
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from ebmpipe.data.fetching import UnusableRawData

#: Whatever is wrong with an archive or one of its members raises one of these.
FAULTS = (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, lzma.LZMAError)


def refusal(member: zipfile.ZipInfo) -> str | None:
    """Why an archive with ``member`` is not read, None if it may be."""
    path, mode = PurePosixPath(member.filename), member.external_attr >> 16
    if path.is_absolute() or ".." in path.parts or "\\" in member.filename:
        return f"its member {member.filename!r} would lie outside of the folder that it is unpacked to"
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        return f"its member {member.filename!r} is a link or a special file"
    if member.flag_bits & 1:
        return f"its member {member.filename!r} is encrypted"
    return None


@contextmanager
def opened(path: Path) -> Iterator[zipfile.ZipFile]:
    """A zip archive, of which nothing but its table of contents was read.

    Raises:
        UnusableRawData: if it cannot be read; or if a member is there twice, would lie elsewhere, is a link or special file, or encrypted.
    """
    try:
        archive = zipfile.ZipFile(path)
    except FAULTS as error:
        raise UnusableRawData(f"{path} is no zip archive that can be read ({error})") from error
    with archive:
        seen: set[str] = set()
        for member in archive.infolist():
            if reason := refusal(member):
                raise UnusableRawData(f"{path} is no archive to be trusted: {reason}")
            if member.filename in seen:
                raise UnusableRawData(f"{path} has the member {member.filename!r} twice")
            seen.add(member.filename)
        yield archive
