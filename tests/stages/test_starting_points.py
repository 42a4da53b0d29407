"""A run by hand starts where the default comparison does, and the workflow takes nothing from there."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ebmpipe.cli import app
from ebmpipe.config import RunConfig, SamplingConfig
from ebmpipe.loading import resolve
from ebmpipe.planning import Plan, Run
from ebmpipe.starting_points import announced, completed, starting_point

ROOT = Path(__file__).parents[2]
PLAN = Plan(
    yaml.safe_load((ROOT / "config/config.yaml").read_text()),
    *(json.loads((ROOT / f"workflow/schemas/{name}.json").read_text()) for name in ("config.schema", "catalogue")),
)
PAIRS = [(dataset, label) for dataset, labels in PLAN.labels.items() for label in labels]


@pytest.mark.parametrize(("dataset", "label"), PAIRS)
def test_by_hand_is_as_in_the_default_comparison(dataset, label):
    planned = PLAN.run_settings(Run(dataset, label, 0))
    given = {"dataset": dataset, "label": label, "method": label}
    assert resolve(RunConfig.model_validate(completed(given))) == resolve(RunConfig.model_validate(planned))


@pytest.mark.parametrize("dataset", list(PLAN.datasets))
def test_so_is_sampling(dataset):
    assert SamplingConfig.model_validate(starting_point(dataset)["sampling"]).model_dump(mode="json") == PLAN.sampling_settings(dataset)


@pytest.mark.parametrize(("dataset", "label"), PAIRS)
def test_the_workflow_says_everything_itself(dataset, label):
    planned = PLAN.run_settings(Run(dataset, label, 0))
    changed = {**planned, "network": {"name": "mlp", "settings": {"width": 8}}, "gradient_evaluations": 7}
    for settings in (planned, changed):
        assert resolve(RunConfig.model_validate(completed(settings))) == resolve(RunConfig.model_validate(settings))
        assert announced(settings) == []


def test_what_is_given_wins_and_what_is_not_is_told():
    given = {"dataset": "digits", "label": "pcd", "method": "pcd", "settings": {"data_noise": 0.1}}
    assert completed(given)["settings"]["data_noise"] == 0.1
    assert completed(given)["settings"]["chains"] == 400
    assert len(told := announced(given)) == 2
    assert '"chains": 400' in told[0] and "data_noise" not in told[0]
    assert '"width": 256' in told[1]


def test_sampling_by_hand_is_overruled_by_what_is_given(monkeypatch):
    taken = []
    monkeypatch.setattr("ebmpipe.sampling.sample", lambda folder, data, config, device: taken.append(config))
    for given in ([], ["--settings", '{"steps": 7}']):
        assert CliRunner().invoke(app, ["sample", "--dataset", "digits", "--label", "pcd", *given]).exit_code == 0
    assert [(config.n, config.steps, config.denoise) for config in taken] == [(397, 1000, True), (397, 7, True)]
