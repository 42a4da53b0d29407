"""The figure of ways from sample to sample."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest

from ebmpipe import registry
from ebmpipe.report import style
from ebmpipe.report.base import Context

DATASETS = {"eight_gaussians": (2,), "blobs": (1, 8, 8)}


def ways(shape: tuple[int, ...], rise: float) -> dict[str, np.ndarray]:
    """Ways over a hill of E that is ten times as high on the straight one."""
    rng, times = np.random.default_rng(0), np.linspace(0, 1, 33)
    hill = rise * 4 * times * (1 - times)
    energy = np.stack([np.tile(hill, (64, 1)), np.tile(10 * hill, (64, 1))])
    found = {f"interpolation/{way}": rng.uniform(-1, 1, (4, 33, *shape)).astype(np.float32) for way in ("latent", "straight")}
    return found | {"interpolation/energy": energy.astype(np.float32)}


@pytest.fixture
def give(vouch: Callable[[Path], None]) -> Callable[..., None]:
    """Gives a run ways between its samples."""

    def given(folder: Path, shape: tuple[int, ...], rise: float) -> None:
        with np.load(folder / "arrays.npz") as arrays:
            known = dict(arrays)
        np.savez(folder / "arrays.npz", **known, **ways(shape, rise))
        vouch(folder)

    return given


def drawn(results: Path, dataset: str, runs: Any) -> matplotlib.figure.Figure:
    with style.applied():
        figure: matplotlib.figure.Figure = registry.load("report.figures", "interpolation")().draw(Context(results, dataset, runs))
    return figure


@pytest.mark.parametrize("dataset", DATASETS)
def test_each_model_with_a_latent_space_has_a_row_of_ways_and_of_energies(
    make_plane: Callable[..., None], make_pictures: Callable[..., None], give: Callable[..., None], tmp_path: Path, dataset: str
) -> None:
    for label in ("tilt", "pcd"):
        if dataset == "eight_gaussians":
            make_plane(label, 0, 0.1)
        else:
            make_pictures(label, 0, {"frechet_lenet": 1.0}, samples=np.zeros((8, 1, 8, 8)))
    runs = {dataset: {"tilt": [0], "pcd": [0]}}
    empty = drawn(tmp_path, dataset, runs)
    assert "no model with a latent space" in " ".join(text.get_text() for text in empty.axes[0].texts)
    give(tmp_path / f"runs/{dataset}/tilt/seed0", DATASETS[dataset], 3.0)
    left, right = drawn(tmp_path, dataset, runs).axes
    assert left.get_ylabel() == "tilt"
    # The medians: of the way through latent space last, on top.
    straight, latent = [line for line in right.lines if line.get_linewidth() == 1.6]
    assert latent.get_ydata().max() == pytest.approx(3, rel=1e-3) and straight.get_ydata().max() == pytest.approx(30, rel=1e-3)
