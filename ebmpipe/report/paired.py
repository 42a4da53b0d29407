"""What labels come to less what they are built on, or stand beside, seed by seed.

Of samples a label is taken by its method's own sampler, where it has one. It is compared with the run that it builds on, as an energy with
the flow that it tilts; with itself without a part, as revised samples with the generator's; and with the first label that is trained.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from ebmpipe.metrics.base import MetricInfo
from ebmpipe.report.dialects import MARKDOWN
from ebmpipe.report.differences import difference, paired
from ebmpipe.report.numbers import quantity

COLUMNS = [
    "dataset", "metric", "method", "reference", "as", "value", "reference_value", "pairs", "better",
    "difference", "difference_low", "difference_high",
]  # fmt: skip
#: Sources that a label has beside its own samples or codes, and what they are.
PARTS = {"generated": "its generator's samples", "inferred": "its inference model's codes", "noisy_own": "its samples before the jump"}
#: Ends of brackets that are claimed, as they make a result worse.
PESSIMISTIC = ("nll_upper", "bits_per_dim_upper")
FIRST = "the first label"
#: How metrics end that are about test examples with the noise that the energy allows for.
SMOOTHED = "@smoothed"
INTRO = (
    "Differences over equal seeds, each with a 95 % interval by Student's t, which takes two. Of samples they are those of the method's "
    "own sampler, where it has one; likelihoods that are called upper are those at the end of log Z that makes them worse, and smoothed "
    "those of test examples with the noise that the model was trained with, where the others are of examples as they are. Better: seeds "
    "of which the method is."
)


@dataclass(frozen=True)
class Reference:
    """What a label is compared with.

    Attributes:
        label: whose numbers.
        source: of which samples; None: the label's own.
        role: what it is, in words.
    """

    label: str
    source: str | None
    role: str


def better_of(metric: str, infos: Mapping[str, MetricInfo]) -> str | None:
    """Which side of a metric is better, if either is."""
    if metric in PESSIMISTIC:
        return "lower"
    info = infos.get(metric)
    return None if info is None else info.better


def values(metrics: pd.DataFrame, metric: str, source: str | None) -> dict[int, float]:
    """Of the rows of one label, a metric by seed: of a source, or where it is None of the label's own samples or, of one without a sampler
    of its own and of what is no matter of samples, bare. Where those of its own have no value there is none."""
    sourced = metrics["metric"] == f"{metric}@{source or 'own'}"
    found = metrics[sourced if source or sourced.any() else metrics["metric"] == metric].dropna(subset=["value"])
    return dict(zip(found["seed"].astype(int), found["value"].astype(float), strict=True))


def references(label: str, required: Mapping[str, Mapping[str, str]], first: str | None) -> Iterator[Reference]:
    """What a label is compared with, each once."""
    for role, other in required.get(label, {}).items():
        yield Reference(other, None, f"its {role}")
    for source, words in PARTS.items():
        yield Reference(label, source, words)
    if first is not None and label != first and first not in required.get(label, {}).values():
        yield Reference(first, None, FIRST)


def rows(
    metrics: pd.DataFrame, required: Mapping[str, Mapping[str, str]], first: str | None, infos: Mapping[str, MetricInfo]
) -> Iterator[dict[str, Any]]:
    """The rows of one data set."""
    of_label = {str(label): found for label, found in metrics.groupby("method", sort=False)}
    for label, own in of_label.items():
        for metric in dict.fromkeys(name if name.endswith(SMOOTHED) else name.partition("@")[0] for name in own["metric"]):
            better, here = better_of(metric.removesuffix(SMOOTHED), infos), values(own, metric, None)
            if better is None or not here:
                continue
            # The first label may have been trained with other noise; what a label builds on has its own.
            for reference in references(label, required, None if metric.endswith(SMOOTHED) else first):
                there = values(of_label[reference.label], metric, reference.source) if reference.label in of_label else {}
                found = paired(here, there)
                if found is None:
                    continue
                both = [seed for seed in here if seed in there]
                wins = sum((here[seed] < there[seed]) == (better == "lower") and here[seed] != there[seed] for seed in both)
                yield {
                    "metric": metric,
                    "method": label,
                    "reference": reference.label + (f"@{reference.source}" if reference.source else ""),
                    "as": reference.role,
                    "value": sum(here[seed] for seed in both) / len(both),
                    "reference_value": sum(there[seed] for seed in both) / len(both),
                    "pairs": found.pairs,
                    "better": wins,
                    "difference": found.mean,
                    "difference_low": found.low,
                    "difference_high": found.high,
                }


def frame(
    metrics: pd.DataFrame,
    required: Mapping[str, Mapping[str, Mapping[str, str]]],
    controls: Mapping[str, set[str]],
    infos: Mapping[str, MetricInfo],
) -> pd.DataFrame:
    """``paired.csv``.

    Args:
        metrics: ``metrics.csv``.
        required: data set -> label -> role -> label that it builds on.
        controls: data set -> labels that train nothing, which are compared with nothing.
        infos: how to read metrics, by id.
    """
    found: list[dict[str, Any]] = []
    for dataset, of_data in metrics.groupby("dataset", sort=False):
        trained = of_data[~of_data["method"].isin(controls.get(str(dataset), set()))]
        first = next(iter(trained["method"]), None)
        found += [{"dataset": dataset} | row for row in rows(trained, required.get(str(dataset), {}), first, infos)]
    numbers = ("value", "reference_value", "difference", "difference_low", "difference_high")
    types = {"pairs": "Int64", "better": "Int64"} | dict.fromkeys(numbers, "float64")
    return pd.DataFrame(found, columns=COLUMNS).astype(types)


def markdown(found: pd.DataFrame, headlines: Mapping[str, str | None]) -> str:
    """``paired.md``, of `frame`: of each data set what labels are built on or made of, and the first label in the headline alone.

    Args:
        found: `frame`.
        headlines: data set -> the metric that orders its rows.
    """
    parts = ["# Differences, seed by seed", "", MARKDOWN.text(INTRO), ""]
    for dataset, of_data in found.groupby("dataset", sort=False):
        shown = of_data[(of_data["as"] != FIRST) | (of_data["metric"] == headlines.get(str(dataset)))]
        if len(shown):
            parts.append(table(str(dataset), shown))
    return "\n".join(parts)


def table(dataset: str, found: pd.DataFrame) -> str:
    """The table of one data set."""
    head = ["method", "less", "which is", "metric", "method's", "the other's", "difference", "better"]
    roles: Sequence[str] = found["as"].tolist()
    body = [list(cells(row, role)) for row, role in zip(found.itertuples(), roles, strict=True)]
    return MARKDOWN.table(MARKDOWN.name(dataset), head, body, [], "")


def cells(row: Any, role: str) -> Iterator[str]:
    """The cells of a row; ``as``, which is ``role``, is no name that a tuple's field can have."""
    yield from (MARKDOWN.name(row.method), MARKDOWN.name(row.reference), MARKDOWN.text(role), MARKDOWN.name(row.metric))
    yield from (MARKDOWN.number(quantity(value)) for value in (row.value, row.reference_value))
    yield difference(row)
    yield f"{row.better}/{row.pairs}"
