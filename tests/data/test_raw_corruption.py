"""Damaged raw files: named, refused where they are the user's, replaced where they are downloads of ours."""

from __future__ import annotations

import gzip
import hashlib
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe.data import idx
from ebmpipe.data.fetching import UnusableRawData

FILES = [*idx.IMAGES.values(), *idx.LABELS.values()]
DAMAGES = ["empty", "one byte", "truncated", "altered", "garbage after", "another file", "web page", "wrong size in the header"]

SmallSet = Any
Server = Any


def damaged(content: bytes, other: bytes, how: str, zipped: bool) -> bytes:
    """The bytes of a file on disk, damaged."""
    if how == "wrong size in the header":
        content = content[:4] + struct.pack(">I", 7) + content[8:]
    stored = gzip.compress(content) if zipped else content
    altered = bytearray(stored)
    altered[len(stored) // 2] ^= 1
    return {
        "empty": b"",
        "one byte": stored[:1],
        "truncated": stored[:-9],
        "altered": bytes(altered),
        "garbage after": stored + b"garbage",
        "another file": gzip.compress(other) if zipped else other,
        "web page": b"<html>not found</html>",
        "wrong size in the header": stored,
    }[how]


def damage(folder: Path, small: SmallSet, name: str, how: str, zipped: bool) -> Path:
    """Damage one file in a folder; returns its path."""
    other = small.contents[FILES[(FILES.index(name) + 1) % len(FILES)]]
    for ending in ("", ".gz"):
        (folder / (name + ending)).unlink(missing_ok=True)
    path = folder / (name + ".gz" * zipped)
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(damaged(small.contents[name], other, how, zipped))
    return path


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_the_users_is_named_refused_and_left(raw: Path, small: SmallSet, name: str, how: str, zipped: bool) -> None:
    path = damage(raw / "small", small, name, how, zipped)
    before = path.read_bytes()
    with pytest.raises(UnusableRawData) as caught:
        small().arrays(raw)
    message = str(caught.value)
    assert message.startswith(f"{path} ") and message.endswith("it is left as it is: replace it")
    assert "cannot be unpacked" in message or (small.sha256[name] in message and "SHA-256 of its unpacked bytes is " in message)
    assert path.read_bytes() == before


def test_a_damaged_file_of_the_users_is_refused_even_if_it_could_be_downloaded(
    raw: Path, small: SmallSet, cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small, "mirrors", (server.url(""),))
    path = damage(raw / "small", small, FILES[0], "altered", zipped=True)
    with pytest.raises(UnusableRawData, match="it is left as it is: replace it, or remove it to have it downloaded"):
        small().arrays(raw)
    assert server.requests == [] and path.exists() and not cache.exists()


@pytest.fixture
def offered(small: SmallSet, server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The small set on a server."""
    monkeypatch.setattr(small, "mirrors", (server.url(""),))
    server.files = {f"{name}.gz": gzip.compress(content) for name, content in small.contents.items()}
    return server


def test_all_files_are_downloaded_once(raw: Path, small: SmallSet, cache: Path, offered: Server) -> None:
    fetched = small().arrays(None)
    assert sorted(path.name for path in (cache / "small").iterdir()) == sorted(f"{name}.gz" for name in FILES)
    assert len(offered.requests) == 4
    for key, array in small().arrays(raw).items():
        np.testing.assert_array_equal(fetched[key], array)
        np.testing.assert_array_equal(small().arrays(None)[key], array)
    assert len(offered.requests) == 4


def test_downloads_go_to_the_folder_that_was_named(tmp_path: Path, small: SmallSet, cache: Path, offered: Server) -> None:
    small().arrays(tmp_path / "mine")
    assert sorted(path.name for path in (tmp_path / "mine" / "small").iterdir()) == sorted(f"{name}.gz" for name in FILES)
    assert not cache.exists()


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_download_is_replaced(
    small: SmallSet, cache: Path, offered: Server, how: str, zipped: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = small().arrays(None)
    offered.requests.clear()
    path = damage(cache / "small", small, FILES[1], how, zipped)
    found = small().arrays(None)
    assert all((found[key] == expected[key]).all() for key in expected)
    assert [request["path"] for request in offered.requests] == [f"{FILES[1]}.gz"]
    said = capsys.readouterr().err
    assert f"ebmpipe: {path} " in said and "; it is replaced" in said
    assert sorted(path.name for path in (cache / "small").iterdir()) == sorted(f"{name}.gz" for name in FILES)


def test_a_damaged_download_that_cannot_be_replaced_stays(small: SmallSet, cache: Path, offered: Server) -> None:
    small().arrays(None)
    path = damage(cache / "small", small, FILES[2], "truncated", zipped=True)
    before = path.read_bytes()
    offered.files.clear()
    with pytest.raises(UnusableRawData, match=f"small needs {FILES[2]}, and downloading it failed .*404"):
        small().arrays(None)
    assert path.read_bytes() == before


def test_a_sound_file_further_on_serves_in_place_of_a_damaged_download(
    raw: Path, small: SmallSet, cache: Path, offered: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(small, "raw_folders", ("small", str(raw / "small")))
    damage(cache / "small", small, FILES[0], "truncated", zipped=True)
    assert hashlib.sha256(small().content(FILES[0], None)).hexdigest() == small.sha256[FILES[0]]
    assert offered.requests == []
