"""Scoring work that was made elsewhere: samples, an energy, or both, by the metrics and the code that measure the workflow's runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from ebmpipe.config import EvaluationConfig, NetworkConfig
from ebmpipe.data.finding import find
from ebmpipe.data.prepared import Prepared
from ebmpipe.evaluation import chosen_metrics, evaluation_of, measured, to_json
from ebmpipe.files import sha256, write_json
from ebmpipe.given_models import Base, GivenModel, read_model
from ebmpipe.given_samples import file_units, read_samples
from ebmpipe.metrics.base import Measurement, Metric, SampleMetric
from ebmpipe.optimisation import Diverged
from ebmpipe.planning import OF_LONG_RUNS
from ebmpipe.provenance import choose_device
from ebmpipe.report.numbers import quantity
from ebmpipe.scored import Scored
from ebmpipe.seeding import numpy_generator

#: What the samples of a file are called as a source.
GIVEN = "given"
#: In which units samples were taken to be, where the data set's own are not those of its file.
TAKEN = {
    "file": "the samples were taken to be in the units of the data set's file, and mapped by the offset and scale on its card; "
    "--range model takes them as they are",
    "model": "the samples were taken as they are, standardised like the data",
}


def score(
    dataset: str,
    results: Path,
    config: EvaluationConfig,
    *,
    samples: Path | None = None,
    given_range: str | None = None,
    key: str | None = None,
    model: Path | None = None,
    network: NetworkConfig | None = None,
    base: Base | None = None,
    features: Path | None = None,
    flow: Path | None = None,
    out: Path | None = None,
    seed: int = 0,
    device: str = "auto",
) -> tuple[Path, str]:
    """Measure samples or an energy, or both, and write ``metrics.json``.

    Families that compare samples are left out where there are none, and all others where there is no energy.

    Args:
        dataset: id of the data set, which must have been prepared.
        results: folder of everything the workflow makes.
        config: which families are measured.
        samples, given_range, key: see `read_samples`.
        model, network, base: see `read_model`.
        features: folder of the data set's feature network; needed by image metrics.
        flow: folder of its flow; needed where annealing may begin at one.
        out: folder for ``metrics.json``; ``external/<name>`` of the results if None.
        seed: root of the metrics' randomness, and of the noise by which levels are dequantised.
        device: where the energy lives.

    Returns:
        The path of ``metrics.json``, and its rows as a table to read.

    Raises:
        UnknownMember: if there is no such data set.
        ValueError: if the data are not prepared, or a file is not what it should be.
    """
    find(dataset, results / "data" / dataset)
    device = choose_device(device)
    data = Prepared(results / "data" / dataset, dataset)
    rng, units = numpy_generator(seed, "evaluation", GIVEN), file_units(data.card)
    drawn = None if samples is None else read_samples(samples, data.spec, given_range, key, rng, units)
    trained = None if model is None else read_model(model, data, network, base, device)
    known = Scored({}, GIVEN) if trained is None else trained.scored
    scored = replace(known, samples={} if drawn is None else {GIVEN: drawn}, source=GIVEN, seed=seed)
    families = [family for family in chosen_metrics(config, data) if has_matter(family, scored)]
    try:
        rows = measured(families, evaluation_of(scored, data, config, features, flow, device))
    except Diverged as reason:
        raise ValueError(f"{model}: {reason}") from reason
    about: dict[str, Any] = {"dataset": dataset, "data_sha256": data.card["data_sha256"], "seed": seed}
    if samples is not None and drawn is not None:
        about["samples"] = {"file": samples.name, "sha256": sha256(samples), "n": len(drawn), "range": given_range, "key": key}
        if units is not None:
            about["samples"]["units"] = "model" if given_range == "model" else "file"
    if trained is not None:
        about["model"] = trained.about
    target = (out or results / "external" / name_of(samples, trained)) / "metrics.json"
    write_json(target, {"status": "finished", **about, "rows": [to_json(row) for row in rows]})
    return target, table(rows, about)


def has_matter(family: Metric, scored: Scored) -> bool:
    """Whether a family has anything to look at: samples, if it compares those, else an energy; long runs are made of runs alone."""
    if family.name in OF_LONG_RUNS:
        return False
    return bool(scored.samples) if isinstance(family, SampleMetric) else scored.energy is not None


def name_of(samples: Path | None, trained: GivenModel | None) -> str:
    """What the scored work is called."""
    return "_".join(([samples.stem] if samples else []) + ([trained.name] if trained else []))


def table(rows: list[Measurement], about: Mapping[str, Any]) -> str:
    """The measurements as aligned lines: metric, value ± standard error, n, unit, and the status where there is no value."""
    cells = [("metric", "value ± stderr", "n", "unit", "status")]
    for row in rows:
        value = "" if row.value is None else quantity(row.value, row.stderr).plain()
        cells.append((row.metric, value, "" if row.n is None else str(row.n), row.unit, row.status))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    protocols = dict.fromkeys(row.protocol for row in rows if row.protocol)
    units = about.get("samples", {}).get("units")
    taken = [] if units is None else [TAKEN[units]]
    unsigned = ["the model's folder has no run.json: its files were checked against nothing"]
    return "\n".join([*lines, *protocols, *taken, *unsigned * (not about.get("model", {}).get("checked_against_ledger", True))])
