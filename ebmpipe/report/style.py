"""One look for every figure: colours that the colour-blind can tell apart, markers that survive a grey printer, bytes that repeat."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil, log10
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from ebmpipe.files import atomic

#: Okabe & Ito's palette, without black (the data's) and yellow (invisible on white).
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
#: Their number and the palette's are coprime: 66 labels have different looks, 11 of them different markers.
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "p", "h")
LINES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1.2, 1.2)), (0, (5, 1.5, 1.2, 1.5)))
INK, MUTED, PALE = "#222222", "#767676", "#E4E4E4"
DENSITY_MAP = "viridis"
DPI = 200

SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7.5,
    "figure.titlesize": 10,
    "figure.facecolor": "white",
    "axes.edgecolor": MUTED,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": False,
    "grid.color": PALE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.3,
    "lines.markersize": 5,
    "legend.frameon": False,
    "image.cmap": DENSITY_MAP,
    "pdf.fonttype": 42,
    "savefig.dpi": DPI,
    "figure.dpi": DPI,
    "svg.hashsalt": "ebmpipe",
}


@dataclass(frozen=True)
class Look:
    """How one label is drawn, in every figure."""

    colour: str
    marker: str
    line: Any = "-"


CONTROLS = {"data": Look("black", "*", "-"), "noise": Look(MUTED, "x", (0, (1, 1.5)))}


def looks(labels: Iterable[str], controls: Mapping[str, str]) -> dict[str, Look]:
    """A look for each label, by its place in the config; ``controls`` maps labels to ``data`` or ``noise``."""
    found = {label: CONTROLS[control] for label, control in controls.items()}
    for index, label in enumerate(label for label in dict.fromkeys(labels) if label not in controls):
        line = LINES[index // len(PALETTE) % len(LINES)]
        found[label] = Look(PALETTE[index % len(PALETTE)], MARKERS[index % len(MARKERS)], line)
    return found


@contextmanager
def applied() -> Iterator[None]:
    """Draw and save in this style, whatever the user's matplotlibrc says."""
    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(SETTINGS)
        yield


def panels(count: int, columns: int, width: float, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels of ``width`` × ``height`` inches, wrapped after ``columns``."""
    columns = max(1, min(columns, count))
    rows = ceil(count / columns)
    figure = Figure(figsize=(columns * width, rows * height), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False, **options)
    axes = list(grid.flat)
    for surplus in axes[count:]:
        surplus.remove()
    return figure, axes[:count]


def balanced(count: int, most: int) -> int:
    """Columns that leave the fewest holes: as many rows as ``most`` columns would need, filled evenly."""
    return ceil(count / ceil(count / most)) if count else 1


def plain_log(axis: Axis, low: float, high: float) -> None:
    """Few and plain labels (0.05, 0.1, 0.2) on a logarithmic ``axis`` that shows ``low`` to ``high``."""
    decades = log10(high / low) if 0 < low < high else 1
    axis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 1.3 else (1, 3) if decades < 2.6 else (1,), numticks=12))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}" if 1e-4 < value < 1e6 else f"{value:.0e}"))
    axis.set_minor_formatter(NullFormatter())


def bare(axes: Axes) -> None:
    """No ticks and no frame."""
    axes.set_xticks([])
    axes.set_yticks([])
    for spine in axes.spines.values():
        spine.set_visible(False)


def say(axes: Axes, text: str) -> None:
    """Write into an otherwise empty panel why it is empty."""
    bare(axes)
    axes.set_facecolor("#F4F4F4")
    axes.text(0.5, 0.5, text, transform=axes.transAxes, ha="center", va="center", fontsize=7, color=MUTED, wrap=True)


def save(figure: Figure, stem: Path) -> None:
    """Write ``stem.png`` and ``stem.pdf`` atomically; equal figures give equal bytes."""
    with applied():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # the layout is found once, and is the same in both files
        for suffix, metadata in (("png", {"Software": None}), ("pdf", {"CreationDate": None})):
            with atomic(stem.with_name(f"{stem.name}.{suffix}")) as temporary:
                figure.savefig(temporary, format=suffix, dpi=DPI, metadata=metadata)
