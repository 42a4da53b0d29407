"""The figure of d_t and r_t: whose they are, what is read off them, and on which scale."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from ebmpipe.report import base, style
from ebmpipe.report.figures.diagnostics import Diagnostics, balance, round_down, settled

STEPS = 60


def history(difference: np.ndarray, strength: float = 2.0) -> dict[str, np.ndarray]:
    """Columns of a history."""
    return {"loss": difference, "d_t": difference, "r_t": np.full(len(difference), strength)}


def drawn(results: Path, labels: dict[str, list[int]]) -> tuple[Any, base.Context]:
    context = base.Context(results, "eight_gaussians", {"eight_gaussians": labels})
    with style.applied():
        figure = Diagnostics().draw(context)
        figure.draw_without_rendering()
    return figure, context


def rows(figure: Any) -> dict[str, list[Any]]:
    """Label -> its three panels."""
    return {axes.get_ylabel().split("\n")[0]: figure.axes[i : i + 3] for i, axes in enumerate(figure.axes) if axes.get_ylabel()}


def test_a_row_for_each_method_that_reports_them_from_best_to_worst(tmp_path: Path, make_plane: Callable[..., None]) -> None:
    wave = np.sin(np.arange(STEPS))
    make_plane("pcd", 0, 0.3, history=history(wave))
    make_plane("cd", 0, 0.01, history=history(0.5 * wave, 3.0))
    make_plane("nce", 0, 0.1, history={"loss": wave})
    make_plane("noise", 0, 1.0, method="noise")
    figure, context = drawn(tmp_path, {"pcd": [0], "cd": [0], "nce": [0], "noise": [0]})
    found = rows(figure)
    assert list(found) == ["cd", "pcd"]
    for label, factor, level in (("cd", 0.5, 3.0), ("pcd", 1.0, 2.0)):
        raw, thick = (line for line in found[label][0].lines if line.get_color() == context.looks[label].colour)
        np.testing.assert_allclose(raw.get_ydata(), factor * wave)
        assert raw.get_xdata()[-1] == 2_000_000 and thick.get_linewidth() > raw.get_linewidth()
        assert {float(y) for line in found[label][2].lines for y in line.get_ydata()} == {level}
    assert len({panel.get_ylim() for panels in found.values() for panel in panels[:2]}) == 1, "one scale for every d_t"
    assert len({panels[2].get_ylim() for panels in found.values()}) == 1


def test_the_second_half_is_summed_up(tmp_path: Path, make_plane: Callable[..., None]) -> None:
    """Gradient evaluations rise evenly: rows 31 to 60 are the second half, of two seeds; a diverged seed does not count."""
    first = np.concatenate([np.full(30, -9.0), np.full(30, 0.5)])
    second = np.concatenate([np.full(30, -9.0), np.full(15, 0.5), np.full(15, -0.1)])
    for seed, values in enumerate((first, second)):
        make_plane("pcd", seed, 0.1, history=history(values))
    make_plane("pcd", 2, 0.1, diverged=True, history=history(np.full(20, 7.0)))
    figure, _ = drawn(tmp_path, {"pcd": [0, 1, 2]})
    strip, margin, _ = rows(figure)["pcd"]
    assert [text.get_text() for text in margin.texts] == ["mean 0.35\n75% positive"]
    assert [line for line in strip.lines if line.get_marker() == "X"], "where the third seed diverged"
    frame = pd.DataFrame({"gradient_evaluations": [100, 200, 300, 400], "d_t": [1.0, 2.0, 3.0, np.nan]})
    assert settled(frame).tolist() == [2.0, 3.0] and not len(settled(frame.drop(columns="d_t")))


def test_the_dotted_line_is_where_drift_and_noise_are_as_long() -> None:
    def run(name: str, **settings: float | None) -> Any:
        return SimpleNamespace(config={"settings": {"kernel": {"name": name, "settings": settings}}})

    level = balance(run("ula", step_size=0.3, noise_scale=0.03), 64)
    assert level is not None and 0.3**2 / 2 * level == pytest.approx(0.03 * sqrt(64))
    level = balance(run("mala", step_size=0.3, noise_scale=None), 2)
    assert level is not None and 0.3**2 / 2 * level == pytest.approx(0.3 * sqrt(2))
    assert balance(run("hmc", step_size=0.3), 2) is None and balance(SimpleNamespace(config={}), 2) is None  # type: ignore[arg-type]


@pytest.mark.parametrize(("wild", "scale"), [(1.0, "linear"), (300.0, "symlog")])
def test_what_is_far_off_does_not_flatten_the_rest(tmp_path: Path, make_plane: Callable[..., None], wild: float, scale: str) -> None:
    wave = np.sin(np.arange(STEPS))
    for place, label in enumerate(("pcd", "cd", "igebm")):
        make_plane(label, 0, 0.1 * (place + 1), history=history(wild * wave if place == 2 else wave))
    figure, _ = drawn(tmp_path, {"pcd": [0], "cd": [0], "igebm": [0]})
    for strip, margin, _ in rows(figure).values():
        assert strip.get_yscale() == margin.get_yscale() == scale
        low, high = strip.get_ylim()
        assert low < -0.9 * wild and high > 0.9 * wild
        inside = strip.transData.transform([[0, -1], [0, 1]])[:, 1]
        assert np.ptp(inside) > 0.25 * strip.get_window_extent().height, "the calm ones take a good part of the panel"


def test_without_chains_it_says_so(tmp_path: Path, make_plane: Callable[..., None]) -> None:
    make_plane("nce", 0, 0.1)
    figure, _ = drawn(tmp_path, {"nce": [0]})
    assert [text.get_text() for axes in figure.axes for text in axes.texts] == ["no method here reports diagnostics of a Markov chain"]


@pytest.mark.parametrize(("value", "expected"), [(0.3, 0.2), (1.0, 1.0), (7.0, 5.0), (0.02, 0.02), (0.0, 1.0)])
def test_ticks_are_round(value: float, expected: float) -> None:
    assert round_down(value) == pytest.approx(expected)
