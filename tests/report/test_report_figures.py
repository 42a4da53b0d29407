"""The figures: every one draws what it says it draws, the same bytes every time, and without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest

from ebmpipe import collecting, registry
from ebmpipe.files import write_arrays
from ebmpipe.report import base, style
from ebmpipe.report.curves import smooth
from ebmpipe.report.figures.summary import efficient, scale_of
from ebmpipe.report.pictures import mosaic
from ebmpipe.report.reading import CONTROLS, runs_of
from ebmpipe.spec import Kind

World = tuple[Path, dict[str, dict[str, list[int]]]]
KINDS = {"eight_gaussians": "density", "blobs": "images", "cloud": "vectors"}
CASES = [
    (name, dataset) for name, entry in base.catalogue().items() for dataset in ([d for d in KINDS if KINDS[d] in entry["kinds"]] or [None])
]


@pytest.fixture
def tabled(world: World) -> World:
    if not (world[0] / "tables" / "metrics.csv").exists():
        collecting.collect(*world)
    return world


def written(name: str, dataset: str | None, world: World, stem: Path) -> list[bytes]:
    base.draw(name, world[0], dataset, world[1], stem)
    return [stem.with_name(f"{stem.name}.{suffix}").read_bytes() for suffix in ("png", "pdf")]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("name", "dataset"), CASES)
def test_draws_the_same_bytes_twice(name: str, dataset: str | None, tabled: World, tmp_path: Path) -> None:
    png, pdf = first = written(name, dataset, tabled, tmp_path / "first" / name)
    assert png.startswith(b"\x89PNG") and pdf.startswith(b"%PDF") and b"CreationDate" not in pdf
    assert first == written(name, dataset, tabled, tmp_path / "second" / name)
    assert not list(tmp_path.rglob("*.part"))


@pytest.mark.parametrize("name", registry.names(base.FIGURES))
def test_contract(name: str) -> None:
    figure = registry.load(base.FIGURES, name)
    assert issubclass(figure, base.Figure) and figure.name == name and figure.title and figure.category
    assert figure.kinds <= set(get_args(Kind))
    caption = Path(__file__).parents[2] / "workflow" / "report" / figure.caption
    assert len(caption.read_text().split()) > 10


def test_a_figure_of_another_kind_is_refused(world: World, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="blobs is images"):
        base.draw("densities", world[0], "blobs", world[1], tmp_path / "x")
    with pytest.raises(registry.UnknownMember, match="densities"):
        base.draw("densitis", world[0], "blobs", world[1], tmp_path / "x")


def test_panels_say_what_diverged(world: World) -> None:
    context = base.Context(world[0], "eight_gaussians", world[1])
    with style.applied():
        figure = registry.load(base.FIGURES, "densities")().draw(context)
    texts = {axes.get_title().split("\n")[0]: [text.get_text() for text in axes.texts] for axes in figure.axes}
    assert list(texts)[:2] == ["true density", next(iter(row.label for row in context.comparison.best))]
    assert texts["cd (0/2 seeds)"] == ["diverged\nat step 1,234\n(loss is not finite)"] and "dsm (1/2 seeds)" in texts


def drawn(name: str, results: Path, dataset: str | None, runs: dict[str, dict[str, list[int]]]) -> Any:
    with style.applied():
        return registry.load(base.FIGURES, name)().draw(base.Context(results, dataset, runs))


def test_a_methods_own_samples_are_shown_beside_long_chains(
    tmp_path: Path, make_plane: Callable[..., None], vouch: Callable[[Path], None]
) -> None:
    made = {"fresh": "long chains, 500 steps of mala each", "own": "short run, 60 steps of ula each"}
    for label in ("pcd", "short_run"):
        make_plane(label, 0, 0.1, made=made)
    folder = tmp_path / "runs/eight_gaussians/short_run/seed0"
    own, long = np.full((7, 2), 0.5, np.float32), np.full((9, 2), -0.5, np.float32)
    write_arrays(folder / "samples.safetensors", {"own": own, "fresh": long})
    vouch(folder)
    figure = drawn("samples", tmp_path, "eight_gaussians", {"eight_gaussians": {"pcd": [0], "short_run": [0]}})
    points = {axes.get_title(): [len(line.get_xdata()) for line in axes.lines] for axes in figure.axes}
    heads = [title.split("\n")[0] for title in points]
    assert heads.index("short_run") + 1 == list(points).index("short_run@own\nshort run") and len(points) == 4
    assert points["short_run@own\nshort run"] == [7] and points[next(title for title in points if title.startswith("short_run\n0"))] == [9]


def test_a_run_without_the_declared_source_says_so_in_its_panel(tmp_path: Path, make_plane: Callable[..., None]) -> None:
    make_plane("pcd", 0, 0.1, source="own")
    figure = drawn("samples", tmp_path, "eight_gaussians", {"eight_gaussians": {"pcd": [0]}})
    texts = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert "no samples of\nthe source own" in texts and "pcd@fresh\nlong chains" in [axes.get_title() for axes in figure.axes]


def test_brackets_are_thin_bars_beyond_the_spread(make_run: Callable[..., Path], tmp_path: Path) -> None:
    for seed in (0, 1):
        make_run("pcd", seed, {"nll": 2.0 + seed / 10, "nll_lower": 1.5, "nll_upper": 2.8})
        make_run("nce", seed, {"nll": 2.5 + seed / 10})
        make_run("dsm", seed, {"nll": "interval: too wide", "nll_lower": 2.1, "nll_upper": 4.0})
    runs = {"plane": {"pcd": [0, 1], "nce": [0, 1], "dsm": [0, 1]}}
    collecting.collect(tmp_path, runs)
    figure = drawn("summary", tmp_path, None, runs)
    ranking_, trade = figure.axes
    bars = [segment for collection in ranking_.collections for segment in collection.get_segments()]
    assert {tuple(np.round(bar[:, 0], 6)) for bar in bars if abs(np.diff(bar[:, 0])[0]) > 0.4} == {(1.5, 2.8), (2.1, 4.0)}
    upright = [segment for collection in trade.collections for segment in collection.get_segments()]
    assert {tuple(np.round(bar[:, 1], 6)) for bar in upright if abs(np.diff(bar[:, 1])[0]) > 0.4} == {(1.5, 2.8), (2.1, 4.0)}
    assert "only known to lie" in figure.get_supxlabel() and "n/a" not in {text.get_text() for text in ranking_.texts}
    assert [label.get_text() for label in ranking_.get_yticklabels()] == ["pcd", "nce", "dsm"]


LOST = {"pcd": {}, "nce": {"step": 0}, "dsm": {"lost_in": "sample"}, "cd": {"lost_in": "evaluate"}, "ebm": {}}


@pytest.fixture
def losses(tmp_path: Path, make_plane: Callable[..., None]) -> tuple[Path, dict[str, dict[str, list[int]]]]:
    """A data set whose labels lost their second seeds in every stage; of nce also the first."""
    for label, options in LOST.items():
        make_plane(label, 0, 0.1, diverged=label == "nce", **(options if label == "nce" else {}))
        make_plane(label, 1, 0.1, diverged=label != "pcd", **options)
    return tmp_path, {"eight_gaussians": {label: [0, 1] for label in LOST}}


def test_crosses_stand_where_training_diverged_and_nowhere_else(losses: World) -> None:
    figure = drawn("training", losses[0], "eight_gaussians", losses[1])
    context = base.Context(losses[0], "eight_gaussians", losses[1])
    crosses = [line for axes in figure.axes for line in axes.lines if line.get_marker() == "X"]
    # The energy gap, the gradient norm and its own loss.
    assert len(crosses) == 3 and {line.get_color() for line in crosses} == {context.looks["ebm"].colour}
    assert "loss · nce" not in {axes.get_title() for axes in figure.axes}
    assert figure.get_supxlabel().split("\n")[1:] == ["\N{HEAVY MULTIPLICATION X} diverged at step 0, no curve: nce (2/2 seeds)"]
    assert "diverged" in {text.get_text() for text in figure.legends[0].get_texts()}


def test_a_cross_outside_the_panel_stands_at_its_edge(tmp_path: Path, make_plane: Callable[..., None]) -> None:
    make_plane("pcd", 0, 0.1)
    wild = {"loss": np.append(np.ones(20), 1e9)}
    make_plane("ebm", 0, 0.1, diverged=True, history=wild)
    figure = drawn("training", tmp_path, "eight_gaussians", {"eight_gaussians": {"pcd": [0], "ebm": [0]}})
    (axes,) = [axes for axes in figure.axes if axes.get_title() == "loss · ebm"]
    (cross,) = [line for line in axes.lines if line.get_marker() == "X"]
    assert cross.get_ydata()[0] == axes.get_ylim()[1] < 1e9


def test_a_run_says_in_which_stage_it_diverged(losses: World) -> None:
    runs = runs_of(losses[0], "eight_gaussians", losses[1]["eight_gaussians"])
    assert {label: (group[1].reason, group[1].training_diverged, group[1].diverged) for label, group in runs.items()} == {
        "pcd": ("", False, False),
        "nce": ("at step 0 (loss is not finite)", True, True),
        "dsm": ("in sampling: 3 of 200 fresh samples are not finite", False, True),
        "cd": ("in evaluation: the energy of test data is not finite", False, True),
        "ebm": ("at step 1,234 (loss is not finite)", True, True),
    }


def test_the_overview_says_who_diverged_where_nobody_finished(tmp_path: Path, make_plane: Callable[..., None]) -> None:
    for label, stage in (("nce", "train"), ("dsm", "sample")):
        for seed in (0, 1):
            make_plane(label, seed, 0.1, diverged=True, lost_in=stage)
    runs = {"eight_gaussians": {"nce": [0, 1], "dsm": [0, 1]}}
    collecting.collect(tmp_path, runs)
    (axes,) = drawn("summary", tmp_path, None, runs).axes
    assert axes.get_title(loc="left") == "eight_gaussians"
    assert axes.texts[0].get_text().split("\n") == [
        "no method finished",
        "nce 0/2: seeds 0, 1 diverged at step 1,234 (loss is not finite)",
        "dsm 0/2: seeds 0, 1 diverged in sampling: 3 of 200 fresh samples are not finite",
    ]


def test_a_data_sets_figure_needs_nothing_of_the_others(world: World, tmp_path: Path) -> None:
    results, runs = world
    order = ["nce", "pcd", "pcd_twin", "cd", "dsm"]
    for folder, given, labels in (("whole", runs, None), ("part", {"blobs": runs["blobs"]}, order)):
        base.draw("energies", results, "blobs", given, tmp_path / folder / "energies", labels)
    assert (tmp_path / "whole/energies.png").read_bytes() == (tmp_path / "part/energies.png").read_bytes()
    with pytest.raises(ValueError, match="every method that the figure shows; dsm is missing"):
        base.draw("energies", results, "blobs", runs, tmp_path / "x", order[:-1])
    with pytest.raises(ValueError, match="must name the labels and seeds of blobs, not only of cloud"):
        base.draw("energies", results, "blobs", {"cloud": runs["cloud"]}, tmp_path / "x")


def test_what_reports_draw_as_controls_is_what_methods_call_so() -> None:
    assert {name for name, method in registry.load_all("methods").items() if method.control} == set(CONTROLS) == set(style.CONTROLS)


def test_a_label_looks_the_same_on_every_data_set(tabled: World) -> None:
    world = tabled
    looks = [base.Context(world[0], dataset, world[1]).looks for dataset in KINDS]
    order = ["nce", "pcd", "pcd_twin", "cd", "dsm"]
    parts = [base.Context(world[0], dataset, {dataset: world[1][dataset]}, order).looks for dataset in KINDS]
    overview = base.Context(world[0], None, {}, order).looks
    for found, part in zip(looks, parts, strict=True):
        assert {label: found[label] for label in part} == part and part.items() <= overview.items()
    assert overview.items() >= looks[0].items() and overview["nce"].colour == style.PALETTE[0]
    found = style.looks((f"label{i}" for i in range(60)), {})
    assert len({(look.colour, look.marker) for look in found.values()}) == 60


@pytest.mark.parametrize("count", [1, 2, 7, 25])
def test_grids_wrap(count: int) -> None:
    columns = style.balanced(count, 6)
    figure, axes = style.panels(count, columns, 1, 1)
    assert len(axes) == len(figure.axes) == count and columns <= 6
    assert figure.get_figwidth() == columns


def test_only_noisy_curves_are_smoothed() -> None:
    age, noisy = pd.Series(np.arange(100.0)), pd.Series(np.tile([0.0, 1.0], 50))
    assert smooth(age).equals(age) and smooth(-age).equals(-age)
    assert smooth(noisy).between(0, 1).all() and not smooth(noisy).equals(noisy)


def test_mosaic_keeps_colours_and_order() -> None:
    images = np.zeros((3, 3, 2, 2))
    images[1, 0] = 1
    sheet = mosaic(images, columns=2)
    assert sheet.shape == (5, 5, 3) and sheet[0, 3].tolist() == [1, 0, 0] and sheet[4, 4].tolist() == [1, 1, 1]


def test_front_and_scales() -> None:
    assert efficient([(3, 1.0), (1, 5.0), (2, 6.0), (4, 2.0)], "lower") == [(1, 5.0), (3, 1.0)]
    assert efficient([(1, 5.0), (2, 6.0), (3, 1.0)], "higher") == [(1, 5.0), (2, 6.0)]
    assert scale_of([1.0, 2.0])[0] == "linear" and scale_of([0.01, 2.0])[0] == "log" and scale_of([-0.001, 0.01, 0.02, 5.0])[0] == "symlog"


def test_neither_tables_nor_figures_import_torch(tabled: World, tmp_path: Path) -> None:
    program = (
        "import sys, json; from pathlib import Path; from ebmpipe import collecting; from ebmpipe.report import base, overview\n"
        "results, runs = Path(sys.argv[1]), json.loads(sys.argv[2]); collecting.collect(results, runs)\n"
        "base.draw('samples', results, 'eight_gaussians', runs, Path(sys.argv[3])); overview.write_overview(results, Path(sys.argv[3]))\n"
        "assert not {'torch', 'seaborn', 'matplotlib.pyplot'} & set(sys.modules)"
    )
    drawn = []
    for seed in ("1", "2"):
        stem = tmp_path / seed / "samples"
        command = [sys.executable, "-c", program, str(tabled[0]), json.dumps(tabled[1]), str(stem)]
        subprocess.run(command, check=True, env=os.environ | {"PYTHONHASHSEED": seed})
        drawn.append([path.read_bytes() for path in sorted(stem.parent.iterdir())])
    assert len(drawn[0]) == 3 and drawn[0] == drawn[1]
