"""Updates whose cost is random: the budget, the schedule, the history and resume go by what was spent."""

import math

import pytest
from small_runs import COUPLED, DICE, NUTS, PCD, Priced, model_bytes, rows_of, rows_without_seconds, small

from ebmpipe.budget import LOGGED, Budget
from ebmpipe.checkpoint import Checkpoint
from ebmpipe.optimisation import Learner

RUNS = {
    "dice": small(label="dice", settings=PCD | DICE),
    "nuts": small(label="nuts", settings=PCD | NUTS, gradient_evaluations=10_000),
    "unbiased_cd": small(method="unbiased_cd", settings=COUPLED, gradient_evaluations=10_000),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_budget_is_used_up_and_exceeded_by_less_than_one_update(folder_of, name):
    folder = folder_of(RUNS[name])
    ledger, history, budget = folder.ledger, rows_of(folder), RUNS[name].gradient_evaluations
    assert ledger["status"] == "finished"
    # Of fewer updates than the history has rows, every one has its row.
    assert [row["step"] for row in history] == list(range(1, ledger["step"] + 1))
    spent, total = [row["gradient_evaluations"] for row in history], 0.0
    for row, so_far in zip(history, spent, strict=True):
        total += row["cost"]
        assert so_far == total
    assert len({row["cost"] for row in history}) > 1
    assert ledger["gradient_evaluations"] == spent[-1] >= budget > spent[-2]
    assert ledger["iterations"] == ledger["step"]


def test_flops_are_those_of_what_was_spent(folder_of):
    """As for a fixed cost in test_training.py, with as many chain gradients as the dice said."""
    ledger = folder_of(RUNS["dice"]).ledger
    layers, head = 2 * (2 * 8 + 8 * 8), 2 * 8
    loss = 32 * (layers + head) + 32 * (2 * (layers - 2 * 2 * 8) + 2 * 2 * 8 + 2 * head)
    in_chains = ledger["gradient_evaluations"] - 32 * ledger["step"]
    assert ledger["training_flops"] == ledger["step"] * loss + in_chains * 2 * layers


def test_the_learning_rate_follows_what_is_spent(folder_of, monkeypatch):
    seen, update = [], Learner.update

    def watched(self, gradients):
        seen.append(self.learning_rate())
        update(self, gradients)

    monkeypatch.setattr(Learner, "update", watched)
    history = rows_of(folder_of(RUNS["dice"]))
    before = [0.0, *(row["gradient_evaluations"] for row in history[:-1])]
    peak, budget = 2e-3, RUNS["dice"].gradient_evaluations
    assert seen == pytest.approx([peak * 0.5 * (1 + math.cos(math.pi * spent / budget)) for spent in before])


@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("stop", [1, 7, "last"])
def test_resume_is_exact(folder_of, monkeypatch, capfd, name, stop):
    whole = folder_of(RUNS[name], "whole")
    stop, save = whole.ledger["step"] if stop == "last" else stop, Checkpoint.save

    def dying(self, path):
        save(self, path)
        if self.step == stop:
            raise KeyboardInterrupt

    monkeypatch.setattr(Checkpoint, "save", dying)
    with pytest.raises(KeyboardInterrupt):
        folder_of(RUNS[name], "resumed", checkpoint_period=0.0)
    monkeypatch.undo()
    spent = int(rows_of(whole)[stop - 1]["gradient_evaluations"])
    resumed = folder_of(RUNS[name], "resumed")
    assert f"at step {stop}, {spent} of {RUNS[name].gradient_evaluations} gradient evaluations spent" in capfd.readouterr().err
    assert model_bytes(resumed) == model_bytes(whole)
    assert rows_without_seconds(resumed) == rows_without_seconds(whole)
    for key in ("training_flops", "gradient_evaluations", "step", "iterations", "statistics"):
        assert resumed.ledger[key] == whole.ledger[key]


def test_the_ledger_tells_when_pairs_met(folder_of):
    folder = folder_of(RUNS["unbiased_cd"])
    statistics = folder.ledger["statistics"]
    assert sum(times["pairs"] for times in statistics["meeting_times"]) + statistics["unmet"] == 16 * folder.ledger["step"]
    assert folder_of(RUNS["dice"]).ledger["statistics"] == {}


@pytest.mark.parametrize("updates", [1, 7, 199, 200, 201, 399, 400, 1000])
def test_of_a_fixed_cost_the_clock_counts_updates(updates):
    budget = Budget(Priced(10, at_start=5), 5 + 10 * updates + 9)
    assert (budget.size, budget.iterations) == (updates, updates)
    period = max(1, updates // LOGGED)
    for step in range(updates):
        assert not budget.exhausted
        assert budget.fraction == step / updates
        report = {"loss": 0.0}
        assert budget.pay(report) == ((step + 1) % period == 0 or step + 1 == updates)
        assert report == {"loss": 0.0}
    assert budget.exhausted
    assert (budget.spent, budget.updates) == (5 + 10 * updates, updates)


def test_of_a_random_cost_it_counts_gradient_evaluations():
    budget, costs, logged = Budget(Priced(10, at_start=5, random_cost=True), 100_005), [7, 1, 23, 9], 0
    while not budget.exhausted:
        assert budget.fraction == (budget.spent - 5) / 100_000
        cost = costs[budget.updates % 4]
        logged += budget.pay({"gradient_evaluations": cost})
    assert 100_005 <= budget.spent < 100_005 + 23
    assert budget.updates == budget.iterations == 10_000
    assert budget.position == budget.size
    assert logged == LOGGED


def test_a_budget_that_setting_up_uses_up_is_refused():
    with pytest.raises(ValueError, match="does not pay for one update of priced, which costs 10 after 5"):
        Budget(Priced(10, at_start=5, random_cost=True), 5)
    assert Budget(Priced(10, at_start=5, random_cost=True), 6).iterations == 1
    with pytest.raises(ValueError, match="does not pay for one update of priced"):
        Budget(Priced(10, at_start=5), 14)
