"""Small evaluations that the tests of metrics share: a Gaussian on the plane, the Ising grid, and blobs as images."""

from __future__ import annotations

import importlib.util
import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from brackets import bracket_about
from generators import given_back, revised_by_steps
from long_runs import record_of
from restored_examples import restored_by
from straight_ways import straight_ways

from ebmpipe.data.base import Density
from ebmpipe.data.dequantised import Dequantised
from ebmpipe.data.ising import Ising
from ebmpipe.data.prepared import to_model_space
from ebmpipe.features.base import FeatureSpace
from ebmpipe.foreign.sets import ForeignSet
from ebmpipe.metrics.base import Evaluation
from ebmpipe.metrics.estimators.feature_metric import EXTRACTORS, INCEPTION
from ebmpipe.seeding import numpy_generator
from ebmpipe.spec import DataSpec


class Gaussian(Density):
    """N(mean, sd² I) on the plane; it has one mode."""

    name = "gaussian"
    reach = 6.0
    step = 0.1

    def __init__(self, mean: tuple[float, float] = (0.5, -1.0), sd: float = 0.7) -> None:
        self.mean, self.sd = np.array(mean), sd
        self.modes = self.mean[None]

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.mean + self.sd * rng.standard_normal((n, 2))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        return -((x - self.mean) ** 2).sum(axis=1) / (2 * self.sd**2) - np.log(2 * np.pi * self.sd**2)

    def entropy(self) -> float:
        return float(1 + np.log(2 * np.pi * self.sd**2))


LEVELS = 17


def blob_levels(n: int, rng: np.random.Generator) -> np.ndarray:
    """Levels (n, 1, 8, 8) of images: a bright spot at a random place."""
    ticks = np.arange(8.0)
    x, y = rng.uniform(2, 5, size=(2, n, 1, 1))
    spots = np.exp(-((ticks - x) ** 2 + (ticks[:, None] - y) ** 2) / 4)
    return np.floor(spots * 16).astype(np.uint8)[:, None]


def blobs(n: int, rng: np.random.Generator) -> np.ndarray:
    """Images (n, 1, 8, 8) in [-1, 1)."""
    levels = blob_levels(n, rng)
    return np.asarray(to_model_space(levels, LEVELS, rng.random(levels.shape)))


def round_blob(x: np.ndarray) -> np.ndarray:
    """log p up to a constant of N(-0.5, 0.6² I), which has the mean and the deviation of blobs."""
    return np.asarray(-((x + 0.5) ** 2).reshape(len(x), -1).sum(axis=1) / (2 * 0.6**2))


def spectrum(x: np.ndarray) -> np.ndarray:
    """Features of an image (n, 16) that need no training: its low frequencies."""
    return np.fft.rfft2(x[:, 0])[:, :4, :4].real.reshape(len(x), -1)


def place(x: np.ndarray) -> np.ndarray:
    """Logits (n, 9) that tell where a spot is, if there is one: the cosine between the image and a spot in each of nine places."""
    ticks, centres = np.arange(8.0), np.array([2.5, 3.5, 4.5])
    bumps = np.exp(-((ticks - centres[:, None]) ** 2) / 4)
    spots = (bumps[:, None, :, None] * bumps[None, :, None, :]).reshape(9, -1)
    flat = x.reshape(len(x), -1)
    flat, spots = flat - flat.mean(axis=1, keepdims=True), spots - spots.mean(axis=1, keepdims=True)
    return np.asarray(40 * flat @ spots.T / np.outer(np.linalg.norm(flat, axis=1), np.linalg.norm(spots, axis=1)))


def where(x: np.ndarray) -> np.ndarray:
    """p(y | x), (n, 10): in which of the nine places the spot is; the tenth class is never there."""
    odds = np.exp(place(x) / 4)
    return np.pad(odds / odds.sum(axis=1, keepdims=True), ((0, 0), (0, 1)))


def space_of(
    extract: Callable[[np.ndarray], np.ndarray] = spectrum, name: str = "lenet", dimension: int = 16, **fields: Any
) -> FeatureSpace:
    """A feature space that needs no network."""
    known = {"weights_sha256": "1a2b3c4d" + 56 * "0", "preprocessing": "no resizing, not quantised", "extract": extract}
    return FeatureSpace(name, dimension, **(known | fields))


#: Every network that a number can be of, LeNet first.
SPACES = (
    space_of(),
    *(space_of(name=name, logits=place if name == INCEPTION else None) for name in EXTRACTORS if name != "lenet"),
)


def uniform_set(shape: tuple[int, ...], reach: float, name: str = "noise") -> dict[str, ForeignSet]:
    """A set of uniform noise in [-reach, reach], by its name."""

    def first(n: int) -> np.ndarray:
        return np.random.default_rng(3).uniform(-reach, reach, (n, *shape))

    return {name: ForeignSet(name, "uniform noise", None, first)}


@pytest.fixture(scope="session")
def gaussian() -> type[Gaussian]:
    return Gaussian


