"""Files that are whole or absent: atomic writes, checksums, and formats that cannot run code."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

#: Ending of a file that is being written.
PART = ".part"


class Unwritable(OSError):
    """Raised when a file cannot be written; the message names it and the reason. What lay there before still does."""


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """A temporary sibling of ``path`` that takes its place when the block ends well, and vanishes when it does not.

    Raises:
        Unwritable: if the disk is full or the folder cannot be written.
    """
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PART)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.chmod(0o644)
        temporary.replace(path)
    except Unwritable:
        raise  # another file, which was being written meanwhile
    except OSError as error:
        reason = error.strerror or error
        raise Unwritable(f"{path} cannot be written ({reason}); free space or name another folder, then run it again") from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written in ``folder``; only for who has the folder to himself."""
    for path in folder.glob(f".*{PART}"):
        path.unlink(missing_ok=True)


@contextmanager
def held(path: Path) -> Iterator[None]:
    """While the block runs, `sweep_abandoned` leaves ``path`` alone; the system lets go of it even when this process is killed."""
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def sweep_abandoned(path: Path) -> None:
    """Remove what killed processes left of ``path`` half-written, but for what another one holds: for who shares the folder with others."""
    for left in path.parent.glob(f".{path.name}.*{PART}"):
        with suppress(FileNotFoundError, BlockingIOError), left.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink()


def write_text(path: Path, text: str) -> None:
    """Write ``text`` atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as sorted, indented JSON. NaN and infinities are refused: a number that is none is null."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON.

    Raises:
        ValueError: naming the file, if it is not valid JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete it and run the stage that makes it again") from error


#: What a file that cannot be trusted is to be healed by.
REMEDY = "`ebmpipe verify --repair` removes it and what was made from it; then run the same command again"


class CorruptFile(ValueError):
    """A file's bytes are not those that were written; the message names it and says what to do."""


def write_signed(path: Path, value: Mapping[str, Any]) -> None:
    """Write ``value`` as JSON together with the checksum of all the rest, so that an edit or a flipped bit is noticed."""
    write_json(path, {**value, "sha256": digest({key: item for key, item in value.items() if key != "sha256"})})


def read_signed(path: Path) -> dict[str, Any]:
    """Read what `write_signed` wrote, without the checksum.

    Raises:
        CorruptFile: naming the file, if it is truncated, altered, empty, or was never signed.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CorruptFile(f"{path} is damaged: it is not valid JSON ({error})") from error
    if not isinstance(value, dict) or "sha256" not in value:
        raise CorruptFile(f"{path} is damaged: it has no checksum of its content")
    if value.pop("sha256") != digest(value):
        raise CorruptFile(f"{path} was altered after it was written: its content does not have the checksum that it states")
    return value


def header(metadata: Mapping[str, str] | None) -> dict[str, str]:
    """Metadata as safetensors takes it: one entry, because it writes several in random order and equal files must be equal bytes."""
    return {"json": json.dumps(dict(metadata or {}), sort_keys=True)}


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> None:
    """Write numpy arrays as safetensors with string metadata."""
    from safetensors.numpy import save

    with atomic(path) as temporary:
        temporary.write_bytes(save({k: np.ascontiguousarray(v) for k, v in arrays.items()}, header(metadata)))


def read_arrays(path: Path) -> tuple[dict[str, np.ndarray], dict[str, str]]:
    """Arrays and metadata of a safetensors file, as numpy."""
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as file:
        return {key: file.get_tensor(key) for key in file.keys()}, json.loads((file.metadata() or {}).get("json", "{}"))


def sha256(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """SHA-256 of ``value`` written as canonical JSON: equal settings have equal digests."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
