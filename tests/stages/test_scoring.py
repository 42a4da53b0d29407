"""`ebmpipe evaluate --samples` and `--model`: work made elsewhere gets the numbers that the workflow would give it."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from small_runs import FEW, QUICK, small
from typer.testing import CliRunner

from ebmpipe.checkpoint import load_model
from ebmpipe.cli import app, main
from ebmpipe.config import EvaluationConfig, NetworkConfig, PartitionConfig, RestorationConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import BasedEnergy
from ebmpipe.evaluation import evaluate
from ebmpipe.files import read_arrays, write_arrays
from ebmpipe.given_models import read_model
from ebmpipe.nets.base import EnergyNetwork, NetworkSettings, build_network
from ebmpipe.sampling import sample
from ebmpipe.scoring import score

SEED = 3
MLP = {"name": "mlp", "settings": {"width": 8}}


@pytest.fixture
def run_on(folder_of, prepared, tmp_path):
    """A run, sampled and evaluated, in ``results``, with its data beside it."""

    def made(dataset="eight_gaussians", method="nce", **changes):
        folder = folder_of(small(dataset, method, seed=SEED, **changes))
        shutil.copytree(prepared[dataset], tmp_path / "results/data" / dataset)
        sample(folder, prepared[dataset], SamplingConfig(n=60, steps=5, denoise=True), "cpu")
        evaluate(
            folder,
            prepared[dataset],
            EvaluationConfig(grid=20, partition=PartitionConfig(**QUICK), restoration=RestorationConfig(**FEW)),
            device="cpu",
        )
        return folder

    return made


def rows_in(path):
    return {row["metric"]: row for row in json.loads(Path(path).read_text())["rows"]}


def asked(*arguments):
    """The command's output, or its error as one line."""
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    return result.stdout if result.exit_code == 0 else " ".join(str(result.exception if result.exit_code == 1 else result.output).split())


def test_a_runs_own_samples_and_model_get_the_runs_own_numbers(run_on, tmp_path):
    folder = run_on()
    # Work made elsewhere has no long run, and no rows that say so.
    expected = {metric: row for metric, row in rows_in(folder / "metrics.json").items() if "no long run was made" not in row["status"]}
    assert {"mmd", "nll", "nll_gap", "log_z", "log_z@forward"} <= set(expected)
    np.save(tmp_path / "drawn.npy", read_arrays(folder / "samples.safetensors")[0]["fresh"])
    shutil.copytree(folder.path, tmp_path / "copy")
    settings = json.dumps({"grid": 20, "partition": QUICK, "restoration": FEW})
    common = ("--dataset", "eight_gaussians", "--results", tmp_path / "results", "--seed", SEED, "--settings", settings)
    both = asked(*common, "--samples", tmp_path / "drawn.npy", "--model", tmp_path / "copy/model.safetensors")
    path = tmp_path / "results/external/drawn_nce_seed3/metrics.json"
    assert both.splitlines()[-1] == str(path) and rows_in(path) == expected
    for option, given, name in (("--samples", "drawn.npy", "drawn"), ("--model", "copy", "nce_seed3")):
        said = asked(*common, option, tmp_path / given)
        found = rows_in(tmp_path / "results/external" / name / "metrics.json")
        # Without samples the way back starts where the way there ended.
        same = {metric: row for metric, row in found.items() if "backward" not in metric and "upper" not in metric}
        assert same and same == {metric: expected.get(metric) for metric in same}
        # Below the table stand the protocols.
        assert [line.split()[0] for line in said.splitlines()[1 : 1 + len(found)]] == list(found)
        assert ("mmd" in found, "nll" in found) == (option == "--samples", option == "--model")


def test_the_table_says_value_error_number_unit_and_status(run_on, tmp_path):
    folder = run_on()
    row = rows_in(folder / "metrics.json")["nll"]
    said = asked("--dataset", "eight_gaussians", "--results", tmp_path / "results", "--model", folder.path, "--out", tmp_path / "here")
    assert rows_in(tmp_path / "here/metrics.json")["nll"] == row
    (line,) = [line for line in said.splitlines() if line.startswith("nll ")]
    _, value, plus_minus, error, n, *unit, status = line.split()
    assert (plus_minus, n, " ".join(unit), status) == ("±", str(row["n"]), row["unit"], "ok")
    assert float(value) == pytest.approx(row["value"], abs=row["stderr"]) and float(error) == pytest.approx(row["stderr"], rel=0.4)


