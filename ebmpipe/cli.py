"""The command line: one command per stage. Each imports what it needs when it is called, so that light work stays light."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    name="ebmpipe",
    help="Train, sample, evaluate and compare energy-based models.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=True,
)

Results = Annotated[Path, typer.Option(help="Folder of everything the workflow makes.")]
DatasetOption = Annotated[str, typer.Option(help="Id of the data set; `ebmpipe datasets` lists them.")]
Label = Annotated[str, typer.Option(help="Row of the tables, by default the method's id.")]
Seed = Annotated[int, typer.Option(min=0, help="Root of every random stream of the run.")]
Device = Annotated[str, typer.Option(help="auto (a GPU if there is one), cpu, cuda, cuda:1, ...")]
Json = Annotated[str | None, typer.Option(help="Settings as JSON; defaults where absent.")]
Raw = Annotated[Path | None, typer.Option(envvar="EBMPIPE_DATA_DIR", help="Folder of raw data files; ~/.cache/ebmpipe is looked into too.")]


def parsed(text: str | None) -> dict[str, Any]:
    """A JSON object given on the command line.

    Raises:
        typer.BadParameter: if it is none.
    """
    try:
        value = json.loads(text or "{}")
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise typer.BadParameter(f"{text!r} is not a JSON object")
    return value


@app.command()
def methods() -> None:
    """List the training methods."""
    from ebmpipe import registry

    for name, method in registry.load_all("methods").items():
        print(f"{name:12} {method.title}: {(method.__doc__ or '').splitlines()[0]}")


@app.command()
def datasets(raw: Raw = None, results: Results = Path("results")) -> None:
    """List the data sets, and where the raw files of each are; and those of your own that are prepared in the results folder."""
    from ebmpipe.data.finding import all_in

    for name, dataset in all_in(results).items():
        print(f"{name:18} {dataset.kind:8} {'x'.join(map(str, dataset.shape)):8} {dataset.title:16} {dataset.told(raw)}")


@app.command()
def prepare(
    dataset: DatasetOption,
    files: Annotated[
        Path | None,
        typer.Option(help="Data of your own, to be known as --dataset: a folder of images, or a .npy, .npz or .csv of vectors."),
    ] = None,
    settings: Annotated[
        str | None, typer.Option(help='How they are read, as JSON: see FilesConfig in config/README.md. E.g. {"size": 64, "labels": true}.')
    ] = None,
    results: Results = Path("results"),
    raw: Raw = None,
) -> None:
    """Make a data set's fixed splits and its data card, or make them again where they are damaged; raw files may be downloaded."""
    from ebmpipe.preparing import FILES, own_files, repair
    from ebmpipe.preparing import prepare as run

    out = results / "data" / dataset
    own = own_files(dataset, out, files, None if settings is None else parsed(settings))
    card = (repair if any((out / file).exists() for file in FILES) else run)(dataset, out, raw, own)
    print(f"{out}: {', '.join(f'{count} {split}' for split, count in card['counts'].items())}")


@app.command()
def features(
    dataset: DatasetOption,
    network: Annotated[str | None, typer.Option(help="Id of the network; by default lenet of labelled images, else autoencoder.")] = None,
    download: Annotated[bool, typer.Option("--download", help="Download published weights, if they are not at hand.")] = False,
    results: Results = Path("results"),
    seed: Seed = 0,
) -> None:
    """Make a network whose features image metrics are computed in: train it, or verify the weights that others published."""
    from ebmpipe.features.making import make_network

    print(make_network(dataset, network, results, seed, download))


@app.command()
def base(
    dataset: DatasetOption,
    results: Results = Path("results"),
    noise: Annotated[
        float | None, typer.Option(min=0, help="Standard deviation of Gaussian noise on the data, in model space; by default its kind's.")
    ] = None,
    seed: Seed = 0,
) -> None:
    """Fit the flow at which annealing begins unless `evaluation.partition.base` is `own`."""
    from ebmpipe.flow_base import fit_base
    from ebmpipe.starting_points import starting_point

    noise = starting_point(dataset, results / "data" / dataset)["evaluation"]["partition"]["base_noise"] if noise is None else noise
    card = fit_base(results / "data" / dataset, results / "bases" / dataset, seed, noise)
    print(f"validation nll {card['nll']['validation']:.2f} nats, of a Gaussian {card['nll_gaussian']['validation']:.2f}")


