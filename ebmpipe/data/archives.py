"""Members of a tar archive, read without unpacking it: nothing in an archive decides where anything is written."""

from __future__ import annotations

import gzip
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, cast

from ebmpipe.data.fetching import UnusableRawData

#: Bytes that an archive may hold beside the members that are wanted: headers, padding, a note or two.
BESIDE = 2**24
#: Reads beyond the end of an archive that are taken for its reader's way to notice it.
PATIENCE = 100
#: Bytes that are unpacked at once of what follows the last member.
CHUNK = 2**20


class Limited:
    """A stream that is refused where it is longer than it may be: a small archive can unpack to more than any disk holds.

    Args:
        stream: the unpacked bytes.
        limit: how many there may be.
    """

    def __init__(self, stream: IO[bytes], limit: int) -> None:
        self.stream, self.limit, self.left, self.barren = stream, limit, limit, 0

    def read(self, size: int) -> bytes:
        """At most ``size`` bytes.

        Raises:
            UnusableRawData: if there are more than the limit.
            EOFError: if more is asked for again and again beyond the end, as tarfile does in a header of a sparse member that is cut off.
        """
        content = self.stream.read(min(size, self.left + 1))
        self.barren += not content
        if self.barren > PATIENCE:
            raise EOFError("it ends within a header")
        self.left -= len(content)
        if self.left < 0:
            raise UnusableRawData(f"it unpacks to more than the {self.limit} bytes that it may")
        return content


def refusal(member: tarfile.TarInfo, limits: Mapping[str, int]) -> str | None:
    """Why an archive with ``member`` is not read, None if it may be."""
    path = PurePosixPath(member.name)
    if path.is_absolute() or ".." in path.parts or "\\" in member.name:
        return f"its member {member.name!r} would lie outside of the folder that it is unpacked to"
    if not (member.isdir() or (member.isreg() and not member.issparse())):
        return f"its member {member.name!r} is a link or a special file"
    if member.name in limits and not (member.isreg() and member.size <= limits[member.name]):
        return f"its member {member.name!r} is a folder, or has more than the {limits[member.name]} bytes that it may"
    return None


@contextmanager
def readable(source: str) -> Iterator[None]:
    """Turn whatever is wrong with an archive into one error.

    Raises:
        UnusableRawData: naming ``source``.
    """
    try:
        yield
    except UnusableRawData as error:
        raise UnusableRawData(f"{source} is no archive to be trusted: {error}") from error
    except (
        OSError,
        EOFError,
        ValueError,
        zlib.error,
        tarfile.TarError,
    ) as error:  # of headers that are no numbers, tarfile says ValueError
        raise UnusableRawData(f"{source} cannot be unpacked ({error})") from error


def members(path: Path, limits: Mapping[str, int]) -> Iterator[tuple[str, bytes]]:
    """Name and content of the wanted members of a gzipped tar archive, one in memory at a time, in the order of the archive.

    Args:
        path: the archive.
        limits: name of every wanted member -> how many bytes it may have.

    Raises:
        UnusableRawData: if it cannot be unpacked; lacks a wanted member, or has it twice or too large; has a member that is a link or a
            special file, or would lie elsewhere; or unpacks to more than the wanted members and `BESIDE`.
    """
    lacking, limit = set(limits), sum(limits.values()) + BESIDE
    with readable(str(path)), gzip.open(path) as stream:
        # A stream that can do nothing but be read is all that tarfile needs here; there is nothing to close.
        limited = Limited(cast(IO[bytes], stream), limit)
        archive = tarfile.open(fileobj=cast(IO[bytes], limited), mode="r|")  # noqa: SIM115
        for member in archive:
            if reason := refusal(member, limits):
                raise UnusableRawData(reason)
            if member.name not in limits:
                continue
            if member.name not in lacking:
                raise UnusableRawData(f"it has the member {member.name!r} twice")
            lacking.discard(member.name)
            file = archive.extractfile(member)
            assert file is not None, "a regular file has a content"
            content = file.read()
            if len(content) != member.size:
                raise EOFError(f"{member.name} ends after {len(content)} of {member.size} bytes")
            yield member.name, content
        if lacking:
            raise UnusableRawData(f"it has no member {', '.join(sorted(lacking))}")
        while limited.read(CHUNK):
            pass  # the checksum of all that was unpacked stands at the very end
