"""The figures of generators: what became of examples, and of samples that are revised."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from generators import given_back, revised_by_steps

from ebmpipe import registry
from ebmpipe.metrics.reconstruction import Reconstruction
from ebmpipe.metrics.sample_revision import RevisionOfSamples
from ebmpipe.report import style
from ebmpipe.report.base import Context
from ebmpipe.spec import DataSpec

DATASETS = {"eight_gaussians": (2,), "blobs": (1, 8, 8)}


def left_by(shape: tuple[int, ...]) -> dict[str, np.ndarray]:
    """The arrays that the two families of metrics leave for figures."""
    kind: Any = "images" if len(shape) == 3 else "density"
    spec = DataSpec("made_up", kind, shape, 0.0, 1.0, None, None, None, Path())
    evaluation: Any = SimpleNamespace(spec=spec, reconstructed=given_back(shape), revised=revised_by_steps(shape), drawn={})
    for family in (Reconstruction(), RevisionOfSamples()):
        assert list(family.compute(evaluation))
    found: dict[str, np.ndarray] = evaluation.drawn
    return found


def drawn(name: str, results: Path, dataset: str, runs: Any) -> matplotlib.figure.Figure:
    with style.applied():
        figure: matplotlib.figure.Figure = registry.load("report.figures", name)().draw(Context(results, dataset, runs))
    return figure


@pytest.fixture(params=DATASETS)
def results(
    request: Any, make_plane: Callable[..., None], make_pictures: Callable[..., None], vouch: Callable[[Path], None], tmp_path: Path
) -> tuple[Path, str]:
    """A folder with a run of a generator and one without, and its data set."""
    dataset = request.param
    for label in ("dual", "pcd"):
        if dataset == "eight_gaussians":
            make_plane(label, 0, 0.1)
        else:
            make_pictures(label, 0, {"frechet_lenet": 1.0}, samples=np.zeros((8, 1, 8, 8)))
    folder = tmp_path / f"runs/{dataset}/dual/seed0"
    with np.load(folder / "arrays.npz") as arrays:
        known = dict(arrays)
    np.savez(folder / "arrays.npz", **known, **left_by(DATASETS[dataset]))
    vouch(folder)
    return tmp_path, dataset


def test_each_generator_has_a_row_of_examples_ways_and_errors(results: tuple[Path, str]) -> None:
    folder, dataset = results
    left, middle, right = drawn("reconstruction", folder, dataset, {dataset: {"dual": [0], "pcd": [0]}}).axes
    assert left.get_ylabel() == "dual" and middle.get_title(loc="left") == "between two codes"
    prior, inferred, training = right.lines
    # Pixels are in [0, 1] there.
    scale = 4 if dataset == "blobs" else 1
    np.testing.assert_allclose(scale * prior.get_ydata(), 0.5 / (1 + np.array([0, 1, 10, 100])), rtol=1e-6)
    np.testing.assert_allclose(scale * inferred.get_ydata(), 0.04 / (1 + np.array([0, 1, 10, 100])), rtol=1e-6)
    assert list(training.get_xdata()) == [10, 10]


def test_each_model_that_revises_has_a_row_of_frames_and_of_energies(results: tuple[Path, str]) -> None:
    folder, dataset = results
    left, right = drawn("sample_revision", folder, dataset, {dataset: {"dual": [0], "pcd": [0]}}).axes
    assert left.get_ylabel() == "dual"
    median, training = right.lines
    assert list(median.get_xdata()) == [0, 5, 10, 100, 1000] and list(median.get_ydata()) == [5, 4, 2, 1.5, 1]
    assert list(training.get_xdata()) == [10, 10]
    if dataset == "blobs":
        assert [text.get_text() for text in left.get_xticklabels()] == ["0", "5", "10", "1,000"]


@pytest.mark.parametrize("name", ["reconstruction", "sample_revision"])
def test_without_a_generator_it_is_said(name: str, results: tuple[Path, str]) -> None:
    folder, dataset = results
    empty = drawn(name, folder, dataset, {dataset: {"pcd": [0]}})
    assert "no model" in empty.axes[0].texts[0].get_text()