@app.command()
def train(
    dataset: DatasetOption,
    method: Annotated[str, typer.Option(help="Id of the method, or module:Class; `ebmpipe methods` lists them.")],
    label: Label = "",
    seed: Seed = 0,
    settings: Annotated[str | None, typer.Option(help="The method's settings as JSON.")] = None,
    network: Annotated[
        str | None, typer.Option(help='The energy network as JSON, e.g. {"name": "mlp", "settings": {"width": 64}}.')
    ] = None,
    gradient_evaluations: Annotated[int | None, typer.Option(min=1, help="Training budget.")] = None,
    updates: Annotated[int | None, typer.Option(min=1, help="Train for so many updates in place of spending a budget.")] = None,
    training_flops: Annotated[
        int | None, typer.Option(min=1, help="Train for so many floating-point operations in place of spending a budget.")
    ] = None,
    watch: Annotated[
        bool, typer.Option("--watch", help="On densities: write log-likelihood and MMD² into every row of history.csv, off the clock.")
    ] = False,
    requires: Annotated[str | None, typer.Option(help='Labels of the runs it builds on, as JSON: {"backbone": "flow"}.')] = None,
    revisions: Annotated[str | None, typer.Option(help="Revisions of the members used, as JSON; written by the workflow.")] = None,
    picture: Annotated[bool, typer.Option(help="End with picture.png in the run's folder: data, model and training curves.")] = True,
    raw: Raw = None,
    results: Results = Path("results"),
    device: Device = "auto",
    checkpoint_period: Annotated[
        float, typer.Option(min=0, envvar="EBMPIPE_CHECKPOINT_PERIOD", help="Seconds between checkpoints.")
    ] = 30.0,
) -> None:
    """Train one run, or go on with an interrupted one. What is not given is the default of the kind of data (config/README.md)."""
    from ebmpipe.config import RunConfig
    from ebmpipe.preparing import ensure_prepared
    from ebmpipe.starting_points import announced, completed
    from ebmpipe.training import train as run

    given: dict[str, Any] = {
        "dataset": dataset,
        "label": label or method.rpartition(":")[2].lower(),
        "method": method,
        "seed": seed,
        "settings": parsed(settings),
        "requires": parsed(requires),
        "revisions": parsed(revisions),
        "watch": watch,
    }
    if network is not None:
        given["network"] = parsed(network)
    lengths = {"gradient_evaluations": gradient_evaluations, "updates": updates, "training_flops": training_flops}
    given |= {key: value for key, value in lengths.items() if value is not None}
    folder = results / "data" / dataset
    for line in announced(given, folder):
        print(line, file=sys.stderr)
    ensure_prepared(dataset, folder, raw)
    done = run(RunConfig.model_validate(completed(given, folder)), folder, results, device, checkpoint_period)
    ledger = done.ledger
    spent = f"{ledger['gradient_evaluations']} gradient evaluations"  # of random cost, the last update may take them past the budget
    print(f"{done.path}: {ledger['status']} at step {ledger['step']}, {spent}" + (f" ({ledger['reason']})" if ledger["reason"] else ""))
    (done / "picture.png").unlink(missing_ok=True)
    if picture:
        from ebmpipe.glance import take_glance

        path, lines = take_glance(done, folder, device)
        print(*lines, f"picture: {path}", sep="\n")


@app.command()
def sample(
    dataset: DatasetOption,
    label: Label,
    seed: Seed = 0,
    settings: Json = None,
    results: Results = Path("results"),
    device: Device = "auto",
) -> None:
    """Draw samples from a trained run. What is not given is the default of the kind of data (config/README.md)."""
    from ebmpipe.config import SamplingConfig
    from ebmpipe.layers import merged
    from ebmpipe.runs import RunFolder
    from ebmpipe.sampling import sample as run
    from ebmpipe.starting_points import starting_point

    folder = RunFolder.of(results, dataset, label, seed)
    config = SamplingConfig.model_validate(merged(starting_point(dataset, results / "data" / dataset).get("sampling"), parsed(settings)))
    run(folder, results / "data" / dataset, config, device)
    print(folder / "samples.safetensors")


