"""Binary data through every stage, and what is refused of them."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from ebmpipe.checking import ConfigError
from ebmpipe.collecting import collect
from ebmpipe.config import KINDS, LongRunConfig, RunConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.evaluation import evaluate
from ebmpipe.files import read_arrays
from ebmpipe.glance import take_glance
from ebmpipe.long_run import long_run
from ebmpipe.planning import Plan
from ebmpipe.preparing import prepare
from ebmpipe.report import base
from ebmpipe.sampling import sample
from ebmpipe.training import train
from ebmpipe.validating import check_runs

SCHEMAS = Path(__file__).parents[2] / "workflow/schemas"
SCHEMA, CATALOGUE = (json.loads((SCHEMAS / name).read_text()) for name in ("config.schema.json", "catalogue.json"))
KIND = KINDS["binary"]
OF_SAMPLES = {"mmd", "energy_distance", "sliced_wasserstein", "mean_error", "correlation_error"}


def plan(**more):
    return Plan(
        {"methods": {"data": {}, "noise": {}, "pseudolikelihood": {}, "dsm": {}}, "datasets": {"ising": {}}} | more, SCHEMA, CATALOGUE
    )


@pytest.fixture(scope="module")
def binary_digits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("binary_digits") / "data"
    prepare("binary_digits", folder)
    return folder


def run_of(method, dataset, folder, results, **more):
    """Trained, sampled and measured; the run and its metrics."""
    given = {"dataset": dataset, "label": method, "method": method, "gradient_evaluations": 17 * 64 * 30, **more}
    run = train(RunConfig.model_validate(given), folder, results, "cpu")
    sample(run, folder, SamplingConfig(n=200, steps=100, kernel=KIND.sampling.kernel), "cpu")
    evaluate(run, folder, KIND.evaluation, device="cpu")
    rows = json.loads((run / "metrics.json").read_text())["rows"]
    return run, {row["metric"]: row for row in rows}


@pytest.mark.parametrize("method", ["minimum_probability_flow", "pseudolikelihood", "ratio_matching"])
def test_ising_through_every_stage(method, prepared, tmp_path):
    run, rows = run_of(method, "ising", prepared["ising"], tmp_path, settings={"batch_size": 64, "optimiser": {"learning_rate": 0.02}})
    assert run.config.network is None or run.config.network.name == "boltzmann"
    samples, _ = read_arrays(run / "samples.safetensors")
    assert set(np.unique(samples["fresh"])) == {-1.0, 1.0}
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert set(rows) == {"nll", "nll_gap", "log_z", "couplings_error", *OF_SAMPLES}
    assert rows["nll_gap"]["value"] < 1 and rows["couplings_error"]["value"] < 0.9
    assert {"energy_data", "energy_samples", "energy_noise"} <= set(np.load(run / "arrays.npz"))
    picture, lines = take_glance(run, prepared["ising"], "cpu")
    assert picture.is_file() and lines


@pytest.mark.filterwarnings("error")
def test_every_figure_of_binary_data_is_drawn(prepared, tmp_path):
    shutil.copytree(prepared["ising"], tmp_path / "data/ising")
    comparison = {"ising": {method: [0] for method in ("data", "noise", "pseudolikelihood")}}
    for method in comparison["ising"]:
        run_of(method, "ising", tmp_path / "data/ising", tmp_path)
    collect(tmp_path, comparison)
    figures = [name for name, entry in base.catalogue().items() if "binary" in entry["kinds"]]
    assert set(figures) == set(plan().figures("ising")) == {"samples", "energies", "training"}
    for name in figures:
        base.draw(name, tmp_path, "ising", comparison, tmp_path / "drawn" / name)
        assert (tmp_path / f"drawn/{name}.png").stat().st_size


def test_controls_bracket_them(prepared, tmp_path):
    """The data's own law has no gap and no error; the base, fair coins, has all of the couplings to learn."""
    _, data = run_of("data", "ising", prepared["ising"], tmp_path)
    _, noise = run_of("noise", "ising", prepared["ising"], tmp_path)
    entropy = Prepared(prepared["ising"]).spec.entropy
    assert data["nll_gap"]["value"] == pytest.approx(0, abs=1e-5) and data["couplings_error"]["value"] < 1e-5
    assert noise["log_z"]["value"] == pytest.approx(0, abs=1e-5)
    assert noise["nll_gap"]["value"] == pytest.approx(16 * np.log(2) - entropy, abs=1e-4)
    assert noise["couplings_error"]["value"] == pytest.approx(1)
    assert noise["correlation_error"]["value"] > 3 * data["correlation_error"]["value"]


