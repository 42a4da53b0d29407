"""What a bug report needs, and in plain words what is missing for which experiment.

``python -m ebmpipe.doctor`` says it even where what the command line itself needs is broken.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from ebmpipe import machine
from ebmpipe.findings import Examination, Finding, as_text, examine

#: Folder of the checkout, if the package lies in one: the place of the workflow, its schemas and its configs.
PROJECT = Path(__file__).parents[1]
SCHEMAS = "workflow/schemas"
DEFAULT = "config/config.yaml"


def examined(results: Path | None = None, raw: Path | None = None, config: Path | None = None, project: Path = PROJECT) -> list[Finding]:
    """Everything there is to say; whatever is broken is a finding, never an exception.

    Args:
        results: the results folder; that of the examined config, or ``results``, if None.
        raw: the folder of raw data that the user named, if any.
        config: a config to examine in place of those in ``config``.
        project: the checkout.
    """
    main = config if config is not None else project / DEFAULT
    configs = [config] if config is not None else sorted((project / "config").glob("*.yaml"), key=lambda path: (path != main, path.name))
    chosen = results if results is not None else folder_of(main, "results") or Path("results")
    examinations: list[tuple[str, Examination]] = [
        ("ebmpipe", machine.ebmpipe_itself),
        ("software", machine.software),
        ("tools", machine.tools),
        ("machine", machine.processor),
        ("machine", machine.devices),
        ("data", partial(data, raw)),
        ("results", partial(machine.folder_for_results, chosen)),
        ("results", partial(runs, chosen)),
        ("feature networks", partial(features, chosen, folder_of(main, "weights"))),
        ("experiments", partial(experiments, configs, main, project / SCHEMAS)),
    ]
    return [finding for section, examination in examinations for finding in examine(section, examination)]


def folder_of(config: Path, key: str) -> Path | None:
    """A folder that a config names, None if it does not; a config that cannot be read is a finding of its own."""
    try:
        from ebmpipe.config_files import read_config

        value = read_config(config).content.get(key)
        return None if value is None else Path(str(value))
    except (ImportError, ValueError):
        return None


def data(raw: Path | None) -> Iterator[Finding]:
    """Where every data set comes from."""
    from ebmpipe import registry

    if raw is not None and not raw.is_dir():
        advice = f"EBMPIPE_DATA_DIR (or --raw) names {raw}, which is no folder: make it, or name the folder of the raw data files"
        yield Finding("data", "raw data", f"{raw} is no folder", "warning", advice)
    elif raw is not None:
        yield Finding("data", "raw data", str(raw))
    for name, dataset in registry.load_all("data").items():
        yield Finding("data", name, dataset.told(raw))


def runs(results: Path) -> Iterator[Finding]:
    """How far the runs in ``results`` are."""
    from ebmpipe.runs import RunFolder

    states: Counter[str] = Counter()
    damaged = []
    for path in sorted((results / "runs").glob("*/*/seed*")):
        folder = RunFolder(path)
        if not (folder / "run.json").exists():
            states["unfinished, with a checkpoint" if list(path.glob("checkpoints/*.safetensors")) else "without a result"] += 1
            continue
        try:
            states[str(folder.ledger["status"])] += 1
        except (ValueError, KeyError, OSError) as error:
            states["damaged"] += 1
            told = str(error).partition(";")[0].replace(f"{folder / 'run.json'} ", "its ledger ")
            advice = f"`ebmpipe verify --repair --results {results}` removes damaged runs; then the same commands make them again"
            damaged.append(Finding("results", "/".join(path.parts[-3:]), told, "warning", advice))
    yield Finding("results", "runs", ", ".join(f"{number} {state}" for state, number in sorted(states.items())) or "none yet")
    yield from damaged


def features(results: Path, weights: Path | None) -> Iterator[Finding]:
    """Which networks image metrics can be computed in, and those that were made for each data set.

    Args:
        results: the results folder.
        weights: the folder of published weights that the config names, if any.
    """
    from ebmpipe import registry
    from ebmpipe.features.base import check_network, networks_in
    from ebmpipe.features.choosing import applying, by_default, entries

    known = entries()
    reasons = {name: registry.load("features", name).unavailable_reason(weights) for name, one in known.items() if one["published"]}
    for name, reason in reasons.items():
        yield Finding("feature networks", name, "available" if reason is None else f"not available: {reason}")
    for name, dataset in registry.load_all("data").items():
        if not (fitting := applying(known, dataset.kind, dataset.classes)):
            continue
        folder = results / "features" / name
        made = [network for network in networks_in(folder) if network in fitting]
        told = [f"{', '.join(made)} in {folder}"] if made else []
        if due := [network for network in by_default(known, dataset.kind, dataset.classes, reasons.get) if network not in made]:
            told.append(f"{', '.join(due)} made by the workflow when needed")
        yield Finding("feature networks", f"of {name}", "; ".join(told))
        for network in made:
            try:
                check_network(folder, network)
            except ValueError as error:
                advice = f"`ebmpipe verify --repair --results {results}` removes damaged feature networks; the workflow makes them again"
                yield Finding("feature networks", f"{network} of {name}", str(error).partition(";")[0], "warning", advice)


def experiments(configs: list[Path], main: Path, schemas: Path) -> Iterator[Finding]:
    """For each config: ready, or what is left out and what to do.

    Args:
        configs: the configs.
        main: the one that must be able to run.
        schemas: folder of ``config.schema.json`` and ``catalogue.json``.
    """
    from ebmpipe.files import read_json

    if not schemas.is_dir():
        advice = "single runs work anywhere; for whole comparisons, get the repository and run `ebmpipe doctor` there"
        yield Finding("experiments", "workflow", f"not here: there is no {schemas}", "warning", advice)
        return
    if main not in configs:
        yield Finding("experiments", main.name, f"there is no {main}", "broken", f"get {main} back, or name a config by --config")
    schema, catalogue = (read_json(schemas / name) for name in ("config.schema.json", "catalogue.json"))
    for path in configs:
        yield from experiment(path, schema, catalogue, essential=path == main)


def experiment(path: Path, schema: dict[str, object], catalogue: dict[str, object], essential: bool) -> Iterator[Finding]:
    """Whether the comparison of one config can run, and what of it is left out or downloaded."""
    from ebmpipe import registry
    from ebmpipe.checking import ConfigError
    from ebmpipe.config_files import ConfigFile, located, read_config
    from ebmpipe.planning import Plan

    read: list[ConfigFile] = []
    try:
        read.append(read_config(path))
        plan = Plan(read[0].content, schema, catalogue)
    except ConfigError as error:
        told = located(error, read)
        yield Finding("experiments", path.name, f"cannot run: {told}", "broken" if essential else "warning", f"mend {path}: {told}")
        return
    raw = Path(plan.raw_data) if plan.raw_data else None
    about = f"ready: {len(plan.runs)} runs on {len(plan.datasets)} data sets, results in {os.fspath(plan.results)}"
    missing = [name for name in plan.datasets if "download" in registry.load("data", name).whereabouts(raw)]
    about += f"; {', '.join(missing)} will be downloaded" if missing else ""
    yield Finding("experiments", path.name, about)
    for notice in plan.notices:
        yield Finding("experiments", path.name, notice, "warning", f"{path.name}: {notice}")


def main() -> int:
    """Print what was found, with nothing but the standard library; 1 if something essential is broken."""
    raw = os.environ.get("EBMPIPE_DATA_DIR")
    found = examined(raw=Path(raw) if raw else None)
    print(as_text(found))
    return int(any(finding.state == "broken" for finding in found))


if __name__ == "__main__":
    sys.exit(main())
