"""Runs of so many floating-point operations: as many updates as those pay for, by what the first one takes."""

from pathlib import Path

import pytest
from pydantic import ValidationError
from small_runs import COUPLED, NUTS, PCD, model_bytes, rows_without_seconds, small

from ebmpipe.budget import LENGTHS
from ebmpipe.checking import ConfigError
from ebmpipe.config import RunConfig
from ebmpipe.data.finding import find
from ebmpipe.data.prepared import Prepared
from ebmpipe.loading import make_run, resolve
from ebmpipe.planning import Run
from ebmpipe.pricing import flops_per_update, updates_for
from ebmpipe.validating import check_runs, make_plan, summary

ROOT = Path(__file__).parents[2]
FEW = {"batch_size": 16, "latent": 2, "decoder": {"width": 8}, "encoder": {"width": 8}, "posterior_steps": 2}
RUNS = {
    "pcd": small(),
    "nce": small(method="nce"),
    "dual_mcmc": small(method="dual_mcmc", settings=FEW | {"steps": 2}),
    "vae": small(method="vae", settings={"batch_size": 16}),
    "generator_abp": small(method="generator_abp", settings={key: value for key, value in FEW.items() if key != "encoder"}),
}


def lasting(config, **length):
    """The same run, as long as ``length`` says."""
    return RunConfig.model_validate(config.model_dump(mode="json") | dict.fromkeys(LENGTHS) | length)


def new(config, prepared):
    """Its method, untrained, and its data."""
    folder = prepared[config.dataset]
    data = Prepared(folder, config.dataset)
    return make_run(resolve(config, find(config.dataset, folder)), data, folder.parent, "cpu"), data.spec


@pytest.mark.parametrize("name", RUNS)
def test_a_first_update_of_made_up_examples_takes_what_training_counts(folder_of, prepared, name):
    each = flops_per_update(*new(RUNS[name], prepared))
    assert folder_of(lasting(RUNS[name], updates=7)).ledger["training_flops"] == 7 * each > 0


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_the_one_of_as_many_updates_as_are_paid_for(folder_of, prepared, name):
    each = flops_per_update(*new(RUNS[name], prepared))
    found = folder_of(lasting(RUNS[name], training_flops=12 * each - 1), "operations")
    same = folder_of(lasting(RUNS[name], updates=11), "updates")
    assert found.ledger["step"] == found.ledger["iterations"] == 11
    assert found.ledger["training_flops"] == 11 * each
    assert model_bytes(found) == model_bytes(same)
    assert rows_without_seconds(found) == rows_without_seconds(same)


@pytest.mark.parametrize("settings", [PCD | NUTS, COUPLED], ids=["nuts", "coupled"])
def test_of_random_costs_the_first_is_a_draw(folder_of, prepared, settings):
    config = small(label="random", method="unbiased_cd" if settings is COUPLED else "pcd", settings=settings)
    each = flops_per_update(*new(config, prepared))
    assert folder_of(lasting(config, training_flops=9 * each)).ledger["step"] == 9


def test_what_cannot_be_paid_is_refused(folder_of, prepared):
    method, spec = new(RUNS["pcd"], prepared)
    with pytest.raises(ValueError, match="training_flops = 1 does not pay for one update of pcd, which costs"):
        updates_for(method, spec, 1)
    control, spec = new(small(method="data", settings={}), prepared)
    assert updates_for(control, spec, 1) == 1
    with pytest.raises(ValueError, match="does not pay for one update"):
        folder_of(lasting(RUNS["pcd"], training_flops=1))
    with pytest.raises(ValidationError, match="updates = 5 and training_flops = 7 each say how long"):
        lasting(RUNS["pcd"], training_flops=7, updates=5)


def plan(**said):
    methods = {"data": {}, "pcd": {}, "jem": {"method": "pcd", "settings": {"cross_entropy": 1}}, "dual_mcmc": {}}
    return make_plan({"methods": methods, "datasets": {"digits": said}}, ROOT)


def test_all_methods_train_for_the_same():
    """Of images with labels, by labels and without: within one update of each."""
    asked = 40_000_000_000
    made = plan(training_flops=asked)
    settings = made.run_settings(Run("digits", "pcd", 0))
    assert [settings[length] for length in LENGTHS] == [None, None, asked]
    found = {one.label: one for one in check_runs(made)}
    assert found["data"].updates == 0 and found["dual_mcmc"].updates != found["pcd"].updates
    assert 0.9 * found["pcd"].updates < found["jem"].updates < found["pcd"].updates, "a classifier's last layer has some percent"
    text = summary(made, list(found.values()))
    assert text.count("gradient evaluations") == 3, "where the config does not say what they come to"
    with pytest.raises(ConfigError, match=r"datasets\.digits: updates: 3 and training_flops: 4 each say how long"):
        plan(updates=3, training_flops=4)
    with pytest.raises(ConfigError, match="pcd on digits cannot be trained: training_flops = 5 does not pay for one update"):
        list(check_runs(plan(training_flops=5)))