def test_images_in_other_ranges_are_the_same_images(run_on, prepared, tmp_path):
    folder = run_on("digits", settings={"batch_size": 16, "data_noise": 0.3})
    drawn, _ = read_arrays(folder / "samples.safetensors")
    score(
        "digits",
        tmp_path / "results",
        EvaluationConfig(),
        samples=folder / "samples.safetensors",
        key="noisy",
        seed=SEED,
    )
    expected = {
        f"{metric}@noisy": row | {"metric": f"{metric}@noisy"}
        for metric, row in rows_in(tmp_path / "results/external/samples/metrics.json").items()
        if metric not in ("fid", "kid", "inception_score")  # that their network is absent is said once, of no source
    }
    assert expected and expected.items() <= rows_in(folder / "metrics.json").items()
    test = Prepared(prepared["digits"]).split("test")
    np.savez(tmp_path / "levels.npz", test)
    np.savez(tmp_path / "unit.npz", (test + 0.5) / 17)
    values = {}
    for name, given in (("levels", None), ("unit", "unit")):
        path, _ = score(
            "digits", tmp_path / "results", EvaluationConfig(metrics=["mmd"]), samples=tmp_path / f"{name}.npz", given_range=given
        )
        values[name] = rows_in(path)["mmd"]
    assert values["levels"]["value"] == pytest.approx(values["unit"]["value"], abs=3e-3)
    assert abs(values["levels"]["value"]) < 5e-3 < rows_in(folder / "metrics.json")["mmd"]["value"], "held-out images are no noise"
    assert drawn["noisy"].min() < -1, "what a model puts outside counts"


def test_weights_of_a_network_with_and_without_the_base(prepared, tmp_path):
    data = Prepared(prepared["eight_gaussians"])
    network = build_network(NetworkConfig.model_validate(MLP), data.spec)
    save_file(network.state_dict(), tmp_path / "net.safetensors")
    x = torch.randn(50, 2)
    for base, reference in (("gaussian", BasedEnergy(network, data.spec)), ("none", network), (None, BasedEnergy(network, data.spec))):
        read = read_model(tmp_path / "net.safetensors", data, NetworkConfig.model_validate(MLP), base, "cpu")
        assert torch.equal(read.scored.energy(x), reference(x)) and read.name == "net" and read.scored.log_partition is None


class Bowl(EnergyNetwork):
    """E(x) = |w x|² / 2: a Gaussian, as a network of somebody's own."""

    name, revision, kinds, Config = "bowl", 1, frozenset({"density"}), NetworkSettings

    def __init__(self, shape, config):
        super().__init__(shape, config)
        self.w = torch.nn.Parameter(torch.ones(shape))

    def forward(self, x):
        return (self.w * x).square().sum(1) / 2


def test_a_gaussian_energy_of_ones_own_has_its_closed_form(prepared, tmp_path, monkeypatch):
    """log Z = log 2π - Σ log w, and nll = mean E + log Z."""
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    shutil.copytree(prepared["eight_gaussians"], tmp_path / "data/eight_gaussians")
    w = torch.tensor([0.5, 0.25])
    save_file({"w": w}, tmp_path / "bowl.safetensors")
    path, _ = score(
        "eight_gaussians", tmp_path, EvaluationConfig(metrics=["quadrature"]), model=tmp_path / "bowl.safetensors",
        network=NetworkConfig(name="test_scoring:Bowl"), base="none",
    )  # fmt: skip
    rows = rows_in(path)
    log_z = np.log(2 * np.pi) - np.log(w.numpy()).sum()
    test = Prepared(prepared["eight_gaussians"]).split("test")
    assert rows["log_z"]["value"] == pytest.approx(log_z, abs=1e-4)
    assert rows["nll"]["value"] == pytest.approx(((w.numpy() * test) ** 2).sum(1).mean() / 2 + log_z, abs=1e-3)
    assert json.loads(path.read_text())["model"]["base"] == "none"


def test_models_that_cannot_be_scored_are_refused(run_on, prepared, tmp_path):
    folder = run_on()
    data, digits = Prepared(prepared["eight_gaussians"]), Prepared(prepared["digits"])
    model, mlp = folder / "model.safetensors", NetworkConfig.model_validate(MLP)

    def refused(match, path=model, data=data, network=None, base=None):
        with pytest.raises(ValueError, match=match):
            read_model(path, data, network, base, "cpu")

    refused("does not exist", tmp_path / "nothing.safetensors")
    refused("was trained on eight_gaussians, not on digits", data=digits)
    refused("--base is for the weights of a network", base="none")
    refused(r"does not hold the weights of this MLP: it lacks hidden\.0\.weight.*; it has besides learner", network=mlp)
    save_file(build_network(NetworkConfig(settings={"width": 9}), data.spec).state_dict(), tmp_path / "wide.safetensors")
    refused(r"of another shape are hidden\.0\.weight", tmp_path / "wide.safetensors", network=mlp)
    refused("no run's model.safetensors with its config.json beside it; .*--network", tmp_path / "wide.safetensors")
    (tmp_path / "net.pt").write_bytes(b"")
    refused("from .safetensors only", tmp_path / "net.pt", network=mlp)
    (tmp_path / "net.safetensors").write_bytes(b"nonsense")
    refused("cannot be read as .safetensors", tmp_path / "net.safetensors", network=mlp)


