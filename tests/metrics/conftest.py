"""Small evaluations that the tests of metrics share: a Gaussian on the plane, and blobs as images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe.data.base import Density
from ebmpipe.metrics.base import Evaluation
from ebmpipe.seeding import numpy_generator
from ebmpipe.spec import DataSpec


class Gaussian(Density):
    """N(mean, sd² I) on the plane; it has one mode."""

    name = "gaussian"

    def __init__(self, mean: tuple[float, float] = (0.5, -1.0), sd: float = 0.7) -> None:
        self.mean, self.sd = np.array(mean), sd
        self.modes = self.mean[None]

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return self.mean + self.sd * rng.standard_normal((n, 2))

    def log_density(self, x: np.ndarray) -> np.ndarray:
        return -((x - self.mean) ** 2).sum(axis=1) / (2 * self.sd**2) - np.log(2 * np.pi * self.sd**2)

    def entropy(self) -> float:
        return float(1 + np.log(2 * np.pi * self.sd**2))


def blobs(n: int, rng: np.random.Generator) -> np.ndarray:
    """Images (n, 1, 8, 8) in [-1, 1]: a bright spot at a random place."""
    ticks = np.arange(8.0)
    x, y = rng.uniform(2, 5, size=(2, n, 1, 1))
    spots = np.exp(-((ticks - x) ** 2 + (ticks[:, None] - y) ** 2) / 4)
    return (2 * (np.floor(spots * 16) + rng.random((n, 8, 8))) / 17 - 1)[:, None]


def spectrum(x: np.ndarray) -> np.ndarray:
    """Features of an image (n, 16) that need no training: its low frequencies."""
    return np.fft.rfft2(x[:, 0])[:, :4, :4].real.reshape(len(x), -1)


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
        }  # fmt: skip
        return Evaluation(**(known | fields))

    return make


@pytest.fixture(scope="session")
def pictures() -> Callable[..., Evaluation]:
    """Makes an evaluation of image samples against blobs; further arguments replace its fields."""

    def make(drawn: np.ndarray | None = None, seed: int = 0, n: int = 300, **fields: Any) -> Evaluation:
        rng = np.random.default_rng(2)
        spec = DataSpec("blobs", "images", (1, 8, 8), -0.5, 0.6, 17, 10, None, Path())
        test, train = blobs(n, rng), blobs(n, rng)
        own = blobs(n, rng) if drawn is None else drawn
        validation = blobs(n, rng)
        known: dict[str, Any] = {
            "spec": spec, "test": test, "train": train, "validation": validation, "samples": {"fresh": own}, "primary": "fresh",
            "rng": lambda name: numpy_generator(seed, name), "features": spectrum, "extractor": "lenet",
        }  # fmt: skip
        return Evaluation(**(known | fields))

    return make