def test_digits_in_black_and_white(binary_digits, tmp_path):
    """Too many pixels to enumerate: what is measured are samples. An MLP, by some flips of each example."""
    network = {"name": "mlp", "settings": {"width": 16}}
    run, rows = run_of(
        "pseudolikelihood", "binary_digits", binary_digits, tmp_path, network=network, settings={"batch_size": 64, "flips": 8}
    )
    assert set(rows) == OF_SAMPLES
    assert {row["status"] for row in rows.values()} == {"ok"}
    assert take_glance(run, binary_digits, "cpu")[0].is_file()


def test_kinds_of_methods_and_kernels_are_held_to():
    assert plan().labels["ising"] == ["data", "noise", "pseudolikelihood"]
    with pytest.raises(ConfigError, match="'dsm' is dsm, which takes density, images, vectors; ising is binary"):
        plan(datasets={"ising": {"labels": ["dsm"]}})
    with pytest.raises(ConfigError, match="'mala' takes density, images, vectors, not binary"):
        plan(datasets={"ising": {"sampling": {"kernel": {"name": "mala", "settings": {"step_size": 0.1}}}}})
    with pytest.raises(ConfigError, match="'gibbs' takes binary, not density"):
        plan(datasets={"two_moons": {"sampling": {"kernel": {"name": "gibbs", "settings": {}}}}})
    with pytest.raises(ConfigError, match="'gibbs' takes binary, not density"):
        plan(methods={"pcd": {"settings": {"kernel": {"name": "gibbs", "settings": {}}}}}, datasets={"two_moons": {}})
    with pytest.raises(ConfigError, match="'conv' takes images; ising is binary"):
        plan(datasets={"ising": {"network": {"name": "conv"}}})


def test_a_plan_has_no_long_runs_of_states_and_its_runs_can_be_made():
    made = plan(datasets={"ising": {}, "binary_digits": {}})
    assert not made.runs_long("ising") and not made.foreign("ising") and made.base_noise("ising") is None
    assert {one.label: one.updates > 0 for one in check_runs(made) if one.dataset == "ising"} == {
        "data": False, "noise": False, "pseudolikelihood": True
    }  # fmt: skip
    with pytest.raises(ConfigError, match="annealing means nothing on ising, which is binary"):
        list(check_runs(plan(datasets={"ising": {"evaluation": {"metrics": ["annealing"]}}})))


def test_a_long_run_by_hand_is_refused(prepared, tmp_path):
    run = train(RunConfig(dataset="ising", label="noise", method="noise"), prepared["ising"], tmp_path, "cpu")
    with pytest.raises(ValueError, match="mala does not take binary"):
        long_run(run, prepared["ising"], LongRunConfig(), device="cpu")


def test_values_between_are_no_binary_data(monkeypatch, tmp_path):
    from ebmpipe.data.ising import Ising

    monkeypatch.setattr(Ising, "sizes", {"train": 3, "validation": 3, "test": 3})
    monkeypatch.setattr(Ising, "sample", lambda self, n, rng: np.where(np.arange(16).reshape(1, 4, 4) == 5, 0.5, np.ones((n, 1, 4, 4))))
    with pytest.raises(ValueError, match="train has 3 values that are not -1 or 1"):
        prepare("ising", tmp_path / "data")
