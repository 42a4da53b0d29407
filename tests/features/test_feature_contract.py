"""What every feature network promises."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from ebmpipe import registry
from ebmpipe.features.base import FeatureNetwork, check_network, networks_in, read_card
from ebmpipe.files import CorruptFile
from ebmpipe.preparing import prepare
from ebmpipe.spec import DataSpec

MEMBERS: dict[str, type[FeatureNetwork]] = registry.load_all("features")
MakeData = Callable[..., Path]
MakeImages = Callable[..., np.ndarray]

SPEC = DataSpec("squares", "images", (1, 8, 8), 0.0, 0.6, 256, 10, None, Path())


def test_declarations() -> None:
    for name, member in MEMBERS.items():
        assert member.name == name and name.isidentifier()
        assert member.revision >= 1 and member.title
        assert member.takes and member.default_on <= member.takes


@pytest.mark.parametrize("labelling", ["labelled", "unlabelled"])
def test_one_trained_network_serves_by_default(labelling: str) -> None:
    assert len([name for name, member in MEMBERS.items() if labelling in member.default_on and not member.published]) == 1


def test_networks_are_of_images(network: FeatureNetwork, tmp_path: Path) -> None:
    assert network.applies(SPEC)
    assert network.applies(replace(SPEC, classes=None)) == ("unlabelled" in network.takes)
    assert not network.applies(DataSpec("plane", "density", (2,), 0.0, 1.0, None, None, 1.0, Path()))
    prepare("eight_gaussians", tmp_path / "data")
    with pytest.raises(ValueError, match=r"images.*; eight_gaussians has none"):
        network.make(tmp_path / "data", tmp_path / "out", 0)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32)])
def test_features_of_every_shape(
    network: FeatureNetwork, make_squares: MakeData, make_images: MakeImages, tmp_path: Path, shape: tuple[int, ...]
) -> None:
    card = network.make(make_squares(tmp_path / "data", shape), tmp_path / "out", 0)
    space, x = network.load(tmp_path / "out"), make_images(3, shape, reach=1.5)
    features = space.extract(x)
    assert features.shape == (3, space.dimension) == (3, card["dimension"])
    assert features.dtype == np.float64 and np.isfinite(features).all()
    assert not np.allclose(features[0], features[1])
    assert space.extract(x.astype(np.float32)) == pytest.approx(features, abs=1e-4)
    assert (space.name, space.weights_sha256) == (network.name, card["weights_sha256"])
    assert len(space.weights_sha256) == 64 and space.preprocessing
    if space.logits is not None:
        assert space.logits(x).shape[0] == 3 and space.logits(x).dtype == np.float64
    with pytest.raises(ValueError, match="events of shape"):
        space.extract(make_images(2, (1, 9, 9)))


def test_features_do_not_depend_on_the_batch(
    network: FeatureNetwork, make_squares: MakeData, make_images: MakeImages, tmp_path: Path
) -> None:
    network.make(make_squares(tmp_path / "data"), tmp_path / "out", 0)
    x = make_images(4 if network.published else 150)
    together = network.load(tmp_path / "out").extract(x)
    again = network.load(tmp_path / "out").extract
    assert np.concatenate([again(x[i : i + 1]) for i in reversed(range(len(x)))])[::-1] == pytest.approx(together, abs=1e-10)
    assert again(x[::2]) == pytest.approx(together[::2], abs=1e-10)
    assert again(x[:0]).shape == (0, together.shape[1])


def test_the_seed_determines_the_weights_and_global_streams_are_left_alone(
    network: FeatureNetwork, make_squares: MakeData, make_images: MakeImages, tmp_path: Path
) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    states = torch.random.get_rng_state(), np.random.get_state()[1].copy()  # type: ignore[index]
    data = make_squares(tmp_path / "data")
    checksums = [network.make(data, tmp_path / str(i), seed)["weights_sha256"] for i, seed in enumerate((0, 0, 1))]
    network.load(tmp_path / "0").extract(make_images(1))
    assert checksums[0] == checksums[1]
    assert (checksums[1] == checksums[2]) == network.published
    assert torch.equal(torch.random.get_rng_state(), states[0]), "torch's global stream was touched"
    assert np.array_equal(np.random.get_state()[1], states[1]), "numpy's global stream was touched"  # type: ignore[index]


def test_the_card_vouches_for_the_weights(network: FeatureNetwork, make_squares: MakeData, tmp_path: Path) -> None:
    out = tmp_path / "out"
    with pytest.raises(CorruptFile, match="does not exist; make it with `ebmpipe features`"):
        network.load(out)
    card = network.make(make_squares(tmp_path / "data"), out, 0)
    assert card == read_card(out, network.name)
    assert {"name", "revision", "dataset", "data_sha256", "shape", "dimension", "weights_sha256"} <= card.keys()
    assert network.told(card)
    kept = sorted(path.name for path in out.iterdir())
    assert kept == [f"{network.name}.json", *([] if network.published else [f"{network.name}.safetensors"])]
    assert networks_in(out) == [network.name]
    check_network(out, network.name)
    for path in out.iterdir():
        whole = path.read_bytes()
        path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
        for reader in (network.load, lambda folder: check_network(folder, network.name)):
            with pytest.raises(CorruptFile, match=path.name):
                reader(out)
        path.write_bytes(whole)
    path = out / f"{network.name}.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"dimension": 1}))
    with pytest.raises(CorruptFile, match="was altered"):
        network.load(out)


def test_published_networks_can_be_asked_for_without_torch() -> None:
    asked = "; ".join(f"registry.load('features', {name!r}).unavailable_reason()" for name, one in MEMBERS.items() if one.published)
    code = f"import sys; from ebmpipe import registry; import ebmpipe.features.choosing; {asked}; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