@app.command()
def long_run(
    dataset: DatasetOption,
    label: Label,
    seed: Seed = 0,
    settings: Json = None,
    results: Results = Path("results"),
    device: Device = "auto",
    checkpoint_period: Annotated[
        float, typer.Option(min=0, envvar="EBMPIPE_CHECKPOINT_PERIOD", help="Seconds between checkpoints.")
    ] = 30.0,
) -> None:
    """Run chains of a trained run for long, from over-dispersed starts, or go on with an interrupted one; metrics and figures say how
    they mix and what becomes of energy and samples. What is not given is the default of the kind of data (config/README.md)."""
    from ebmpipe.config import LongRunConfig
    from ebmpipe.data.prepared import Prepared
    from ebmpipe.features.choosing import classifier_made
    from ebmpipe.layers import merged
    from ebmpipe.long_run import long_run as run
    from ebmpipe.runs import RunFolder
    from ebmpipe.starting_points import starting_point

    folder, features, prepared = RunFolder.of(results, dataset, label, seed), results / "features" / dataset, results / "data" / dataset
    given = parsed(settings)
    if "classifier" not in given:
        given["classifier"] = classifier_made(Prepared(prepared).spec, features)
    config = LongRunConfig.model_validate(merged(starting_point(dataset, prepared).get("long_run"), given))
    run(folder, prepared, config, features, device, checkpoint_period)
    print(folder / "long_run.safetensors")


