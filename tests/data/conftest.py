"""A small image set in the format of MNIST, and a server on this machine that gives files as well or badly as a test wants."""

from __future__ import annotations

import gzip
import hashlib
import re
import struct
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe.data import fetching, idx
from ebmpipe.data.idx import IdxImages


def as_idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


class SmallSet(IdxImages):
    """48 noise images.

    Attributes:
        contents: file name -> unpacked bytes.
    """

    name, revision, title, source, licence = "small", 1, "Small", "made up", "none"
    raw_folders = ("small",)
    sizes = {"train": 30, "validation": 10, "test": 8}  # noqa: RUF012
    contents: dict[str, bytes] = {}  # noqa: RUF012
    sha256: dict[str, str] = {}  # noqa: RUF012


_RNG = np.random.default_rng(0)
for _split, _n in (("train", 40), ("test", 8)):
    SmallSet.contents[idx.IMAGES[_split]] = as_idx(_RNG.integers(0, 256, (_n, 28, 28), np.uint8))
    SmallSet.contents[idx.LABELS[_split]] = as_idx(_RNG.integers(0, 10, _n).astype(np.uint8))
SmallSet.sha256 = {name: hashlib.sha256(content).hexdigest() for name, content in SmallSet.contents.items()}


@pytest.fixture
def small() -> type[SmallSet]:
    return SmallSet


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A raw folder of the user's with the small set: two files gzipped, two not."""
    (tmp_path / "small").mkdir()
    for name, content in SmallSet.contents.items():
        zipped = name.startswith("train")
        (tmp_path / "small" / (name + ".gz" * zipped)).write_bytes(gzip.compress(content) if zipped else content)
    return tmp_path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The default folder for downloads, of this test alone."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "ebmpipe"


class Server(ThreadingHTTPServer):
    """Gives ``files``; the other attributes are how badly.

    Attributes:
        tag: the entity tag of every file.
        ranges: whether it can give a part of a file.
        heeds: whether it compares If-Range.
        cuts: bytes after which the next answers break off, one per answer; None for the whole.
        answers: status of the next answers in place of a file, one per answer.
        hold: bytes after which an answer waits for `go`.
        sized: whether it says how long the file is.
        requests: what was asked: path, Range, If-Range, and bytes sent.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.tag, self.ranges, self.heeds, self.sized = '"1"', True, True, True
        self.cuts: list[int | None] = []
        self.answers: list[int] = []
        self.hold: int | None = None
        self.go = threading.Event()
        self.requests: list[dict[str, Any]] = []

    def url(self, path: str = "file.gz") -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/{path}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path, wanted = self.path.lstrip("/"), re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        record = {"path": path, "range": self.headers.get("Range"), "if_range": self.headers.get("If-Range"), "sent": 0}
        self.server.requests.append(record)
        if self.server.answers:
            self.send_error(self.server.answers.pop(0))
            return
        if path.startswith("moved/"):
            self.send_response(302)
            self.send_header("Location", self.server.url(path.removeprefix("moved/")))
            self.end_headers()
            return
        if path not in self.server.files:
            self.send_error(404)
            return
        body, start = self.server.files[path], 0
        if wanted and self.server.ranges and (not self.server.heeds or record["if_range"] in (None, self.server.tag)):
            start = int(wanted[1])
        if start >= len(body):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if self.server.sized:
            self.send_header("Content-Length", str(len(body) - start))
        if self.server.tag:
            self.send_header("ETag", self.server.tag)
        self.end_headers()
        cut = self.server.cuts.pop(0) if self.server.cuts else None
        body = body[start:] if cut is None else body[start : start + cut]
        record["sent"] = len(body)
        if self.server.hold is not None:
            self.wfile.write(body[: self.server.hold])
            self.wfile.flush()
            self.server.go.wait(60)
            body = body[self.server.hold :]
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Tests look at `Server.requests`."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """A server on this machine, reached without a proxy and without waiting between rounds."""
    monkeypatch.delenv("EBMPIPE_OFFLINE")
    monkeypatch.setenv("no_proxy", "*")
    monkeypatch.setattr(fetching, "WAITS", (0.0, 0.0, 0.0))
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.go.set()
        running.shutdown()
        thread.join()
