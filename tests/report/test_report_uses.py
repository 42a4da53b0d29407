"""The figures of what energies are good for: the numbers in them, and what stands where there are none."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest

from ebmpipe import registry
from ebmpipe.report import base, ranking
from ebmpipe.report.figures.out_of_distribution import BELOW, ticks
from ebmpipe.report.style import applied

AREAS = {"ood_auroc_noise": 0.75, "ood_auroc_noise@typicality": 0.7, "ood_auroc_noise@gradient_norm": 0.25}


def drawn(name: str, results: Path, labels: dict[str, list[int]]) -> matplotlib.figure.Figure:
    context = base.Context(results, "eight_gaussians", {"eight_gaussians": labels})
    with applied():
        figure: matplotlib.figure.Figure = registry.load(base.FIGURES, name)().draw(context)
        figure.draw_without_rendering()
    return figure


@pytest.fixture
def make_areas(tmp_path: Path, make_run: Callable[..., Path], make_plane: Callable[..., None]) -> Callable[..., None]:
    """Makes a run that was asked about noise, with the given areas; or about nothing."""
    make = partial(make_run.func, tmp_path, "eight_gaussians")  # type: ignore[attr-defined]

    def made(label: str, seed: int, metrics: dict[str, float], asked: bool = True) -> None:
        energies = np.random.default_rng(seed).normal(size=(2, 200))
        arrays = {"ood_energy_test": energies[0], "ood_energy_noise": energies[1] + 2} if asked else None
        make(label, seed, {"nll_gap": 0.1, **metrics}, arrays=arrays)

    return made


def texts(figure: matplotlib.figure.Figure) -> dict[str, Any]:
    return {text.get_text(): text for axes in figure.axes for text in axes.texts}


def test_areas_are_means_over_seeds_and_red_below_chance(
    tmp_path: Path, make_plane: Callable[..., None], make_areas: Callable[..., None]
) -> None:
    for seed in (0, 1):
        make_areas("pcd", seed, {key: value + 0.1 * seed for key, value in AREAS.items()})
        make_plane("dsm", seed, 0.1)
    figure = drawn("out_of_distribution", tmp_path, {"pcd": [0, 1], "dsm": [0, 1]})
    found = texts(figure)
    assert {"noise 0.800", "0.800", "0.750", "0.300", "noise –", "–"} <= set(found)
    assert found["0.300"].get_color() == BELOW
    assert found["0.800"].get_color() != BELOW
    table = figure.axes[-1]
    assert [label.get_text() for label in table.get_xticklabels()] == ["E", "typicality", "∥∇E∥"] * 2, "of noise and of rings"
    assert sorted(label.get_text() for label in table.get_yticklabels()) == ["dsm", "pcd"]


def test_runs_that_were_asked_nothing_say_so(tmp_path: Path, make_areas: Callable[..., None]) -> None:
    make_areas("pcd", 0, {}, asked=False)
    assert "no set to tell from the data was measured" in texts(drawn("out_of_distribution", tmp_path, {"pcd": [0]}))
    assert "no method has an energy that restored anything" in texts(drawn("restoration", tmp_path, {"pcd": [0]}))


def test_ticks_keep_their_distance() -> None:
    for width in (0.3, 5.0, 200.0):
        found = np.array(ticks(-2.0, 6.0, width))
        assert 0 in found
        assert (np.diff(np.arcsinh(found / width)) > 1).all()
        assert 3 <= len(found) <= 9


def test_metrics_that_say_the_same_again_stay_out_of_printed_tables() -> None:
    aside = {"ood_auprc_noise", "denoising_mse", "inpainting_ssim"}
    for metric, printed in ({"ood_auroc_noise": True, "denoising_psnr": True} | dict.fromkeys(aside, False)).items():
        assert (ranking.place(metric, ranking.ASIDE)[0] == len(ranking.ASIDE)) == printed
