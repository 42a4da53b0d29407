import functools
import json
from pathlib import Path

from ebmpipe.budget import LENGTHS
from ebmpipe.planning import Run

RESULTS = str(PLAN.results)
RUN = f"{RESULTS}/runs/{{dataset}}/{{label}}/seed{{seed}}"
DATA = f"{RESULTS}/data/{{dataset}}"
BASE = f"{RESULTS}/bases/{{dataset}}"
FEATURES = f"{RESULTS}/features/{{dataset}}"
COMPOSITION = f"{RESULTS}/compositions/{{composition}}/seed{{seed}}"
ENVIRONMENT = str(Path(workflow.basedir) / "environment.yml")


wildcard_constraints:
    dataset="[a-z][a-z0-9_]*",
    label="[a-z][a-z0-9_]*",
    seed="[0-9]+",
    figure="[a-z][a-z0-9_]*",
    extractor="[a-z][a-z0-9_]*",
    composition="[a-z][a-z0-9_]*",


def results_folder(wildcards):
    return RESULTS


def compact(value):
    """Settings as they travel on a command line."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


# The comparison as tables and the figures of all data sets take it, in the order of the config.
COMPARISON = json.dumps(PLAN.table(), separators=(",", ":"))


# The compositions as their table takes them.
COMPOSITIONS = compact({name: settings["seeds"] for name, settings in PLAN.compositions.items()})


def watched_comparison():
    """The comparison as the table of trajectories takes it: of the data sets whose runs are watched, none where there are none."""
    return {dataset: labels for dataset, labels in PLAN.table().items() if PLAN.watched(dataset)}


def watched_files(name):
    """The file ``name`` of every watched run."""
    return [path for dataset in watched_comparison() for path in run_files(name, dataset)]


def comparison_of(wildcards):
    """The comparison as the figures of one data set take it: of the others they know nothing, so that nothing there redraws them."""
    return json.dumps({wildcards.dataset: PLAN.table()[wildcards.dataset]}, separators=(",", ":"))


def coloured_labels(wildcards):
    """The methods' labels in the config's order, which gives them their colours, as far as the last that the figures show.

    A label has the same colour everywhere, and one that is added after the others redraws only where it runs. Controls have looks of
    their own and no place in the order.
    """
    datasets = [wildcards.dataset] if hasattr(wildcards, "dataset") else PLAN.datasets
    shown = {label for dataset in datasets for label in PLAN.labels[dataset]}
    controls = {method for method, entry in PLAN.catalogue["methods"].items() if entry["control"]}
    labels = [label for label in PLAN.config["methods"] if PLAN.method_of(label) not in controls]
    last = max((place for place, label in enumerate(labels) if label in shown), default=-1)
    return ",".join(labels[: last + 1]) or ","  # with controls alone there is none, and an empty word would be lost on the command line


def run_of(wildcards):
    return Run(wildcards.dataset, wildcards.label, int(wildcards.seed))


@functools.cache
def settings_of(run):
    """A run's settings; several params of its rule each take a part."""
    return PLAN.run_settings(run)


def run_setting(key):
    """A params function: one part of a run's settings, which a change elsewhere in the config leaves alone."""

    def setting(wildcards):
        value = settings_of(run_of(wildcards))[key]
        return value if isinstance(value, (str, int)) else compact(value)

    return setting


def how_long(wildcards):
    """How long a run is trained, as its command takes it."""
    settings = settings_of(run_of(wildcards))
    (said,) = (key for key in LENGTHS if settings[key] is not None)
    return f"--{said.replace('_', '-')} {settings[said]}"


def watch_option(wildcards):
    """Whether its likelihood is written down meanwhile, likewise."""
    return "--watch" if PLAN.watched(wildcards.dataset) else ""


def required_models(wildcards):
    """The models of the runs that a run builds on."""
    return [
        f"{RESULTS}/runs/{run.dataset}/{run.label}/seed{run.seed}/model.safetensors" for run in PLAN.required(run_of(wildcards)).values()
    ]


def stage_setting(of):
    """A params function: the settings or revisions of a stage on the job's data set."""

    def setting(wildcards):
        return compact(of(wildcards.dataset))

    return setting


def features_of(wildcards):
    """The cards of the feature networks that a data set's images are compared in."""
    return [f"{RESULTS}/features/{wildcards.dataset}/{extractor}.json" for extractor in PLAN.features(wildcards.dataset)]


def classifier_of(wildcards):
    """The card of the feature network that tells the classes of a data set apart, where there is one."""
    name = PLAN.long_run_settings(wildcards.dataset)["classifier"]
    return [] if name is None else [f"{RESULTS}/features/{wildcards.dataset}/{name}.json"]


def long_run_of(wildcards):
    """The record of a run's long run, where anything of it is measured."""
    return [f"{RUN}/long_run.safetensors".format(**wildcards)] if PLAN.runs_long(wildcards.dataset, wildcards.label) else []