@pytest.fixture(scope="session")
def plane() -> Callable[..., Evaluation]:
    """Makes an evaluation of 2-D samples against a Gaussian; further arguments replace its fields."""
    density = Gaussian()

    def make(drawn: np.ndarray | None = None, seed: int = 0, n: int = 1000, **fields: Any) -> Evaluation:
        rng = np.random.default_rng(1)
        spec = DataSpec("gaussian", "density", (2,), 0.0, 1.0, None, None, density.entropy(), Path())
        test, train = density.sample(n, rng), density.sample(n, rng)
        own = density.sample(n, rng) if drawn is None else drawn
        validation = density.sample(n, rng)
        known: dict[str, Any] = {
            "spec": spec, "test": test, "train": train, "validation": validation, "samples": {"fresh": own}, "primary": "fresh",
            "density": density,
            "rng": lambda name: numpy_generator(seed, name), "log_unnormalised": density.log_density,
            "bracket": lambda: bracket_about(0.0),
            "long_run": record_of(
                lambda count: density.sample(count, rng), lambda x: -density.log_density(x), lambda x: (x[:, 0] > 0.5).astype(int), modes=2
            ),
            "foreign": uniform_set((2,), 4.0),
            "restored": restored_by(test, density.mean, density.sd), "interpolated": straight_ways((2,)),
            "reconstructed": given_back((2,)), "revised": revised_by_steps((2,)),
        }  # fmt: skip
        return Evaluation(**(known | fields))

    return make


@pytest.fixture(scope="session")
def states() -> Callable[..., Evaluation]:
    """Makes an evaluation of binary samples against the Ising grid; further arguments replace its fields."""
    law = Ising()

    def make(drawn: np.ndarray | None = None, seed: int = 0, n: int = 1000, **fields: Any) -> Evaluation:
        rng = np.random.default_rng(1)
        spec = DataSpec("ising", "binary", law.shape, 0.0, 1.0, None, None, law.entropy(), Path())
        test, train, validation = (law.sample(n, rng) for _ in range(3))
        own = law.sample(n, rng) if drawn is None else drawn
        known: dict[str, Any] = {
            "spec": spec, "test": test, "train": train, "validation": validation, "samples": {"fresh": own}, "primary": "fresh",
            "law": law,
            "rng": lambda name: numpy_generator(seed, name), "log_unnormalised": law.log_density,
        }  # fmt: skip
        return Evaluation(**(known | fields))

    return make


@pytest.fixture(scope="session")
def pictures() -> Callable[..., Evaluation]:
    """Makes an evaluation of image samples against blobs; further arguments replace its fields."""

    def make(drawn: np.ndarray | None = None, seed: int = 0, n: int = 300, **fields: Any) -> Evaluation:
        rng = np.random.default_rng(2)
        spec = DataSpec("blobs", "images", (1, 8, 8), -0.5, 0.6, LEVELS, 10, None, Path())
        test, train, validation = (Dequantised(blob_levels(n, rng), LEVELS, split) for split in ("test", "train", "validation"))
        own = blobs(n, rng) if drawn is None else drawn
        # Drawn from p(y | x), of which `where` is then a calibrated classifier.
        labels = (rng.random((n, 1)) > where(np.asarray(test)).cumsum(axis=1)).sum(axis=1)
        known: dict[str, Any] = {
            "spec": spec, "test": test, "train": train, "validation": validation, "samples": {"fresh": own}, "primary": "fresh",
            "rng": lambda name: numpy_generator(seed, name), "feature_spaces": SPACES,
            "class_probabilities": where, "test_labels": labels,
            "long_run": record_of(
                lambda count: blobs(count, rng), lambda x: -round_blob(x), lambda x: place(x).argmax(axis=1), modes=9, draws=20
            ),
            "log_unnormalised": round_blob, "bracket": lambda: bracket_about(spec.dimension / 2 * np.log(2 * np.pi * spec.std**2)),
            "foreign": uniform_set(spec.shape, 1.0),
            "restored": restored_by(test, np.asarray(test).mean(axis=0), 0.4), "interpolated": straight_ways(spec.shape),
            "reconstructed": given_back(spec.shape), "revised": revised_by_steps(spec.shape),
        }  # fmt: skip
        return Evaluation(**(known | fields))

    return make


@pytest.fixture(scope="session")
def space() -> Callable[..., FeatureSpace]:
    """Makes a feature space of a function of images, without a network."""
    return space_of


@pytest.fixture
def fidelity(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Any]]:
    """Imports a module of torch-fidelity's formulas, from beside the environment's packages or from among them.

    Neither the package nor its `utils` is run: both import torchvision, which the formulas do without.
    """
    beside = Path(sys.prefix) / "no-deps" / "torch_fidelity"
    spec = None if beside.is_dir() else importlib.util.find_spec("torch_fidelity")
    places = [str(beside)] if beside.is_dir() else list(spec.submodule_search_locations or ()) if spec else []
    if not places:
        pytest.skip("torch-fidelity is not installed: `make environment`")
    package, utils = types.ModuleType("torch_fidelity"), types.ModuleType("torch_fidelity.utils")
    package.__path__ = places
    utils.__getattr__ = lambda name: None  # type: ignore[method-assign]
    for name in [one for one in sys.modules if one.partition(".")[0] == "torch_fidelity"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch_fidelity", package)
    monkeypatch.setitem(sys.modules, "torch_fidelity.utils", utils)

    yield lambda name: importlib.import_module(f"torch_fidelity.{name}")
    for name in [one for one in sys.modules if one.partition(".")[0] == "torch_fidelity"]:
        del sys.modules[name]


@pytest.fixture
def rng() -> np.random.Generator:
    """One stream of randomness for each test."""
    return np.random.default_rng(7)
