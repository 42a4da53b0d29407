"""Weights that others have published: where they are looked for, and how they come from the network."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe.features.published import Published, UnusableWeights, weight_folders

CONTENT = np.random.default_rng(0).bytes(300_000)
Server = Any


@pytest.fixture
def weights(server: Server, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Published:
    """A file that the server gives, with no folder of the user's."""
    monkeypatch.delenv("EBMPIPE_WEIGHTS_DIR", raising=False)
    server.files["net.pth"] = CONTENT
    return Published("net", "net.pth", hashlib.sha256(CONTENT).hexdigest(), 1, (server.url("absent.pth"), server.url("net.pth")))


def test_folders_in_their_order(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBMPIPE_WEIGHTS_DIR", raising=False)
    assert weight_folders() == [cache / "weights"]
    monkeypatch.setenv("EBMPIPE_WEIGHTS_DIR", str(tmp_path))
    assert weight_folders() == [tmp_path, cache / "weights"]
    assert weight_folders(tmp_path / "named") == [tmp_path / "named", cache / "weights"]


def test_a_file_is_fetched_once_and_found_again(weights: Published, server: Server, cache: Path) -> None:
    assert weights.path() is None and "--network net --download" in str(weights.missing())
    target = cache / "weights/net.pth"
    assert weights.download() == target == weights.path()
    assert target.read_bytes() == CONTENT == weights.content()
    assert weights.missing() is None
    asked = len(server.requests)
    assert weights.download() == target and len(server.requests) == asked
    assert [path.name for path in target.parent.iterdir()] == ["net.pth"]


def test_a_broken_transfer_goes_on_where_it_was(weights: Published, server: Server) -> None:
    server.cuts = [100_000]
    assert weights.download().read_bytes() == CONTENT
    assert server.requests[-1]["range"] == "bytes=100000-"


def test_another_file_is_not_taken(weights: Published, server: Server, cache: Path) -> None:
    server.files["net.pth"] = CONTENT[:-1] + b"x"
    with pytest.raises(UnusableWeights, match="not the published file") as error:
        weights.download()
    assert str(cache / "weights") in str(error.value)
    assert weights.path() is None


def test_a_damaged_download_is_replaced_and_a_file_of_the_users_is_not(
    weights: Published, server: Server, cache: Path, tmp_path: Path
) -> None:
    path = weights.download()
    path.write_bytes(b"damaged")
    with pytest.raises(UnusableWeights, match="--download` replaces it"):
        weights.content()
    weights.download()
    assert weights.content() == CONTENT
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "net.pth").write_bytes(b"damaged")
    for attempt in (weights.content, weights.download):
        with pytest.raises(UnusableWeights, match="it is left as it is"):
            attempt(mine)
    assert (mine / "net.pth").read_bytes() == b"damaged"


def test_offline_nothing_is_asked_for(weights: Published, server: Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EBMPIPE_OFFLINE", "1")
    with pytest.raises(UnusableWeights, match=r"EBMPIPE_OFFLINE is set.*put it into") as error:
        weights.download(tmp_path / "mine")
    assert str(tmp_path / "mine") in str(error.value) and not server.requests
    assert not (tmp_path / "mine").exists()