def extractors(published):
    """A regular expression for the feature networks that others published, or for those that are trained here."""
    return "|".join(name for name, entry in PLAN.catalogue["features"].items() if entry["published"] == published)


def features_revision(wildcards):
    return PLAN.catalogue["features"][wildcards.extractor]["revision"]


def base_noise(wildcards):
    return PLAN.base_noise(wildcards.dataset)


def base_of(wildcards):
    """The flow at which annealing begins on the data set, where it does."""
    return [] if PLAN.base_noise(wildcards.dataset) is None else [f"{RESULTS}/bases/{wildcards.dataset}/flow.json"]


def foreign_of(wildcards):
    """The other data sets that energies of a data set are to tell from it, where those are prepared."""
    return [f"{RESULTS}/data/{dataset}/data.safetensors" for dataset in PLAN.foreign(wildcards.dataset)]


def run_files(name, dataset=None):
    """The file ``name`` of every run, or of every run on one data set."""
    return [f"{RESULTS}/runs/{run.dataset}/{run.label}/seed{run.seed}/{name}" for run in PLAN.runs if dataset in (None, run.dataset)]


def long_runs_of(dataset):
    """The records of the long runs on one data set, of those that have one."""
    runs = (run for run in PLAN.runs if run.dataset == dataset and PLAN.runs_long(dataset, run.label))
    return [f"{RESULTS}/runs/{dataset}/{run.label}/seed{run.seed}/long_run.safetensors" for run in runs]


def figure_inputs(wildcards):
    """What a data set's figures read of its runs, but for the ledgers, which change whenever one of these is made."""
    names = (
        "config.json",
        "metrics.json",
        "arrays.npz",
        "samples.safetensors",
        "history.csv",
    )
    return [path for name in names for path in run_files(name, wildcards.dataset)] + long_runs_of(wildcards.dataset)


def composed_models(wildcards):
    """The models of the two runs that a composition is made of, and their settings."""
    parts = PLAN.compositions[wildcards.composition]["of"]
    return [f"{RESULTS}/runs/{part}/seed{wildcards.seed}/{name}" for part in parts for name in ("model.safetensors", "config.json")]


def composed_data(wildcards):
    """The data of both."""
    parts = PLAN.compositions[wildcards.composition]["of"]
    return [f"{RESULTS}/data/{part.partition('/')[0]}/{name}" for part in parts for name in ("data.safetensors", "card.json")]


def composition_options(wildcards):
    """How a composition is made, as its command takes it; a part is an id, a slash and an id."""
    settings = PLAN.compositions[wildcards.composition]
    weight = [] if settings["weight"] is None else [f"--weight {settings['weight']}"]
    return " ".join([*(f"--of {part}" for part in settings["of"]), f"--by {settings['by']}", *weight])


def composition_files(name):
    """The file ``name`` of every composition."""
    found = PLAN.compositions.items()
    return [f"{RESULTS}/compositions/{composition}/seed{seed}/{name}" for composition, settings in found for seed in settings["seeds"]]


def without_suffix(wildcards, output):
    return output.png.removesuffix(".png")


def data_revision(wildcards):
    return PLAN.catalogue["datasets"][wildcards.dataset]["revision"]


def own_data():
    """A regular expression for the data sets of the user's own; it matches nothing where there are none."""
    return "|".join(PLAN.own_datasets) or "(?!)"


def caption(name):
    return str(Path(workflow.basedir) / f"workflow/report/{name}.rst")


def figure_caption(wildcards):
    """The figure's own caption; Snakemake takes one caption file per rule, which shows this."""
    return Path(caption(wildcards.figure)).read_text()


def figure_category(wildcards):
    return PLAN.catalogue["figures"][wildcards.figure]["category"]


def figure_labels(wildcards):
    """What the report's list of figures shows of each."""
    labels = {"figure": PLAN.catalogue["figures"][wildcards.figure]["title"]}
    return {"data set": wildcards.dataset, **labels} if hasattr(wildcards, "dataset") else labels


def every_table():
    tables = (
        "metrics.csv",
        "summary.csv",
        "summary.md",
        "summary.tex",
        "compute.csv",
        "protocols.csv",
        "controls.csv",
        "paired.csv",
        "paired.md",
    )
    more = [*["compositions.csv"] * bool(PLAN.compositions), *["trajectories.csv", "trajectories.md"] * bool(watched_comparison())]
    more += ["published.csv", "published.md"] * bool(PLAN.published)
    return [f"{RESULTS}/tables/{table}" for table in (*tables, *more)]


def every_figure():
    of_data = [f"{RESULTS}/figures/{dataset}/{figure}.png" for dataset in PLAN.datasets for figure in PLAN.figures(dataset)]
    overview = [f"{RESULTS}/figures/overview/{figure}.png" for figure in PLAN.overview_figures()]
    return overview + of_data + [f"{RESULTS}/report/overview.rst"]