def test_a_copied_run_is_checked_against_its_ledger_if_that_came_along(run_on, prepared, tmp_path):
    folder, data = run_on(), Prepared(prepared["eight_gaussians"])
    expected = read_model(folder.path, data, None, None, "cpu")
    copy = Path(shutil.copytree(folder.path, tmp_path / "copy"))
    weights = load_model(copy / "model.safetensors")
    (copy / "model.safetensors").unlink()
    save_file({name: value + 1 if value.is_floating_point() else value for name, value in weights.items()}, copy / "model.safetensors")
    with pytest.raises(ValueError, match="was altered after it was written"):
        read_model(copy, data, None, None, "cpu")
    save_file(weights, copy / "model.safetensors")
    (copy / "run.json").unlink()
    found, x = read_model(copy, data, None, None, "cpu"), torch.randn(20, 2)
    assert not found.about["checked_against_ledger"] and expected.about["checked_against_ledger"]
    assert torch.equal(found.scored.energy(x), expected.scored.energy(x))
    said = score("eight_gaussians", tmp_path / "results", EvaluationConfig(metrics=["quadrature"]), model=copy, device="cpu")[1]
    assert "no run.json" in said


def test_a_run_that_builds_on_another_needs_it(tmp_path, prepared):
    config = small(requires={"backbone": "nce"}).model_dump(mode="json")
    folder = tmp_path / "results/runs/eight_gaussians/pcd/seed0"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config))
    write_arrays(folder / "model.safetensors", {})
    with pytest.raises(ValueError, match=r"builds on the run 'nce', which is not at .*nce/seed0: copy the whole folder"):
        read_model(folder, Prepared(prepared["eight_gaussians"]), None, None, "cpu")


def test_a_run_without_an_energy_is_refused(run_on, prepared):
    folder = run_on("digits", "data", settings={})
    with pytest.raises(ValueError, match="has no energy to score: data is not a model of images"):
        read_model(folder.path, Prepared(prepared["digits"]), None, None, "cpu")


class Vector(Bowl):
    """No energy: two numbers per example."""

    def forward(self, x):
        return self.w * x


class Hole(Bowl):
    """NaN at the right."""

    def forward(self, x):
        return super().forward(x) + torch.log(2 - x[:, 0])


def test_energies_that_are_none_are_refused(prepared, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    shutil.copytree(prepared["eight_gaussians"], tmp_path / "data/eight_gaussians")
    save_file({"w": torch.ones(2)}, tmp_path / "w.safetensors")

    def scored(name):
        network = NetworkConfig(name=f"test_scoring:{name}")
        score(
            "eight_gaussians",
            tmp_path,
            EvaluationConfig(),
            model=tmp_path / "w.safetensors",
            network=network,
            base="none",
        )

    with pytest.raises(ValueError, match=r"maps \(2, 2\) to \(2, 2\)"):
        scored("Vector")
    with pytest.raises(ValueError, match=r"w.safetensors: the energy is not finite at \d+ of"):
        scored("Hole")
    with pytest.raises(ValueError, match="it has no name and revision"):
        read_model(tmp_path / "w.safetensors", Prepared(prepared["eight_gaussians"]), NetworkConfig(name="torch.nn:Linear"), None, "cpu")


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ([], "say what to measure: a run by --label, or work made elsewhere"),
        (["--label", "pcd", "--samples", "x.npy"], "say what to measure"),
        (["--label", "pcd", "--out", "here"], "--out for either"),
        (["--samples", "x.npy", "--base", "none"], "--network and --base for --model"),
        (["--model", "m.safetensors", "--range", "unit"], "--range and --key are for --samples"),
        (["--model", "m.safetensors", "--network", "{}", "--base", "flow"], "--base flow: choose gaussian or none"),
    ],
)
def test_options_that_do_not_go_together(arguments, match, monkeypatch):
    monkeypatch.setenv("COLUMNS", "1000")
    assert match in asked("--dataset", "eight_gaussians", *arguments)


def test_errors_are_one_line(prepared, tmp_path, monkeypatch, capsys):
    np.save(tmp_path / "x.npy", np.zeros((3, 2)))
    shutil.copytree(prepared["eight_gaussians"], tmp_path / "data/eight_gaussians")
    for dataset, match in (("two_moons", "make it with `ebmpipe prepare`"), ("moons", "did you mean"), ("eight_gaussians", "are the same")):
        command = ["ebmpipe", "evaluate", "--dataset", dataset, "--samples", str(tmp_path / "x.npy"), "--results", str(tmp_path)]
        monkeypatch.setattr("sys.argv", command)
        with pytest.raises(SystemExit) as stopped:
            main()
        said = capsys.readouterr().err
        assert stopped.value.code == 1 and match in said and said.count("\n") == 1


def test_where_no_flow_was_fitted_likelihoods_say_how_it_is(run_on, prepared):
    folder = run_on("digits", "nce", settings={"batch_size": 16})
    for base in ("shortest", "flow"):
        partition = PartitionConfig(**QUICK, base=base, base_noise=0.3)
        evaluate(folder, prepared["digits"], EvaluationConfig(metrics=["annealing"], partition=partition), device="cpu")
        said = {row["status"] for row in rows_in(folder / "metrics.json").values()}
        command = "make it with `ebmpipe base --dataset digits --noise 0.3`, or set evaluation.partition.base to own"
        assert said == {f"not available: there is no flow to anneal from: {command}"}
