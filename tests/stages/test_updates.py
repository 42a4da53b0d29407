"""Runs of so many updates, whatever they cost: the clock counts updates, and gradient evaluations are added up all the same."""

import json
import math
from pathlib import Path

import pytest
from pydantic import ValidationError
from small_runs import COUPLED, DICE, NUTS, PCD, Priced, model_bytes, rows_of, rows_without_seconds, small
from typer.testing import CliRunner

from ebmpipe.budget import LOGGED, Budget
from ebmpipe.checking import ConfigError
from ebmpipe.checkpoint import Checkpoint
from ebmpipe.cli import app
from ebmpipe.config import RunConfig
from ebmpipe.optimisation import Learner
from ebmpipe.planning import Run
from ebmpipe.starting_points import completed
from ebmpipe.validating import check_runs, make_plan, summary

ROOT = Path(__file__).parents[2]
UPDATES = 37


def counted(**changes):
    """A small run of so many updates, in place of a budget."""
    return RunConfig.model_validate(small(**changes).model_dump(mode="json") | {"gradient_evaluations": None, "updates": UPDATES})


RUNS = {
    "pcd": counted(),
    "nce": counted(method="nce"),
    "dice": counted(label="dice", settings=PCD | DICE),
    "nuts": counted(label="nuts", settings=PCD | NUTS),
    "unbiased_cd": counted(method="unbiased_cd", settings=COUPLED),
}
RANDOM = ("dice", "nuts", "unbiased_cd")