@app.command()
def evaluate(
    dataset: DatasetOption,
    label: Annotated[str, typer.Option(help="Row of the tables: the sampled run that is to be measured.")] = "",
    seed: Seed = 0,
    settings: Json = None,
    samples: Annotated[
        Path | None,
        typer.Option(help="In place of a run, samples made elsewhere: .npy, .npz, .safetensors, or .csv of vectors; shape (n, *event)."),
    ] = None,
    given_range: Annotated[
        str | None,
        typer.Option(
            "--range",
            help="Of samples of images: model ([-1, 1]; floats by default), unit ([0, 1]), levels (integers). Of vectors "
            "of your own that were standardised: model, if they are as well; in the file's units by default.",
        ),
    ] = None,
    key: Annotated[str | None, typer.Option(help="Name of the array, where the file of samples has several.")] = None,
    model: Annotated[
        Path | None, typer.Option(help="An energy trained elsewhere: a run's model.safetensors or folder, or weights of a network.")
    ] = None,
    network: Annotated[str | None, typer.Option(help="Of weights: the network as JSON; its name may be module:Class.")] = None,
    base: Annotated[str | None, typer.Option(help="Of weights: gaussian (E = network + base, by default) or none (E = network).")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for metrics.json of work made elsewhere; by default external/<name>.")] = None,
    results: Results = Path("results"),
    device: Device = "auto",
) -> None:
    """Measure a sampled run, or score samples and models that were made elsewhere."""
    from ebmpipe.config import EvaluationConfig, NetworkConfig
    from ebmpipe.layers import merged
    from ebmpipe.starting_points import starting_point

    available, prepared = results / "features" / dataset, results / "data" / dataset
    config = EvaluationConfig.model_validate(merged(starting_point(dataset, prepared).get("evaluation"), parsed(settings)))
    flow = results / "bases" / dataset
    for_samples, for_model, foreign = (given_range, key), (network, base), samples is not None or model is not None
    if foreign == bool(label):
        raise typer.BadParameter("say what to measure: a run by --label, or work made elsewhere by --samples FILE, --model FILE or both")
    if (samples is None and any(for_samples)) or (model is None and any(for_model)) or (not foreign and out):
        raise typer.BadParameter("--range and --key are for --samples, --network and --base for --model, and --out for either")
    if base not in (None, "gaussian", "none"):
        raise typer.BadParameter(f"--base {base}: choose gaussian or none")
    if foreign:
        from ebmpipe.scoring import score

        path, table = score(
            dataset, results, config, samples=samples, given_range=given_range, key=key, model=model,
            network=None if network is None else NetworkConfig.model_validate(parsed(network)), base=base,  # type: ignore[arg-type]
            features=available, flow=flow, out=out, seed=seed, device=device,
        )  # fmt: skip
        print(table, path, sep="\n")
        return
    from ebmpipe.evaluation import evaluate as run
    from ebmpipe.runs import RunFolder

    folder = RunFolder.of(results, dataset, label, seed)
    run(folder, prepared, config, available, device, flow)
    print(folder / "metrics.json")


@app.command()
def compose(
    name: Annotated[str, typer.Argument(help="What the composition is called.")],
    of: Annotated[list[str], typer.Option(help="The two runs, each as data set/label: say it twice.")],
    by: Annotated[str, typer.Option(help="product, mixture or difference.")],
    weight: Annotated[float | None, typer.Option(help="How much the second counts; by default 1, 0.5 and 0.2.")] = None,
    seed: Seed = 0,
    sampling: Annotated[
        str | None, typer.Option(help="How its chains are drawn, as JSON; where not given, 4000 chains as on densities.")
    ] = None,
    results: Results = Path("results"),
    device: Device = "auto",
) -> None:
    """Make one law of two trained energies in the plane, and measure it against the one of the true densities."""
    from ebmpipe.composing import compose as run
    from ebmpipe.config import COMPOSITION_SAMPLING, CompositionConfig, SamplingConfig
    from ebmpipe.files import read_signed
    from ebmpipe.layers import merged

    config = CompositionConfig.model_validate({"of": of, "by": by, "weight": weight})
    drawn = SamplingConfig.model_validate(merged(COMPOSITION_SAMPLING.model_dump(mode="json"), parsed(sampling)))
    folder = run(name, config, seed, results, drawn, device)
    ledger = read_signed(folder / "composition.json")
    print(f"{folder}: {ledger['status']}" + (f" ({ledger['reason']})" if ledger["status"] == "diverged" else ""))
    print(folder / "metrics.json")


@app.command()
def collect_compositions(
    compositions: Annotated[str, typer.Option(help="The compositions, as JSON: {name: [seeds]}.")], results: Results = Path("results")
) -> None:
    """Gather the numbers of all compositions into tables/compositions.csv."""
    from ebmpipe.report.compositions import collect as run

    print(run(results, parsed(compositions)))


@app.command()
def theorems(results: Results = Path("results")) -> None:
    """Measure the identities that tie the methods' losses together; trains nothing and takes seconds."""
    from ebmpipe.proving import prove

    print(prove(results))


RunsOption = Annotated[str, typer.Option(help="The runs, as JSON: {dataset: {label: [seeds]}}.")]


@app.command()
def collect(runs: RunsOption, results: Results = Path("results")) -> None:
    """Gather every run's metrics into the result tables."""
    from ebmpipe.collecting import collect as run

    run(results, parsed(runs))
    print(results / "tables")


@app.command()
def collect_trajectories(runs: RunsOption, results: Results = Path("results")) -> None:
    """Gather what the histories of watched runs say of their likelihood into tables/trajectories.csv and .md."""
    from ebmpipe.collecting import collect_trajectories as run

    run(results, parsed(runs))
    print(results / "tables" / "trajectories.csv")


@app.command()
def collect_published(results: Results = Path("results")) -> None:
    """Set what others have published beside the result tables, in tables/published.csv and .md."""
    from ebmpipe.collecting import collect_published as run

    run(results)
    print(results / "tables" / "published.md")


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="Id of the figure.")],
    runs: RunsOption,
    out: Annotated[Path, typer.Option(help="Path of the picture without .png and .pdf.")],
    dataset: Annotated[str | None, typer.Option(help="Id of the data set; none for figures that span all.")] = None,
    labels: Annotated[
        str | None, typer.Option(help="Labels in the order of their colours, with commas between, where it is not that of --runs.")
    ] = None,
    results: Results = Path("results"),
) -> None:
    """Draw one figure as PNG and PDF."""
    from ebmpipe.report.base import draw

    draw(name, results, dataset, parsed(runs), out, None if labels is None else [label for label in labels.split(",") if label])
    print(f"{out}.png")


