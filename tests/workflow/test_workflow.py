"""The workflow itself, run end to end on the tiny config in a folder of its own."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from ebmpipe.features import inception

ROOT = Path(__file__).parents[2]
TINY = Path(__file__).parent / "config.yaml"
CATALOGUED = json.loads((ROOT / "workflow/schemas/catalogue.json").read_text())["figures"]
#: Those that are made of runs, and need nothing that this comparison lacks: a classifier, a composition.
FIGURES = {name: entry for name, entry in CATALOGUED.items() if entry["needs"] is None}

Job = tuple[str, str]
Snakemake = Callable[..., Any]
WriteConfig = Callable[..., Path]
Planned = Callable[..., set[Job]]

#: The tiny config's rows and one that is bound to diverge: a Langevin step a hundred times too long.
WILD = {"method": "pcd", "settings": {"kernel": {"name": "ula", "settings": {"step_size": 30}}, "optimiser": {"learning_rate": 1.0}}}
#: And one that builds on another.
TILTED = {"method": "tilted_method:Tilted", "requires": {"backbone": "nce"}}
METHODS = yaml.safe_load(TINY.read_text())["methods"] | {"wild": WILD, "tilted": TILTED}


LABELS = list(METHODS)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, snakemake: Snakemake, write_config: WriteConfig) -> Path:
    folder = tmp_path_factory.mktemp("workflow")
    write_config(folder, methods=METHODS)
    run = snakemake(folder, "--cores", "2")
    logs = "".join(path.read_text()[-600:] for path in folder.rglob("results/logs/**/*.log") if "Traceback" in path.read_text())
    assert run.returncode == 0, run.stderr[-3000:] + logs
    return folder


def test_every_product_is_there(finished: Path) -> None:
    results = finished / "results"
    for table in ("metrics.csv", "summary.csv", "summary.md", "summary.tex", "compute.csv", "controls.csv", "paired.csv", "paired.md"):
        assert (results / "tables" / table).stat().st_size
    for dataset, kind in (("eight_gaussians", "density"), ("digits", "images")):
        for figure, entry in FIGURES.items():
            if kind in entry["kinds"]:
                assert (results / f"figures/{dataset}/{figure}.png").stat().st_size
                assert (results / f"figures/{dataset}/{figure}.pdf").stat().st_size
    for name in ("report/overview.rst", "theorems/theorems.npz", "theorems/theorems.json", "figures/overview/one_gradient.png"):
        assert (results / name).stat().st_size


def test_tables_keep_their_contract(finished: Path) -> None:
    metrics = pd.read_csv(finished / "results/tables/metrics.csv")
    assert list(metrics) == ["dataset", "method", "seed", "metric", "value", "stderr", "n", "status", "unit"]
    assert not metrics.duplicated(["dataset", "method", "seed", "metric"]).any()
    assert (metrics["value"].isna() == (metrics["status"] != "ok")).all()
    assert set(metrics[metrics["dataset"] == "eight_gaussians"]["method"]) == set(METHODS)
    found = set(metrics["metric"])
    assert found >= {"nll", "nll_gap", "log_z", "mmd", "sliced_wasserstein", "frechet_lenet", "kernel_lenet", "mmd@persistent"}
    compute = pd.read_csv(finished / "results/tables/compute.csv")
    assert set(compute) >= {
        *("wall_s", "startup_s", "device", "peak_memory_mb", "parameters"),
        *("training_flops", "gradient_evaluations", "sampler_steps", "temperature"),
    }
    assert len(compute) == 10


def test_a_diverged_run_is_a_result(finished: Path) -> None:
    ledger = json.loads((finished / "results/runs/eight_gaussians/wild/seed0/run.json").read_text())
    assert ledger["status"] == "diverged"
    assert ledger["reason"]
    metrics = pd.read_csv(finished / "results/tables/metrics.csv")
    wild = metrics[metrics["method"] == "wild"]
    assert len(wild)
    assert (wild["status"] == "diverged").all()
    assert wild["value"].isna().all()
    (row,) = [line for line in (finished / "results/tables/summary.md").read_text().splitlines() if line.startswith("| `wild`")]
    assert "0/1" in row
    assert "**" not in row


def of_runs(rules: str, dataset: str, labels: list[str], seed: int = 0) -> set[Job]:
    """The jobs of some rules for the runs of some labels."""
    return {(rule, f"dataset={dataset}, label={label}, seed={seed}") for rule in rules.split() for label in labels}


KINDS = {"eight_gaussians": "density", "checkerboard": "density", "digits": "images"}
#: What follows whenever anything is measured anew, and whenever the comparison is another: tables, and the figures of all data sets.
ENDS: set[Job] = {("collect", ""), ("overview", ""), ("all", "")}
ENDS |= {("overview_figure", f"figure={name}") for name, entry in FIGURES.items() if not entry["kinds"]}


def figures_of(dataset: str) -> set[Job]:
    return {("figure", f"dataset={dataset}, figure={name}") for name, entry in FIGURES.items() if KINDS[dataset] in entry["kinds"]}


def with_ends(jobs: set[Job]) -> set[Job]:
    """The jobs and what follows: ends, and the figures of the data sets that the jobs are about, but of no other."""
    return (
        jobs | ENDS | {job for dataset in KINDS if any(f"dataset={dataset}" in which for _, which in jobs) for job in figures_of(dataset)}
    )


ON_DIGITS = ["data", "noise", "dsm"]
EVERY = {"eight_gaussians": LABELS, "digits": ON_DIGITS}


def of_every_run(rules: str) -> set[Job]:
    return {job for dataset, labels in EVERY.items() for job in of_runs(rules, dataset, labels)}


def test_a_second_run_does_nothing_and_checks_nothing(finished: Path, project: Path, snakemake: Snakemake) -> None:
    rule_file = project / "workflow/rules/config.smk"
    rule_file.write_text(rule_file.read_text().replace('"check", "-"', '"no-such-command"'))
    run = snakemake(finished, "--cores", "1", project=project)
    assert run.returncode == 0, run.stderr
    assert "Nothing to be done" in run.stderr + run.stdout
    assert "no-such-command" in snakemake(finished, "--cores", "1", "--force", "tables", project=project).stderr


def test_a_changed_setting_reruns_one_label_and_what_hangs_from_it(finished: Path, planned: Planned, write_config: WriteConfig) -> None:
    changed = write_config(finished / "changed", methods=METHODS | {"nce": {"settings": {"ratio": 2}}})
    # The label `tilted` builds on `nce`.
    jobs = of_runs("train sample long_run evaluate", "eight_gaussians", ["nce", "tilted"])
    assert planned(finished, configfiles=(changed,)) == with_ends(jobs)


def test_an_added_seed_adds_only_itself(finished: Path, planned: Planned, write_config: WriteConfig) -> None:
    # digits keeps its own seed list in this config.
    more = write_config(finished / "seeds", methods=METHODS, seeds=[0, 1])
    assert planned(finished, configfiles=(more,)) == with_ends(of_runs("train sample long_run evaluate", "eight_gaussians", LABELS, 1))


def test_a_composition_trains_nothing(finished: Path, planned: Planned, write_config: WriteConfig) -> None:
    both = {"both": {"of": ["eight_gaussians/nce", "eight_gaussians/pcd"], "by": "product"}}
    composed = {("compose", "composition=both, seed=0"), ("collect_compositions", ""), ("all", "")}
    composed |= {("compositions_figure", "figure=compositions")}
    assert planned(finished, configfiles=(write_config(finished / "both", methods=METHODS, compositions=both),)) == composed


def test_watched_runs_are_trained_anew_and_have_a_figure_and_a_table_more(
    finished: Path, planned: Planned, write_config: WriteConfig
) -> None:
    datasets = yaml.safe_load(TINY.read_text())["datasets"] | {"eight_gaussians": {"watch": True, "updates": 20}}
    jobs = of_runs("train sample long_run evaluate", "eight_gaussians", LABELS) | {("collect_trajectories", "")}
    jobs |= {("figure", "dataset=eight_gaussians, figure=likelihood_curves"), ("collect_published", "")}
    assert planned(finished, configfiles=(write_config(finished / "watched", methods=METHODS, datasets=datasets),)) == with_ends(jobs)


def test_a_removed_label_retrains_nothing(finished: Path, planned: Planned, write_config: WriteConfig) -> None:
    fewer = {label: given for label, given in METHODS.items() if label != "wild"}
    assert planned(finished, configfiles=(write_config(finished / "fewer", methods=fewer),)) == ENDS | figures_of("eight_gaussians")


def test_an_added_label_redraws_only_where_it_runs(finished: Path, planned: Planned, write_config: WriteConfig) -> None:
    more = write_config(finished / "label", methods=METHODS | {"late": {"method": "nce"}})
    assert planned(finished, configfiles=(more,)) == with_ends(of_runs("train sample long_run evaluate", "eight_gaussians", ["late"]))


@pytest.mark.parametrize("first", [True, False])
def test_an_added_data_set_leaves_the_figures_of_the_others_alone(
    finished: Path, planned: Planned, write_config: WriteConfig, first: bool
) -> None:
    new, old = {"checkerboard": {"labels": ["wild", "nce"]}}, yaml.safe_load(TINY.read_text())["datasets"]
    more = write_config(finished / f"data{first}", methods=METHODS, datasets=new | old if first else old | new)
    jobs = {("prepare", "dataset=checkerboard")} | of_runs("train sample long_run evaluate", "checkerboard", ["wild", "nce"])
    assert planned(finished, configfiles=(more,)) == with_ends(jobs)


def test_every_figure_takes_its_colours_from_one_order(finished: Path, snakemake: Snakemake) -> None:
    done = snakemake(finished, "--dry-run", "--printshellcmds", "--forceall", "figures")
    found = set(re.findall(r"ebmpipe figure (?!one_gradient).*--labels (\S+) --out results/figures/(\w+)/", done.stdout + done.stderr))
    every = "pcd,nce,dsm,wild,tilted"
    # Of digits as far as the last label that runs on it.
    assert found == {(every, "eight_gaussians"), (every, "overview"), ("pcd,nce,dsm", "digits")}


def test_other_samples_or_measurements_retrain_nothing(finished: Path, planned: Planned, write_config: WriteConfig) -> None:
    defaults = yaml.safe_load(TINY.read_text())["defaults"]
    defaults["density"]["evaluation"] = {"grid": 50}
    defaults["images"]["sampling"]["steps"] = 11
    changed = write_config(finished / "stages", methods=METHODS, defaults=defaults)
    evaluated = of_runs("evaluate", "eight_gaussians", LABELS)
    assert planned(finished, configfiles=(changed,)) == with_ends(of_runs("sample evaluate", "digits", ON_DIGITS) | evaluated)


def edit_catalogue(project: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = project / "workflow/schemas/catalogue.json"
    catalogue = json.loads(path.read_text())
    change(catalogue)
    path.write_text(json.dumps(catalogue))


def test_a_new_figure_retrains_nothing(finished: Path, project: Path, planned: Planned) -> None:
    edit_catalogue(project, lambda c: c["figures"].update(histories={"title": "Histories", "category": "Data sets", "kinds": ["density"]}))
    (project / "workflow/report/histories.rst").write_text("A new one.")
    assert planned(finished, project=project) == {("figure", "dataset=eight_gaussians, figure=histories"), ("all", "")}


def bump(*key: str) -> Callable[[dict[str, Any]], None]:
    def change(catalogue: dict[str, Any]) -> None:
        for name in key[:-1]:
            catalogue = catalogue[name]
        catalogue[key[-1]] += 1

    return change


DIGITS_FEATURES = {("features", f"dataset=digits, extractor={name}") for name in ("lenet", "autoencoder")}
DIGITS_DATA = {("prepare", "dataset=digits"), ("base", "dataset=digits")} | DIGITS_FEATURES


def of_features(name: str, rules: str = "evaluate") -> set[Job]:
    """One feature network of the digits, and every run that is measured in it."""
    return {("features", f"dataset=digits, extractor={name}")} | of_runs(rules, "digits", ON_DIGITS)


REVISIONS = {
    "method": (bump("methods", "pcd", "revision"), of_runs("train sample long_run evaluate", "eight_gaussians", ["pcd", "wild"])),
    # Samples of every run are drawn by MALA, and PCD trains with it; `wild` trains with ULA.
    "sampler": (
        bump("samplers", "mala", "revision"),
        of_every_run("sample long_run evaluate") | of_runs("train", "eight_gaussians", ["pcd"]),
    ),
    "another sampler of long runs": (bump("samplers", "hmc", "revision"), of_every_run("long_run evaluate")),
    "long runs": (bump("long_run_revision"), of_every_run("long_run evaluate")),
    "kernel of training": (bump("samplers", "ula", "revision"), of_runs("train sample long_run evaluate", "eight_gaussians", ["wild"])),
    "network": (bump("networks", "conv", "revision"), of_runs("train sample long_run evaluate", "digits", ON_DIGITS)),
    "data set": (bump("datasets", "digits", "revision"), DIGITS_DATA | of_runs("train sample long_run evaluate", "digits", ON_DIGITS)),
    "metric": (bump("metrics", "mmd", "revision"), of_every_run("evaluate")),
    # It tells the classes apart that chains are in.
    "features": (bump("features", "lenet", "revision"), of_features("lenet", "long_run evaluate")),
    "other features": (bump("features", "autoencoder", "revision"), of_features("autoencoder")),
    "flow": (bump("base_revision"), {("base", "dataset=digits")} | of_runs("evaluate", "digits", ON_DIGITS)),
    "training loop": (bump("training_revision"), of_every_run("train sample long_run evaluate")),
    "sampling": (bump("sampling_revision"), of_every_run("sample evaluate")),
    "evaluation": (bump("evaluation_revision"), of_every_run("evaluate")),
}


@pytest.mark.parametrize("name", REVISIONS)
def test_a_bumped_revision_reruns_what_depends_on_it(finished: Path, project: Path, planned: Planned, name: str) -> None:
    change, expected = REVISIONS[name]
    edit_catalogue(project, change)
    assert planned(finished, project=project) == with_ends(expected)


@pytest.mark.parametrize("key", ["theorem", "nce"])
def test_a_bumped_revision_of_a_theorem_or_of_its_losses_measures_it_again(
    finished: Path, project: Path, planned: Planned, key: str
) -> None:
    edit_catalogue(project, bump("theorems", "shifted_noise", key))
    assert planned(finished, project=project) == {("theorems", ""), ("theorems_figure", "figure=one_gradient"), ("all", "")}


def test_published_weights_add_a_network_without_training(
    finished: Path, planned: Planned, snakemake: Snakemake, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    if inception.package_folder() is None:
        pytest.skip("torch-fidelity is not installed: `make environment`")
    datasets = yaml.safe_load(TINY.read_text())["datasets"]
    datasets["digits"]["evaluation"]["features"].append("inception")
    more = write_config(finished / "published", methods=METHODS, datasets=datasets)
    refused = snakemake(finished, "--dry-run", configfiles=(more,))
    assert refused.returncode == 1 and "'inception' is not available: weights-inception" in refused.stdout + refused.stderr
    (tmp_path / inception.WEIGHTS.file).write_bytes(b"")
    monkeypatch.setenv("EBMPIPE_WEIGHTS_DIR", str(tmp_path))
    jobs = {("published_features", "dataset=digits, extractor=inception")} | of_runs("evaluate", "digits", ON_DIGITS)
    assert planned(finished, configfiles=(more,)) == with_ends(jobs)
    assert not planned(finished), "where weights lie changes nothing that is made without them"


def test_a_comment_reruns_nothing(finished: Path, project: Path, planned: Planned) -> None:
    for path in [project / "Snakefile", *(project / "workflow/rules").glob("*.smk")]:
        lines = path.read_text().splitlines()
        # One at the top, and one within every rule.
        marked = [line for old in lines for line in ([old, "    # A comment."] if old.startswith("rule ") else [old])]
        path.write_text("\n".join(["# A comment.", *marked]) + "\n")
    for name in ("environment.yml", "ebmpipe/methods/pcd.py", "ebmpipe/training.py", "ebmpipe/metrics/mmd.py"):
        path = project / name
        path.write_text(path.read_text() + "# A comment.\n")
    config = project / "config.yaml"
    config.write_text("# A comment.\n" + (finished / "config.yaml").read_text())
    assert planned(finished, project=project, configfiles=(config,)) == set()


def test_the_report_of_finished_results_can_be_made(finished: Path, snakemake: Snakemake) -> None:
    run = snakemake(finished, "--report", "report.html")
    assert run.returncode == 0, run.stderr
    assert (finished / "report.html").stat().st_size > 100_000


def test_where_the_raw_files_lie_reruns_nothing(
    finished: Path, planned: Planned, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """They are the published ones wherever they are found; and most data sets have none."""
    monkeypatch.setenv("EBMPIPE_DATA_DIR", str(tmp_path))
    assert not planned(finished)
    other = write_config(finished / "raw", methods=METHODS, raw_data=str(tmp_path / "other"))
    assert not planned(finished, configfiles=(other,))
