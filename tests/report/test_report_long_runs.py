"""Figures of mixing and of long runs, drawn from records that are made up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import matplotlib.figure
import numpy as np
import pytest
from long_runs import STEPS, lost_run, record_of

from ebmpipe import registry
from ebmpipe.mixing.record import FILE, LongRun
from ebmpipe.report import style
from ebmpipe.report.base import Context
from ebmpipe.report.base import draw as draw_figure

NAMES = ("mixing", "long_run", "film_strip")
RUNS = {"eight_gaussians": {"data": [0], "pcd": [0, 1], "dsm": [0], "noise": [0]}}
CENTRES = registry.load("data", "eight_gaussians").modes


def record(spread: float, seed: int = 0) -> LongRun:
    """Independent draws of a Gaussian of this width, whose energy it is."""
    rng = np.random.default_rng(seed)
    return record_of(
        lambda n: spread * rng.standard_normal((n, 2)),
        lambda x: (x**2).sum(axis=1) / (2 * spread**2),
        lambda x: ((x[:, None] - CENTRES) ** 2).sum(axis=2).argmin(axis=1),
        8,
    )


@pytest.fixture
def give(tmp_path: Path, vouch: Callable[[Path], None]) -> Callable[..., Path]:
    """Gives a run of ``eight_gaussians`` a long run, and distances along it."""

    def given(label: str, made: LongRun, seed: int = 0, values: np.ndarray | None = None) -> Path:
        folder = tmp_path / f"runs/eight_gaussians/{label}/seed{seed}"
        made.write(folder / FILE)
        with np.load(folder / "arrays.npz") as arrays:
            known = dict(arrays)
        if len(made.frames):
            shown = np.geomspace(1, 0.01, len(made.frames)) if values is None else values
            known |= {"long_run/energy_distance": shown, "long_run/energy_distance_stderr": np.full(len(shown), 0.01)}
        np.savez(folder / "arrays.npz", **known)
        vouch(folder)
        return folder

    return given


@pytest.fixture
def plane_world(make_plane: Callable[..., None], give: Callable[..., Path], tmp_path: Path) -> Path:
    for label, seed, badness in (("data", 0, 0.0), ("pcd", 0, 0.02), ("pcd", 1, 0.03), ("dsm", 0, 0.1), ("noise", 0, 1.0)):
        control = {"method": label} if label in ("data", "noise") else {}
        make_plane(label, seed, badness, **control)
        give(label, record(2.0, seed), seed)
    return tmp_path


def drawn(name: str, results: Path, runs: Any = None) -> matplotlib.figure.Figure:
    """The figure itself."""
    with style.applied():
        figure: matplotlib.figure.Figure = registry.load("report.figures", name)().draw(Context(results, "eight_gaussians", runs or RUNS))
    return figure


def texts(figure: matplotlib.figure.Figure) -> str:
    return " ".join(text.get_text() for text in figure.findobj(matplotlib.text.Text))


def test_chains_in_latent_space_have_rows_of_their_own(plane_world: Path, give: Callable[..., Path]) -> None:
    before = drawn("film_strip", plane_world), drawn("mixing", plane_world)
    rng = np.random.default_rng(0)
    for seed in (0, 1):
        made = record_of(lambda n: rng.standard_normal((n, 2)), lambda x: (x**2).sum(axis=1) / 2, kernels=("mala", "latent_hmc"))
        give("pcd", made, seed)
    strip, mixing = drawn("film_strip", plane_world), drawn("mixing", plane_world)
    assert "pcd\nhmc, latent" in texts(strip) and "hmc, latent" in texts(mixing)
    columns = len(STEPS)
    assert len(strip.axes) == len(before[0].axes) + columns and len(mixing.axes) == len(before[1].axes)
    # The other rows have lines of the same style as before, the new kernel one of its own.
    legend = [text.get_text() for text in mixing.legends[0].get_texts()]
    assert sorted(legend[-3:]) == ["hmc", "hmc, latent", "mala"]


@pytest.mark.parametrize("name", NAMES)
def test_they_are_drawn_twice_alike(plane_world: Path, tmp_path: Path, name: str) -> None:
    for copy in "ab":
        draw_figure(name, plane_world, "eight_gaussians", RUNS, tmp_path / copy)
    for suffix in ("png", "pdf"):
        assert (tmp_path / f"a.{suffix}").read_bytes() == (tmp_path / f"b.{suffix}").read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_every_label_with_chains_has_a_row(plane_world: Path, name: str) -> None:
    said = texts(drawn(name, plane_world))
    assert all(label in said for label in RUNS["eight_gaussians"])


@pytest.mark.parametrize("name", NAMES)
def test_labels_without_an_energy_have_no_row_and_without_any_the_figure_says_so(
    make_plane: Callable[..., None], give: Callable[..., Path], tmp_path: Path, name: str
) -> None:
    make_plane("pcd", 0, 0.1)
    make_plane("data", 0, 0.0, method="data")
    runs = {"eight_gaussians": {"pcd": [0], "data": [0]}}
    assert "no run has chains that can be shown" in texts(drawn(name, tmp_path, runs))
    give("data", LongRun.nothing("the run has no energy", {}))
    give("pcd", record(2.0))
    said = texts(drawn(name, tmp_path, runs))
    assert "pcd" in said and "data\n" not in said and "no run has chains" not in said


def test_the_mixing_figure_marks_every_quantity_of_every_kernel(plane_world: Path) -> None:
    rows = drawn("mixing", plane_world).axes
    first = rows[0]
    marks = {line.get_marker(): len(line.get_xdata()) for line in first.lines if line.get_marker() not in ("None", "")}
    assert marks["D"] == 1
    # Where all chains agree that they are in no mode at all, that indicator is constant and left out.
    assert 6 <= marks["o"] <= 9
    # For both kernels the autocorrelation starts at 1.
    assert sorted(float(line.get_ydata()[0]) for line in rows[1].lines if len(line.get_ydata()) > 2) == [1.0, 1.0]


def test_stuck_chains_stay_in_the_frame(make_plane: Callable[..., None], give: Callable[..., Path], tmp_path: Path) -> None:
    make_plane("pcd", 0, 0.1)
    made = record(2.0)
    kernel = made.kernels["mala"]
    rhat = kernel.arrays["rhat"].copy()
    rhat[3] = 500.0
    stuck = replace(kernel, arrays=kernel.arrays | {"rhat": rhat})
    give("pcd", replace(made, kernels={"mala": stuck, "hmc": made.kernels["hmc"]}))
    axes = drawn("mixing", tmp_path, {"eight_gaussians": {"pcd": [0]}}).axes[0]
    assert axes.get_xlim()[1] > 499


def test_a_kernel_that_was_lost_leaves_its_place_empty(make_plane: Callable[..., None], give: Callable[..., Path], tmp_path: Path) -> None:
    make_plane("pcd", 0, 0.1)
    made = record(2.0)
    give("pcd", replace(made, kernels={"mala": made.kernels["mala"], "hmc": lost_run(16, "hmc")}))
    runs = {"eight_gaussians": {"pcd": [0]}}
    assert "pcd" in texts(drawn("mixing", tmp_path, runs))
    # And where the first is lost, nothing can be judged, but its frames are there.
    give("pcd", replace(made, kernels={"mala": lost_run(16)}, frames=made.frames[:2], frame_steps=made.frame_steps[:2]))
    assert "no run has chains" in texts(drawn("mixing", tmp_path, runs))
    assert "diverged" not in texts(drawn("film_strip", tmp_path, runs))
    assert "pcd" in texts(drawn("long_run", tmp_path, runs))


def test_latent_chains_are_shown_where_the_first_kernel_is_lost(
    make_plane: Callable[..., None], give: Callable[..., Path], tmp_path: Path
) -> None:
    make_plane("nt", 0, 0.1)
    made = record(2.0)
    mala = made.kernels["mala"]
    latent = replace(mala, about={**mala.about, "name": "latent_hmc", "latent": True})
    kernels = {"mala": lost_run(16), "latent_hmc": latent}
    give("nt", replace(made, kernels=kernels, frames=made.frames[:2], frame_steps=made.frame_steps[:2]))
    figure = drawn("mixing", tmp_path, {"eight_gaussians": {"nt": [0]}})
    assert "no run has chains" not in texts(figure)
    ratios, energy, _ = figure.axes
    assert sum(line.get_marker() == "D" for line in ratios.lines) == 1
    assert [float(line.get_ydata()[0]) for line in energy.lines if len(line.get_ydata()) > 2] == [1.0]


def test_a_strip_that_breaks_off_says_so(plane_world: Path, give: Callable[..., Path]) -> None:
    made = record(2.0)
    give("pcd", replace(made, kernels={"mala": lost_run(16)}, frames=made.frames[:2], frame_steps=made.frame_steps[:2]))
    assert texts(drawn("film_strip", plane_world)).count("diverged") == 1


def test_a_shorter_run_ends_and_has_not_diverged(plane_world: Path, give: Callable[..., Path]) -> None:
    """Its frames are in the columns of their steps, the last in one of its own if no other run has a frame there."""
    made = record(2.0)
    steps = [int(step) for step in made.frame_steps]
    shorter = np.array([*made.frame_steps[:2], (steps[1] + steps[2]) // 2])
    give("pcd", replace(made, frames=made.frames[:3], frame_steps=shorter))
    figure = drawn("film_strip", plane_world)
    assert "diverged" not in texts(figure)
    titles = [axes.get_title() for axes in figure.axes[: len(steps) + 1]]
    assert titles == [f"step {step:,}" if step == 0 else f"{step:,}" for step in sorted({*steps, *map(int, shorter)})]


def test_the_best_frame_is_circled(make_plane: Callable[..., None], give: Callable[..., Path], tmp_path: Path) -> None:
    make_plane("pcd", 0, 0.1)
    give("pcd", record(2.0), values=np.array([1.0, 0.1, 0.5, 0.7]))
    quality = drawn("long_run", tmp_path, {"eight_gaussians": {"pcd": [0]}}).axes[1]
    (circle,) = [line for line in quality.lines if line.get_marker() == "o"]
    assert (float(circle.get_xdata()[0]), float(circle.get_ydata()[0])) == (1.0, pytest.approx(0.1))