@app.command()
def overview(results: Results = Path("results")) -> None:
    """Write the first page of the report: the main table and picture."""
    from ebmpipe.report.overview import write_overview

    write_overview(results, results / "report" / "overview.rst")


@app.command()
def verify(
    results: Results = Path("results"),
    repair: Annotated[
        bool, typer.Option("--repair", help="Prepare damaged data again; remove what else is damaged, and what was made from it.")
    ] = False,
    raw: Raw = None,
) -> None:
    """Check every file of a results folder against its checksum."""
    from ebmpipe import verifying

    looked, found, mended = 0, 0, 0
    for item in verifying.verify(results):
        if isinstance(item, Path):
            looked += 1
            continue
        found += 1
        print(item.problem)
        if repair:
            try:
                print(f"  {verifying.repair(item, results, raw)}")
                mended += 1
            except (ValueError, OSError) as error:
                print(f"  this cannot be mended: {error}")
    print(f"{results}: looked at {looked} folders, found {found} damaged" + (f", mended {mended}" if repair else ""))
    if found > mended:
        raise typer.Exit(1)


@app.command()
def doctor(
    config: Annotated[Path | None, typer.Option(help="Config to examine in place of those in config/.")] = None,
    results: Annotated[Path | None, typer.Option(help="Results folder; by default the config's.")] = None,
    raw: Raw = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
) -> None:
    """Say what a bug report needs, and what is missing for which experiment. Exit code 1 if something essential is broken."""
    from ebmpipe import findings
    from ebmpipe.doctor import examined

    found = examined(results, raw, config)
    print(json.dumps(findings.as_json(found), indent=2) if as_json else findings.as_text(found))
    if any(finding.state == "broken" for finding in found):
        raise typer.Exit(1)


@app.command()
def schema(
    project: Annotated[Path, typer.Option(help="The project's folder.")] = Path(),
) -> None:
    """Write what is generated: the config's JSON schema and reference, and the catalogue of everything the package offers."""
    from ebmpipe import catalogue

    for path in catalogue.write(project):
        print(path)


@app.command()
def check(
    config: Annotated[Path, typer.Argument(help="A config; - reads one from standard input.")] = Path("config/config.yaml"),
    project: Annotated[Path, typer.Option(help="The project's folder.")] = Path(),
    syntax: Annotated[bool, typer.Option("--syntax", help="Look only whether the file can be read.")] = False,
) -> None:
    """Say what a config comes to, or what is wrong with it, before anything runs: every run's method is made once, untrained."""
    from ebmpipe.checking import ConfigError
    from ebmpipe.config_files import located, parse, read_config

    piped = str(config) == "-"
    file = parse(sys.stdin.read(), "standard input") if piped else read_config(config)
    if not syntax:
        from ebmpipe.validating import check_runs, make_plan, summary

        try:
            plan = make_plan(file.content, project)
            print(summary(plan, list(check_runs(plan))))
        except ConfigError as error:
            # What is piped has no lines that its author knows.
            raise error if piped else ValueError(located(error, [file])) from error


def main() -> None:
    """Entry point: one thread unless told otherwise, and an error that the user can mend is one line, not a traceback.

    Two jobs of one thread do several times the work of two jobs of two threads, whose waiting threads take the processor from each
    other; and the number of threads changes the last bits of convolutions, so that it must not depend on the machine.
    """
    for variable, value in (("OMP_NUM_THREADS", "1"), ("MKL_NUM_THREADS", "1"), ("OMP_WAIT_POLICY", "PASSIVE")):
        os.environ.setdefault(variable, value)
    try:
        app()
    except (ValueError, OSError) as error:
        from ebmpipe.checking import in_words

        print(f"ebmpipe: {in_words(error)}", file=sys.stderr)
        sys.exit(1)
    except ImportError as error:
        # Even this command line needs packages that may be missing or broken.
        print(f"ebmpipe: {error}: the installation is damaged; `python -m ebmpipe.doctor` says what to do", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
