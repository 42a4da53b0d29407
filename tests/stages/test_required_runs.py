"""Runs that build on others: order, cost, and what a missing one is told."""

import copy
import json
from pathlib import Path

import pytest
import yaml

from ebmpipe.config import EvaluationConfig, RunConfig, SamplingConfig
from ebmpipe.evaluation import evaluate
from ebmpipe.planning import ConfigError, Plan, Run
from ebmpipe.sampling import sample
from ebmpipe.training import train

ROOT = Path(__file__).parents[2]
SCHEMA, CATALOGUE = (json.loads((ROOT / "workflow/schemas" / f"{name}.json").read_text()) for name in ("config.schema", "catalogue"))


def run_config(method, label, **changes):
    given = {"dataset": "eight_gaussians", "label": label, "method": method, "gradient_evaluations": 3200}
    return RunConfig.model_validate(given | {"settings": {"batch_size": 16}, "network": {"settings": {"width": 8}}} | changes)


@pytest.fixture
def tilted(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "own"))
    return "tilted_method:Tilted"


def test_a_required_run_is_loaded_and_its_cost_recorded(prepared, tmp_path, tilted):
    data = prepared["eight_gaussians"]
    backbone = train(run_config("dsm", "base"), data, tmp_path, "cpu")
    folder = train(run_config(tilted, "mine", requires={"backbone": "base"}), data, tmp_path, "cpu")
    cost = folder.ledger["required"]["backbone"]
    assert cost["label"] == "base"
    assert cost["training_flops"] == backbone.ledger["training_flops"]
    assert set(folder.ledger["inputs"]) == {"data", "backbone"}


def test_a_missing_required_run_is_named(prepared, tmp_path, tilted):
    with pytest.raises(FileNotFoundError, match=r"base.*run\.json does not exist"):
        train(run_config(tilted, "mine", requires={"backbone": "base"}), prepared["eight_gaussians"], tmp_path, "cpu")
    with pytest.raises(ValueError, match="requires backbone"):
        train(run_config(tilted, "mine"), prepared["eight_gaussians"], tmp_path, "cpu")


def test_what_builds_on_a_diverged_run_has_diverged_too(prepared, tmp_path, tilted):
    data = prepared["eight_gaussians"]
    wild = {"batch_size": 16, "optimiser": {"loss_bound": 1e-9}}
    train(run_config("dsm", "base", settings=wild), data, tmp_path, "cpu")
    folder = train(run_config(tilted, "mine", requires={"backbone": "base"}), data, tmp_path, "cpu")
    assert folder.ledger["status"] == "diverged"
    assert "base" in folder.ledger["reason"]
    sample(folder, data, SamplingConfig(), "cpu")
    evaluate(folder, data, EvaluationConfig())
    rows = json.loads((folder / "metrics.json").read_text())["rows"]
    assert rows
    assert {row["status"] for row in rows} == {"diverged"}


def plan_with(requires, catalogue_requires=("backbone",)):
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    catalogue = copy.deepcopy(CATALOGUE)
    catalogue["methods"]["nce"]["requires"] = list(catalogue_requires)
    config["methods"]["nce"] = {"requires": requires} if requires is not None else {}
    return Plan(config, SCHEMA, catalogue)


def test_the_plan_knows_what_a_run_builds_on():
    plan = plan_with({"backbone": "dsm"})
    assert plan.required(Run("eight_gaussians", "nce", 1)) == {"backbone": Run("eight_gaussians", "dsm", 1)}
    assert plan.run_settings(Run("eight_gaussians", "nce", 1))["requires"] == {"backbone": "dsm"}


@pytest.mark.parametrize(
    ("requires", "message"),
    [
        (None, "nce needs the label of its backbone"),
        ({"backbon": "dsm"}, "Did you mean 'backbone'"),
        ({"backbone": "dms"}, "Did you mean 'dsm'"),
        ({"backbone": "nce"}, "methods.nce.requires: it builds on itself: nce → nce"),
    ],
)
def test_a_plan_without_it_is_refused(requires, message):
    with pytest.raises(ConfigError, match=message):
        plan_with(requires)


def test_a_plan_whose_labels_build_on_each_other_in_a_circle_is_refused():
    config = {"methods": {a: {"method": "nce", "requires": {"backbone": b}} for a, b in ("ab", "bc", "ca")}, "datasets": {"two_moons": {}}}
    catalogue = copy.deepcopy(CATALOGUE)
    catalogue["methods"]["nce"]["requires"] = ["backbone"]
    with pytest.raises(ConfigError, match=r"methods\.a\.requires: it builds on itself: a → b → c → a"):
        Plan(config, SCHEMA, catalogue)


def test_a_required_label_must_run_on_the_same_data():
    catalogue = copy.deepcopy(CATALOGUE)
    catalogue["methods"]["nce"]["requires"] = ["backbone"]
    config = {"methods": {"nce": {"requires": {"backbone": "dsm"}}, "dsm": {}}, "datasets": {"digits": {"labels": ["nce"]}}}
    with pytest.raises(ConfigError, match=r"requires\.backbone: 'dsm' does not run on digits: datasets\.digits\.labels lacks it"):
        Plan(config, SCHEMA, catalogue)
    catalogue["methods"]["dsm"]["kinds"] = ["density"]
    with pytest.raises(ConfigError, match=r"requires\.backbone: 'dsm' does not run on digits: its method takes density"):
        Plan(config | {"datasets": {"digits": {}}}, SCHEMA, catalogue)
