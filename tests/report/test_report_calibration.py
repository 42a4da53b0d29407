"""The figure of classifiers: whose bins they are, where they lie, and what it says where there is none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ebmpipe.metrics.estimators.calibration import BINS, reliability
from ebmpipe.report import base, style
from ebmpipe.report.figures.calibration import Calibration, chance

N = 500


def drawn(results: Path, labels: dict[str, list[int]]) -> Any:
    context = base.Context(results, "blobs", {"blobs": labels})
    with style.applied():
        figure = Calibration().draw(context)
        figure.draw_without_rendering()
    return figure


def classified(seed: int, suffix: str = "") -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    confidence = rng.uniform(0.3, 1, N)
    return {f"confidence{suffix}": confidence, f"correct{suffix}": (rng.random(N) < confidence**2).astype(float)}


def test_a_panel_for_each_classifier_and_view(tmp_path: Path, make_pictures: Callable[..., Path]) -> None:
    metrics = {"accuracy": 0.5, "calibration_error": 0.1234, "calibration_error_by_chance": 0.02, "frechet_lenet": 1.0}
    arrays = classified(0) | classified(1, "_smoothed")
    make_pictures("jem", 0, metrics, method="pcd", arrays=arrays)
    make_pictures("pcd", 0, {"frechet_lenet": 2.0})
    figure = drawn(tmp_path, {"jem": [0], "pcd": [0]})
    titled = [axes for axes in figure.axes if axes.get_title()]
    assert [axes.get_title().splitlines()[:2] for axes in titled] == [["jem", "test images"], ["jem", "test images with the model's noise"]]
    assert titled[0].get_title().endswith("right 50.0 %, error 0.123 (by chance 0.020)")
    for axes, suffix in zip(titled, ("", "_smoothed"), strict=True):
        bins = reliability(arrays[f"confidence{suffix}"].astype(np.float32).astype(float), arrays[f"correct{suffix}"])
        filled = bins.share > 0
        (dots,) = axes.collections[1:]
        expected = np.stack([bins.confidence, bins.accuracy], axis=1)[filled]
        np.testing.assert_allclose(dots.get_offsets(), expected, rtol=1e-6)
        assert (np.diff(dots.get_sizes()[np.argsort(bins.share[filled])]) >= 0).all()


def test_without_a_classifier_it_says_what_to_do(tmp_path: Path, make_pictures: Callable[..., Path]) -> None:
    make_pictures("pcd", 0, {"frechet_lenet": 2.0})
    (axes,) = drawn(tmp_path, {"pcd": [0]}).axes
    assert "set cross_entropy in its settings" in axes.texts[0].get_text()


def test_the_range_of_calibrated_classifiers_is_that_of_the_binomial() -> None:
    """All of one confidence: accuracies are shares of a binomial, 95 % of which lie within 1.96 deviations."""
    low, high = chance(np.full(2000, 0.8))
    index = int(np.flatnonzero(~np.isnan(low))[0])
    assert index == int(np.ceil(0.8 * BINS)) - 1
    assert np.isnan(low).sum() == BINS - 1
    half = 1.96 * np.sqrt(0.8 * 0.2 / 2000)
    assert (low[index], high[index]) == pytest.approx((0.8 - half, 0.8 + half), abs=0.1 * half)
