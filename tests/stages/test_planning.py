"""Which runs follow from a config, and what a bad one is told."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ebmpipe import catalogue as catalogue_module
from ebmpipe.config import EvaluationConfig, RunConfig, SamplingConfig
from ebmpipe.planning import ConfigError, Plan, Run, merged

ROOT = Path(__file__).parents[2]
SCHEMAS = ROOT / "workflow/schemas"
SCHEMA, CATALOGUE = (json.loads((SCHEMAS / name).read_text()) for name in ("config.schema.json", "catalogue.json"))
CONFIGS = sorted([*ROOT.glob("config/*.yaml"), *ROOT.glob("tests/workflow/*.yaml")])


def default():
    return yaml.safe_load((ROOT / "config/config.yaml").read_text())


def plan(config):
    return Plan(config, SCHEMA, CATALOGUE)


def test_schema_and_catalogue_are_up_to_date():
    for name, text in catalogue_module.texts().items():
        assert (ROOT / name).read_text() == text, f"{name} is stale: run `ebmpipe schema`"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.name)
def test_every_config_of_the_project_is_valid(path):
    made = plan(yaml.safe_load(path.read_text()))
    assert made.runs
    for run in made.runs:
        RunConfig.model_validate(made.run_settings(run))
    for dataset in made.datasets:
        SamplingConfig.model_validate(made.sampling_settings(dataset))
        EvaluationConfig.model_validate(made.evaluation_settings(dataset))


def test_the_default_compares_every_method_on_eight_gaussians_on_two_seeds():
    made = plan(default())
    assert set(made.labels["eight_gaussians"]) >= set(CATALOGUE["methods"])
    assert len(made.seeds["eight_gaussians"]) == 2


def test_planning_imports_no_torch():
    code = "import ebmpipe.planning, ebmpipe.cli, sys; assert not {'torch', 'pandas', 'matplotlib', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_method_has_the_same_network_and_budget():
    made = plan(default())
    settings = [made.run_settings(Run("eight_gaussians", label, 0)) for label in made.labels["eight_gaussians"]]
    for key in ("network", "gradient_evaluations"):
        assert len({json.dumps(s[key], sort_keys=True) for s in settings}) == 1


def test_a_change_reaches_only_the_runs_it_concerns():
    before, config = plan(default()), default()
    config["methods"]["pcd"] = {"settings": {"steps": 7}}
    after = plan(config)
    changed = {run for run in before.runs if before.run_settings(run) != after.run_settings(run)}
    assert {run.label for run in changed} == {"pcd"}
    config = default()
    config["seeds"] = [0, 1, 2]
    assert set(plan(config).runs) >= set(before.runs)
    config["datasets"]["digits"]["sampling"] = {"steps": 3}
    assert all(plan(config).run_settings(run) == before.run_settings(run) for run in before.runs)


def test_a_revision_or_default_is_part_of_a_run():
    newer = copy.deepcopy(CATALOGUE)
    newer["methods"]["pcd"]["revision"] += 1
    newer["methods"]["nce"]["defaults"]["ratio"] += 1
    before, after = plan(default()), Plan(default(), SCHEMA, newer)
    changed = {run.label for run in before.runs if before.run_settings(run) != after.run_settings(run)}
    assert changed == {"pcd", "nce"}


def test_members_of_the_users_own_are_named_by_import_path(tmp_path, monkeypatch):
    (tmp_path / "mine.py").write_text("revision = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    config = default()
    config["methods"]["own"] = {"method": "mine:Method", "settings": {"anything": 1}}
    config["datasets"] = {"eight_gaussians": {"network": {"name": "mine:Network", "settings": {"size": 3}}}}
    settings = plan(config).run_settings(Run("eight_gaussians", "own", 0))
    assert settings["network"] == {"name": "mine:Network", "settings": {"size": 3}}
    before = settings["revisions"]["source:mine"]
    (tmp_path / "mine.py").write_text("revision = 2")
    assert plan(config).run_settings(Run("eight_gaussians", "own", 0))["revisions"]["source:mine"] != before


def test_settings_are_laid_over_each_other():
    config = default()
    config["methods"]["slow"] = {"method": "pcd", "settings": {"steps": 3, "optimiser": {"learning_rate": 0.1}}}
    config["datasets"]["eight_gaussians"] = {"settings": {"slow": {"steps": 4}}}
    settings = plan(config).run_settings(Run("eight_gaussians", "slow", 0))["settings"]
    assert settings["steps"] == 4
    assert settings["optimiser"]["learning_rate"] == 0.1
    assert settings["optimiser"]["schedule"] == "cosine"


def test_a_member_of_another_name_replaces_the_old_one_whole():
    assert merged({"k": {"name": "a", "settings": {"x": 1}}}, {"k": {"name": "b", "settings": {"y": 2}}}) == {
        "k": {"name": "b", "settings": {"y": 2}}
    }
    assert merged({"k": {"name": "a", "x": 1}}, {"k": {"x": 2}}) == {"k": {"name": "a", "x": 2}}


BAD = [
    (lambda c: c.update(sede=[1]), r"'sede'.*Did you mean 'seeds'"),
    (lambda c: c["datasets"].update(eight_gausians={}), r"datasets: 'eight_gausians'.*Did you mean 'eight_gaussians'"),
    (lambda c: c["methods"].update(pdc={}), r"methods\.pdc: 'pdc'.*Did you mean 'pcd'"),
    (lambda c: c["methods"].update(mine={"method": "nope"}), r"methods\.mine\.method: 'nope' is unknown.*Valid: "),
    (lambda c: c["methods"]["pcd"].update(settings={"stepz": 3}), r"methods\.pcd\.settings.*'stepz'.*Did you mean 'steps'"),
    (lambda c: c["methods"]["pcd"].update(settings={"steps": 0}), r"methods\.pcd\.settings.*steps.*minimum"),
    (lambda c: c["methods"]["pcd"].update(settings={"kernel": {"name": "ulla"}}), r"kernel\.name: 'ulla'.*Did you mean 'ula'"),
    (lambda c: c["methods"]["pcd"].update(settings={"kernel": {"name": "mala", "settings": {"stepsize": 1}}}), r"Did you mean 'step_size'"),
    (lambda c: c["datasets"].update(digits={"labels": ["nada"]}), r"datasets\.digits\.labels: 'nada'"),
    (lambda c: c["datasets"].update(digits={"settings": {"pdc": {}}}), r"datasets\.digits\.settings: 'pdc'.*Did you mean 'pcd'"),
    (lambda c: c["methods"].pop("dsm"), r"defaults\.density\.settings: 'dsm'"),
    (lambda c: c["datasets"].update(digits={"network": {"name": "mpl"}}), r"network\.name: 'mpl'.*Did you mean 'mlp'"),
    (lambda c: c["datasets"].update(digits={"sampling": {"step": 3}}), r"sampling: 'step'.*Did you mean 'steps'"),
    (lambda c: c["datasets"].update(digits={"evaluation": {"metrics": ["nmd"]}}), r"evaluation\.metrics: 'nmd'"),
    (lambda c: c.update(seeds=[-1]), r"seeds\.0: -1"),
    (lambda c: c.update(seeds=[0, 0]), r"seeds: \[0, 0\] has non-unique"),
    (lambda c: c["datasets"].update(digits={"seeds": [1, 1]}), r"datasets\.digits\.seeds.*non-unique"),
    (lambda c: c["methods"].update(DSM={"method": "dsm"}), r"methods: 'DSM' is no id: lower-case"),
    (lambda c: c["datasets"].update({"my-set": {}}), r"datasets: 'my-set' is no id"),
    (lambda c: c["methods"]["pcd"].update(settings={"kernel": {"name": "ula", "settings": {"step_size": -1}}}), r"step_size: -1"),
    (lambda c: c["methods"]["pcd"].update(settings={"kernel": {"name": "ula", "settings": {}}}), r"'step_size' is a required"),
    (lambda c: c["methods"]["pcd"].update(settings={"optimiser": {"betas": [0.9, 5]}}), r"betas\.1: 5"),
    (lambda c: c["methods"].update(mine={"method": "nowhere_at_all:Mine"}), r"methods\.mine\.method: there is no module 'nowhere_at_all'"),
    (lambda c: c.update(raw_data="/nowhere", datasets={"mnist": {}}), r"datasets\.mnist: train-images.*/nowhere/mnist.*optional: true"),
]


@pytest.mark.parametrize(("change", "message"), BAD)
def test_a_bad_config_is_told_what_is_wrong(change, message):
    config = default()
    change(config)
    with pytest.raises(ConfigError, match=message):
        plan(config)
