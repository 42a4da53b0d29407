"""The figures: every one draws what it says it draws, the same bytes every time, and without torch."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ebmpipe import collecting, registry
from ebmpipe.report import base, style
from ebmpipe.report.curves import smooth
from ebmpipe.report.figures.summary import efficient, scale_of
from ebmpipe.report.pictures import mosaic

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
    assert figure.kinds <= {"density", "vectors", "images"}
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


def test_a_label_looks_the_same_on_every_data_set(world: World) -> None:
    looks = [base.Context(world[0], dataset, world[1]).looks for dataset in KINDS]
    assert looks[0] == looks[1] == looks[2]
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
