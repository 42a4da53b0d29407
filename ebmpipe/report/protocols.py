"""What numbers may be compared under: the lines below a table."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pandas as pd

#: The numbers of examples in a protocol: all that differs between runs that made different numbers of samples.
SIZE = re.compile(r"(?<=\bn = )\d+|(?<= samples and )\d+")


def merged(protocols: Iterable[str]) -> str:
    """Several protocols of one metric as one: where they differ in the numbers of examples alone, with their ranges."""
    found: dict[str, list[list[int]]] = {}
    for text in protocols:
        found.setdefault(SIZE.sub("{}", text.replace("{", "{{").replace("}", "}}")), []).append([int(size) for size in SIZE.findall(text)])
    return "; or ".join(template.format(*map(spanned, zip(*sizes, strict=True))) for template, sizes in found.items())


def spanned(values: tuple[int, ...]) -> str:
    """``397``, or ``100 to 397``."""
    return str(values[0]) if len(set(values)) == 1 else f"{min(values)} to {max(values)}"


def of_metrics(protocols: pd.DataFrame) -> dict[str, str]:
    """The protocol of each metric that has one, from the rows of one data set in ``protocols.csv``; bare ids only."""
    bare = protocols[~protocols["metric"].str.contains("@")]
    return {str(metric): merged(dict.fromkeys(group["protocol"])) for metric, group in bare.groupby("metric", sort=False)}


def sharing(texts: dict[str, str]) -> dict[str, list[str]]:
    """The metrics of which each text is said, so that it is said once."""
    found: dict[str, list[str]] = {}
    for metric, text in texts.items():
        found.setdefault(text, []).append(metric)
    return found