@pytest.mark.parametrize("random_cost", [False, True])
@pytest.mark.parametrize("updates", [1, 199, 200, 399, 1000])
def test_the_clock_counts_updates(updates, random_cost):
    budget, costs = Budget(Priced(10, at_start=5, random_cost=random_cost), None, updates), [7, 1, 23, 9]
    assert (budget.size, budget.unit, budget.iterations) == (updates, "", updates)
    period, spent = max(1, updates // LOGGED), 5
    for step in range(updates):
        assert not budget.exhausted
        assert budget.fraction == step / updates
        cost = costs[step % 4]
        report = {"gradient_evaluations": cost} if random_cost else {}
        assert budget.pay(report) == ((step + 1) % period == 0 or step + 1 == updates)
        assert report == ({"cost": cost} if random_cost else {})
        spent += cost if random_cost else 10
        assert budget.spent == spent
    assert budget.exhausted and budget.updates == budget.iterations == updates
    assert budget.progress(3, 30) == f"step 3 of {updates}"


def test_a_run_has_one_length():
    for given in ((None, None), (10, 10)):
        with pytest.raises(ValueError, match="give one of them"):
            Budget(Priced(10), *given)
    control = Priced(0)
    control.trains = False
    assert Budget(control, None, 10).size == 0


@pytest.mark.parametrize("name", RUNS)
def test_so_many_updates_are_made_and_their_cost_is_counted(folder_of, name):
    folder = folder_of(RUNS[name])
    ledger, history = folder.ledger, rows_of(folder)
    assert ledger["step"] == ledger["iterations"] == UPDATES
    assert [row["step"] for row in history] == list(range(1, UPDATES + 1))
    assert ledger["gradient_evaluations"] == history[-1]["gradient_evaluations"]
    if name in RANDOM:
        assert ledger["gradient_evaluations"] == sum(row["cost"] for row in history)
        assert len({row["cost"] for row in history}) > 1
    else:
        assert ledger["gradient_evaluations"] == UPDATES * {"pcd": 16 * 4, "nce": 16 * 2}[name]
    written = json.loads((folder / "config.json").read_text())
    assert (written["updates"], written["gradient_evaluations"]) == (UPDATES, None)


def test_a_run_is_the_one_whose_budget_pays_for_as_many(folder_of):
    by_updates, by_budget = folder_of(RUNS["pcd"], "updates"), folder_of(small(updates=UPDATES), "budget")
    assert model_bytes(by_updates) == model_bytes(by_budget)
    assert rows_without_seconds(by_updates) == rows_without_seconds(by_budget)
    assert by_updates.ledger["training_flops"] == by_budget.ledger["training_flops"]


def test_the_learning_rate_follows_the_updates(folder_of, monkeypatch):
    seen, update = [], Learner.update

    def watched(self, gradients):
        seen.append(self.learning_rate())
        update(self, gradients)

    monkeypatch.setattr(Learner, "update", watched)
    folder_of(RUNS["dice"])
    assert seen == pytest.approx([2e-3 * 0.5 * (1 + math.cos(math.pi * step / UPDATES)) for step in range(UPDATES)])


@pytest.mark.parametrize("name", ["pcd", *RANDOM])
def test_resume_is_exact(folder_of, monkeypatch, capfd, name):
    whole, save = folder_of(RUNS[name], "whole"), Checkpoint.save

    def dying(self, path):
        save(self, path)
        if self.step == 11:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        folder_of(RUNS[name], "resumed", checkpoint_period=0.0)
    monkeypatch.undo()
    resumed = folder_of(RUNS[name], "resumed")
    assert f"at step 11 of {UPDATES}" in capfd.readouterr().err
    assert model_bytes(resumed) == model_bytes(whole)
    assert rows_without_seconds(resumed) == rows_without_seconds(whole)
    assert resumed.ledger["gradient_evaluations"] == whole.ledger["gradient_evaluations"]


def test_a_run_configuration_says_one_length():
    given = {"dataset": "two_moons", "label": "pcd", "method": "pcd"}
    assert RunConfig.model_validate(given).gradient_evaluations == 10_000_000
    assert RunConfig.model_validate(given | {"gradient_evaluations": None}).gradient_evaluations == 10_000_000
    counted = RunConfig.model_validate(given | {"updates": 7})
    assert (counted.updates, counted.gradient_evaluations) == (7, None)
    assert RunConfig.model_validate(counted.model_dump(mode="json")) == counted
    with pytest.raises(ValidationError, match="gradient_evaluations = 5 and updates = 7 each say how long"):
        RunConfig.model_validate(given | {"updates": 7, "gradient_evaluations": 5})
    assert "gradient_evaluations" not in completed(given | {"updates": 7})
    assert completed(given)["gradient_evaluations"] == 6_000_000


def plan(density=None, moons=None, images=None):
    """A config that says so of densities, of one of them, and of images."""
    config = {"methods": {"pcd": {}, "flow_contrastive": {}, "data": {}}}
    config["defaults"] = {kind: said for kind, said in (("density", density), ("images", images)) if said}
    config["datasets"] = {"two_moons": moons or {}, "rings": {}, "digits": {}}
    return make_plan(config, ROOT)


def length(made, dataset):
    settings = made.run_settings(Run(dataset, "pcd", 0))
    return settings["gradient_evaluations"], settings["updates"]


def test_the_later_layer_says_how_long():
    made = plan(density={"updates": 500}, moons={"gradient_evaluations": 10_000})
    assert [length(made, name) for name in ("two_moons", "rings", "digits")] == [(10_000, None), (None, 500), (2_500_000, None)]
    made = plan(density={"gradient_evaluations": 10_000}, moons={"updates": 500})
    assert [length(made, name) for name in ("two_moons", "rings")] == [(None, 500), (10_000, None)]
    made = plan(density={"updates": 500}, moons={"updates": None})
    assert length(made, "two_moons") == (None, 500), "null leaves it to the layer below"
    for name in ("two_moons", "rings"):
        RunConfig.model_validate(made.run_settings(Run(name, "pcd", 0)))


@pytest.mark.parametrize(
    ("said", "place"), [({"moons": {}}, "datasets.two_moons"), ({"density": {}}, "defaults.density"), ({"images": {}}, "defaults.images")]
)
def test_both_in_one_place_are_refused(said, place):
    both = {"updates": 500, "gradient_evaluations": 10_000}
    with pytest.raises(ConfigError, match=f"{place}: gradient_evaluations: 10000 and updates: 500 each say how long") as caught:
        plan(**dict.fromkeys(said, both))
    assert ".".join(caught.value.key) == f"{place}.updates"


def test_what_each_run_comes_to_is_told():
    made = plan(moons={"updates": 500})
    found = list(check_runs(made))
    of_moons = {one.label: one for one in found if one.dataset == "two_moons"}
    assert (of_moons["pcd"].updates, of_moons["flow_contrastive"].updates, of_moons["data"].updates) == (500, 500, 0)
    per_update = of_moons["pcd"].cost // 500
    assert of_moons["pcd"].cost == 500 * per_update and of_moons["flow_contrastive"].cost is None
    text = summary(made, found)
    assert f"parameters, {500 * per_update:,} gradient evaluations" in text
    assert "parameters, a random number of gradient evaluations" in text
    assert text.count("gradient evaluations") == 2, "elsewhere the budget says it"


def test_by_hand(monkeypatch, tmp_path):
    taken = []

    class Done(Exception):
        pass

    def train(config, *_):
        taken.append(config)
        raise Done

    monkeypatch.setattr("ebmpipe.training.train", train)
    monkeypatch.setattr("ebmpipe.preparing.ensure_prepared", lambda *_: None)
    common = ["train", "--dataset", "two_moons", "--method", "pcd", "--results", str(tmp_path)]
    for options in (["--updates", "12"], ["--gradient-evaluations", "9000"], []):
        CliRunner().invoke(app, [*common, *options])
    assert [(config.updates, config.gradient_evaluations) for config in taken] == [(12, None), (None, 9000), (None, 6_000_000)]
    refused = CliRunner().invoke(app, [*common, "--updates", "12", "--gradient-evaluations", "9000"])
    assert len(taken) == 3 and "each say how long" in str(refused.exception)
