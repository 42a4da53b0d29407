"""Runs as data frames: the two tidy tables that everything else is computed from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from ebmpipe.report.reading import MissingResult, Run, Runs, runs_of, source_beside
from ebmpipe.runs import STAGES

METRICS = ["dataset", "method", "seed", "metric", "value", "stderr", "n", "status", "unit"]
KEY = ["dataset", "method", "seed", "metric"]
PROTOCOLS = ["dataset", "metric", "protocol", "n"]
TEXT = ("dataset", "method", "metric", "status", "unit", "protocol", "device", "control", "reason", "source", "made", "made_beside")
COMPUTE = [
    "dataset", "method", "seed", "status", "wall_s", "train_s", "sample_s", "long_run_s", "evaluate_s", "startup_s", "device",
    "peak_memory_mb",
    "parameters", "training_flops", "gradient_evaluations", "sampler_steps", "temperature", "clipped", "control", "reason",
    "source", "made", "made_beside",
]  # fmt: skip


class DuplicateRows(ValueError):
    """Raised when a run reports one metric twice."""


def all_runs(results: Path, runs: Runs) -> list[Run]:
    """Every run, in the order of the config."""
    return [run for dataset, labels in runs.items() for group in runs_of(results, dataset, labels).values() for run in group]


def metrics_frame(runs: list[Run]) -> pd.DataFrame:
    """One row per run and metric. A diverged run has a row for every metric that its data set's other runs have.

    Raises:
        DuplicateRows: if (dataset, method, seed, metric) is not unique.
    """
    units: dict[str, dict[str, str]] = {}
    for run in runs:
        units.setdefault(run.dataset, {}).update({row["metric"]: row.get("unit", "") for row in run.rows})
    rows: list[dict[str, Any]] = []
    for run in runs:
        key = {"dataset": run.dataset, "method": run.label, "seed": run.seed}
        rows += [key | row for row in run.rows]
        if run.diverged:
            known = {row["metric"] for row in run.rows}
            lost = {"status": "diverged", "value": None}
            rows += [key | lost | {"metric": metric, "unit": unit} for metric, unit in units[run.dataset].items() if metric not in known]
    types = {"value": "float64", "stderr": "float64", "n": "Int64", "unit": "str"}
    frame = pd.DataFrame(rows, columns=METRICS).astype(types)
    twice = frame[frame.duplicated(KEY)]
    if len(twice):
        raise DuplicateRows("reported twice: " + "; ".join("/".join(map(str, row)) for row in twice[KEY].itertuples(index=False)))
    return frame


def with_required(ledger: Mapping[str, Any], key: str) -> Any:
    """A cost of a run and of all that it builds on; None if its own is unknown."""
    own = ledger.get(key)
    return own if own is None else own + sum(with_required(other, key) or 0 for other in ledger.get("required", {}).values())


def compute_frame(runs: list[Run]) -> pd.DataFrame:
    """One row per run: what it cost, stage by stage."""
    rows = []
    for run in runs:
        ledger, stages = run.ledger, run.ledger["stages"]
        known = [stages[stage] for stage in STAGES if stage in stages]
        row: dict[str, Any] = {"dataset": run.dataset, "method": run.label, "seed": run.seed, "status": ledger["status"]}
        row |= {f"{stage}_s": stages.get(stage, {}).get("wall_s") for stage in STAGES}
        row["startup_s"] = sum(stage.get("startup_s") or 0.0 for stage in known)
        row["wall_s"] = row["startup_s"] + sum(stage.get("wall_s") or 0.0 for stage in known)
        row["device"] = stages.get("train", {}).get("device")
        row["peak_memory_mb"] = max((stage.get("peak_memory_mb") or 0.0 for stage in known), default=None)
        # What a run builds on is part of its price: a backbone's cost is added to the cost of all that require it.
        for key in ("parameters", "training_flops", "gradient_evaluations"):
            row[key] = with_required(ledger, key)
        row["train_s"] = with_required({"required": ledger.get("required", {}), "wall_s": row["train_s"]}, "wall_s")
        for key in ("temperature", "clipped"):
            row[key] = ledger.get(key)
        row["sampler_steps"] = stages.get("sample", {}).get("sampler_steps")
        row["control"] = run.config["method"] if run.control else None
        row["reason"] = run.reason if run.diverged else None
        row |= {"source": run.source, "made": run.made(run.source), "made_beside": run.made(source_beside(run.source))}
        rows.append(row)
    whole = dict.fromkeys(("parameters", "training_flops", "gradient_evaluations", "sampler_steps"), "Int64")
    seconds = dict.fromkeys(("wall_s", "train_s", "sample_s", "long_run_s", "evaluate_s", "startup_s"), "float64")
    frame = pd.DataFrame(rows, columns=COMPUTE).astype(
        whole | seconds | dict.fromkeys(("peak_memory_mb", "temperature", "clipped"), "float64")
    )
    return frame.round(dict.fromkeys(seconds, 3))  # the clock's digits; sums bring others


def protocols_frame(runs: list[Run]) -> pd.DataFrame:
    """One row per data set, metric (also of other sources), protocol and n that some run's number has: what it may be compared under."""
    stated = [{"dataset": run.dataset} | row for run in runs for row in run.rows if row["status"] != "diverged" and row.get("protocol")]
    frame = pd.DataFrame(stated, columns=PROTOCOLS).astype({"dataset": "str", "metric": "str", "protocol": "str", "n": "Int64"})
    return frame.drop_duplicates().sort_values(PROTOCOLS, kind="stable").reset_index(drop=True)


def read_tables(results: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """``metrics.csv``, ``compute.csv`` and ``protocols.csv`` as they were written: an empty field is missing, a label ``null`` is a label.

    Raises:
        MissingResult: if there are none.
    """
    frames = []
    for name in ("metrics", "compute", "protocols"):
        path = results / "tables" / f"{name}.csv"
        if not path.is_file():
            raise MissingResult(f"no file {path}: run `ebmpipe collect` first")
        frames.append(pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(TEXT, "str")))
    return frames[0].fillna({"unit": ""}), frames[1], frames[2]
