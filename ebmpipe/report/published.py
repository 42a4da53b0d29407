"""What others have published on the data sets of a comparison, beside what its labels come to."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from ebmpipe.report.dialects import MARKDOWN
from ebmpipe.report.numbers import quantity
from ebmpipe.report.trajectories import QUANTITY

#: The numbers, each with where it was published and how it was read there.
FILE = Path(__file__).with_name("published.csv")
#: Rows that give every metric its scale.
CONTROLS = ("data", "noise")
COLUMNS = ["dataset", "metric", "method", "variant", "published", "label", "ours", "ours_sd", "seeds", "source", "read_in", "note"]
INTRO = (
    "Numbers that others have published, beside those of the labels here that stand for the same method or variant: mean ± standard "
    "deviation over seeds. Of samples they are those of the method's own sampler, as others have it, where it has one. Networks, budgets "
    "and numbers of samples are not the same; the controls say what ours are worth. n/a: no label here stands for it, or it has no value."
)


@cache
def known() -> tuple[dict[str, str], ...]:
    """The rows of `FILE`."""
    with FILE.open(encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def catalogue() -> dict[str, list[str]]:
    """Which metrics there are published numbers of, by data set."""
    found: dict[str, list[str]] = {}
    for row in known():
        metrics = found.setdefault(row["dataset"], [])
        if row["metric"] not in metrics:
            metrics.append(row["metric"])
    return found


def ours(metrics: pd.DataFrame, trajectories: pd.DataFrame | None, dataset: str, label: str, metric: str) -> dict[str, Any]:
    """Mean, deviation over seeds and number of seeds of what a label comes to; empty if it has no value."""
    if metric == QUANTITY:
        if trajectories is None:
            return {}
        at = trajectories[(trajectories["dataset"] == dataset) & (trajectories["method"] == label) & (trajectories["at"] == "updates")]
        found = at.dropna(subset=[QUANTITY])
        return (
            {}
            if found.empty
            else {"ours": found[QUANTITY].iloc[0], "ours_sd": found[f"{QUANTITY}_sd"].iloc[0], "seeds": found["seeds"].iloc[0]}
        )
    of_label = metrics[(metrics["dataset"] == dataset) & (metrics["method"] == label)]
    # Lost samples of its own sampler are not replaced by others.
    own = f"{metric}@own"
    name = own if "@" not in metric and (of_label["metric"] == own).any() else metric
    values = of_label.loc[of_label["metric"] == name, "value"].dropna().astype(float)
    return {} if values.empty else {"ours": values.mean(), "ours_sd": values.std() if len(values) > 1 else None, "seeds": len(values)}


def rows(metrics: pd.DataFrame, trajectories: pd.DataFrame | None, datasets: list[str]) -> Iterator[dict[str, Any]]:
    """The rows of `frame`."""
    for dataset in datasets:
        for metric in catalogue().get(dataset, []):
            if metric == QUANTITY and trajectories is None:
                continue
            for control in CONTROLS:
                if value := ours(metrics, trajectories, dataset, control, metric):
                    yield {"dataset": dataset, "metric": metric, "method": control, "label": control} | value
            for row in known():
                if (row["dataset"], row["metric"]) == (dataset, metric):
                    said = {key: row[key] for key in ("dataset", "metric", "method", "variant", "source", "read_in", "note")}
                    found = ours(metrics, trajectories, dataset, row["label"], metric) if row["label"] else {}
                    yield said | {"published": float(row["value"]), "label": row["label"] if found else ""} | found


def frame(metrics: pd.DataFrame, trajectories: pd.DataFrame | None = None) -> pd.DataFrame:
    """``published.csv``: a row for each control and each published number on the data sets of ``metrics``.

    Args:
        metrics: ``metrics.csv``.
        trajectories: ``trajectories.csv``, if there is one: the likelihoods of weights in training.
    """
    found = pd.DataFrame(rows(metrics, trajectories, list(dict.fromkeys(metrics["dataset"]))), columns=COLUMNS)
    return found.astype({"seeds": "Int64", "published": "float64", "ours": "float64", "ours_sd": "float64"})


def markdown(found: pd.DataFrame) -> str:
    """``published.md``, of `frame`: of each data set a table for each source, in the shape that it has there: methods by metrics."""
    made = []
    for dataset, of_dataset in found.groupby("dataset", sort=False):
        controls, others = (of_dataset[of_dataset["source"].isna() == alone] for alone in (True, False))
        made += [
            table(str(dataset), str(source), pd.concat([controls[controls["metric"].isin(of_source["metric"])], of_source]))
            for source, of_source in others.groupby("source", sort=False)
        ]
    return "\n".join(["# Beside what others have published", "", MARKDOWN.text(INTRO), "", *made])


def table(dataset: str, source: str, found: pd.DataFrame) -> str:
    """The table of one source on one data set: a row for each method and variant, and for each metric theirs and ours."""
    metrics = list(dict.fromkeys(found["metric"]))
    head = ["method", *(cell for metric in metrics for cell in (f"{MARKDOWN.name(metric)}, published", "here")), "label", "seeds", "note"]
    body = []
    for (method, variant), rows in found.fillna({"variant": ""}).groupby(["method", "variant"], sort=False):
        by_metric = {str(row.metric): row for row in rows.itertuples()}
        cells = [cell for metric in metrics for cell in (theirs(by_metric.get(metric)), here(by_metric.get(metric)))]
        labels = list(dict.fromkeys(label for label in rows["label"].dropna() if label))
        seeds = rows["seeds"].dropna()
        said = dict.fromkeys(str(text) for column in ("read_in", "note") for text in rows[column].dropna() if text not in ("", "the paper"))
        body.append([
            MARKDOWN.text(f"{method}, {variant}" if variant else str(method)),
            *cells,
            ", ".join(MARKDOWN.name(label) for label in labels) or "–",
            str(seeds.max()) if len(seeds) else "–",
            MARKDOWN.text("; ".join(said)) or "–",
        ])  # fmt: skip
    return MARKDOWN.table(f"{MARKDOWN.name(dataset)}: {MARKDOWN.text(source)}", head, body, [], "")


def theirs(row: Any) -> str:
    """A published number, as it was."""
    return "–" if row is None or pd.isna(row.published) else f"{row.published:g}".replace("-", "\N{MINUS SIGN}")


def here(row: Any) -> str:
    """What stands beside it."""
    if row is None:
        return "–"
    return "n/a" if pd.isna(row.ours) else MARKDOWN.number(quantity(row.ours, None if pd.isna(row.ours_sd) else row.ours_sd))
