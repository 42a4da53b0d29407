"""One file over HTTP, gone on with where it was cut off. The standard library does it: see docs/architecture.md for why not pooch."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException, HTTPMessage, HTTPResponse
from io import FileIO
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.request import Request, urlopen

from ebmpipe import __version__
from ebmpipe.progress import Progress

#: Seconds without a byte after which a connection is given up.
TIMEOUT = 30.0

#: Bytes read at once at most.
CHUNK = 2**16

#: Answers that another try may change: time-outs, too many requests, trouble of the server's own.
PASSING = {408, 425, 429, 500, 502, 503, 504}


class BrokenOff(Exception):
    """The network or the server failed; what came is kept and may be gone on with."""


class Refused(Exception):
    """The server will not give the file."""


@contextmanager
def interruptible() -> Iterator[None]:
    """Turn everything that a connection may fail with into `BrokenOff`."""
    try:
        yield
    except (OSError, HTTPException) as error:
        reason = error.reason if isinstance(error, URLError) else error
        raise BrokenOff(str(reason) or type(reason).__name__) from error


def validator(headers: HTTPMessage) -> str:
    """What names the version of a file that a server gave: its strong entity tag, else its date, else nothing."""
    tag = headers.get("ETag", "")
    return tag if tag.startswith('"') else headers.get("Last-Modified", "")


def origin_of(path: Path) -> dict[str, Any]:
    """Where the first bytes of a partial file came from, empty if that is not known."""
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def write(file: FileIO, chunk: bytes) -> None:
    """Append all of ``chunk``: an unbuffered file may take less at once."""
    left = memoryview(chunk)
    while left:
        left = left[file.write(left) :]


def continues(response: HTTPResponse, have: int, origin: dict[str, Any]) -> bool:
    """Whether a partial answer is the rest of what is there: it starts where that ends and belongs to the same version of the file."""
    found = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != have or validator(response.headers) != origin["validator"]:
        return False
    return found[2] == "*" or origin["total"] in (None, int(found[2]))


def transfer(url: str, file: FileIO, origin: Path, title: str) -> bool:
    """Append the rest of ``url`` to ``file``, or all of it to an empty one; start anew where its bytes are not of that very file.

    Args:
        url: what to fetch; redirects are followed.
        file: opened to append, unbuffered, so that what came is on disk whatever ends this process.
        origin: path of the note from which version of which file the bytes came.
        title: what the progress bar says.

    Returns:
        Whether earlier bytes were kept.

    Raises:
        BrokenOff: if the connection cannot be made, breaks off, or brings less than announced.
        Refused: if the server says no.
        OSError: if the disk does not take the file.
    """
    have, known = os.fstat(file.fileno()).st_size, origin_of(origin)
    if have and (known.get("url") != url or not {"validator", "total"} <= known.keys()):
        file.truncate(have := 0)
    headers = {"User-Agent": f"ebmpipe/{__version__}", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if known["validator"]:
            headers["If-Range"] = known["validator"]
    try:
        with interruptible():
            response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except BrokenOff as failure:
        error = failure.__cause__
        if not isinstance(error, HTTPError):
            raise
        error.close()
        if error.code == 416 and have:  # the file has become shorter than what is there
            file.truncate(0)
            return transfer(url, file, origin, title)
        kind = BrokenOff if error.code in PASSING else Refused
        raise kind(f"it answers {error.code} {error.reason}") from error
    with response:
        if response.status != 200:
            if response.status != 206 or not have:
                raise Refused(f"it answers {response.status} {response.reason}")
            if not continues(response, have, known):
                file.truncate(0)
                return transfer(url, file, origin, title)
        elif have:  # it ignores ranges, or the file is another by now
            file.truncate(have := 0)
        total = None if response.length is None else have + response.length
        if not have:
            origin.write_text(json.dumps({"url": url, "validator": validator(response.headers), "total": total}), encoding="utf-8")
        with Progress(title, total, have, unit="B") as progress:
            while chunk := received(response):
                write(file, chunk)
                progress.advance(count=len(chunk))
    found = os.fstat(file.fileno()).st_size
    if total is not None and found != total:
        raise BrokenOff(f"the connection ended after {found} of {total} bytes")
    return have > 0


def received(response: HTTPResponse) -> bytes:
    """The bytes that have come, at least one; none at the end."""
    with interruptible():
        return response.read1(CHUNK)
