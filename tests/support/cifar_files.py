"""Small files of exactly the formats of CIFAR-10: binary batches, Python batches as Python 2 wrote them, and both archives."""

from __future__ import annotations

import hashlib
import io
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from ebmpipe.data.cifar10 import BINARY, CIFAR10, PIXELS, PYTHON

#: Images of a batch here.
PER_BATCH = 40

_RNG = np.random.default_rng(0)
#: Pixels and labels of the six batches.
BATCHES = [(_RNG.integers(256, size=(PER_BATCH, PIXELS), dtype=np.uint8), _RNG.permutation(PER_BATCH) % 10) for _ in range(6)]


def binary(pixels: np.ndarray, labels: np.ndarray) -> bytes:
    """A batch of the binary version: for each image its label, then its pixels."""
    return np.concatenate([labels[:, None].astype(np.uint8), pixels], axis=1).tobytes()


class Python2:
    """Writes protocol 2 as cPickle of Python 2 did: byte strings, and every container and string remembered."""

    def __init__(self) -> None:
        self.out, self.count = bytearray(b"\x80\x02"), 0

    def put(self) -> None:
        self.count += 1
        self.out += b"q" + bytes([self.count]) if self.count < 256 else b"r" + struct.pack("<I", self.count)

    def text(self, value: bytes) -> None:
        self.out += (b"U" + bytes([len(value)]) if len(value) < 256 else b"T" + struct.pack("<i", len(value))) + value
        self.put()

    def integer(self, value: int) -> None:
        if 0 <= value < 256:
            self.out += b"K" + bytes([value])
        elif 0 <= value < 65536:
            self.out += b"M" + struct.pack("<H", value)
        else:
            self.out += b"J" + struct.pack("<i", value)

    def name(self, module: bytes, name: bytes) -> None:
        self.out += b"c" + module + b"\n" + name + b"\n"
        self.put()

    def array(self, pixels: np.ndarray, by_columns: bytes = b"\x89", dtype: bytes = b"u1", content: bytes | None = None) -> None:
        self.name(b"numpy.core.multiarray", b"_reconstruct")
        self.name(b"numpy", b"ndarray")
        self.integer(0)
        self.out += b"\x85"
        self.put()
        self.text(b"b")
        self.out += b"\x87"
        self.put()
        self.out += b"R"
        self.put()
        self.out += b"("
        self.integer(1)
        for size in pixels.shape:
            self.integer(size)
        self.out += b"\x86"
        self.put()
        self.name(b"numpy", b"dtype")
        self.text(dtype)
        self.integer(0)
        self.integer(1)
        self.out += b"\x87"
        self.put()
        self.out += b"R"
        self.put()
        self.out += b"("
        self.integer(3)
        self.text(b"|")
        self.out += b"NNN"
        for number in (-1, -1, 0):
            self.integer(number)
        self.out += b"t"
        self.put()
        self.out += b"b" + by_columns
        self.text(pixels.tobytes() if content is None else content)
        self.out += b"t"
        self.put()
        self.out += b"b"

    def list_of(self, values: Iterable[int | bytes]) -> None:
        self.out += b"]"
        self.put()
        self.out += b"("
        for value in values:
            self.integer(value) if isinstance(value, int) else self.text(value)
        self.out += b"e"


def python(pixels: np.ndarray, labels: np.ndarray, **spoilt: bytes) -> bytes:
    """A batch of the Python version."""
    writer = Python2()
    writer.out += b"}"
    writer.put()
    writer.out += b"("
    writer.text(b"batch_label")
    writer.text(b"training batch 1 of 5")
    writer.text(b"labels")
    writer.list_of(int(label) for label in labels)
    writer.text(b"data")
    writer.array(pixels, **spoilt)
    writer.text(b"filenames")
    writer.list_of(f"leptodactylus_pentadactylus_s_{i:06}.png".encode() for i in range(len(labels)))
    return bytes(writer.out + b"u.")


def archive(files: dict[str, bytes]) -> bytes:
    """A gzipped tar archive."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        folder = tarfile.TarInfo(next(iter(files)).partition("/")[0])
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


#: Every raw file by name. The archives hold, as the originals do, notes beside the batches, and these in an order of their own.
FILES: dict[str, bytes] = {name: binary(*batch) for name, batch in zip(BINARY, BATCHES, strict=True)}
FILES |= {name: python(*batch) for name, batch in zip(PYTHON, BATCHES, strict=True)}
for _archive, _folder, _names, _note in (
    ("cifar-10-binary.tar.gz", "cifar-10-batches-bin", BINARY, "batches.meta.txt"),
    ("cifar-10-python.tar.gz", "cifar-10-batches-py", PYTHON, "batches.meta"),
):
    _members = {f"{_folder}/{name}": FILES[name] for name in (_names[3], _names[5], *_names[:3], _names[4])}
    FILES[_archive] = archive({f"{_folder}/{_note}": b"airplane\n", **_members, f"{_folder}/readme.html": b"<html>"})


class SmallCIFAR10(CIFAR10):
    """Six batches of 40 images."""

    sizes = {"train": 180, "validation": 20, "test": 40}  # noqa: RUF012
    per_batch, held_out = PER_BATCH, 20
    mirrors = ()
    checksums = {name: f"sha256:{hashlib.sha256(content).hexdigest()}" for name, content in FILES.items()}  # noqa: RUF012


def lay(folder: Path, names: Iterable[str]) -> Path:
    """Put some of the files into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_bytes(FILES[name])
    return folder
