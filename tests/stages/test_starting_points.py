"""A run by hand starts where the default comparison does, and what a run says wholly is taken as it is."""

import json
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from ebmpipe import registry
from ebmpipe.catalogue import method_entry
from ebmpipe.checking import ConfigError, check
from ebmpipe.cli import app
from ebmpipe.config import KernelConfig, KindDefaults, LongRunConfig, RunConfig, SamplingConfig
from ebmpipe.layers import merged
from ebmpipe.loading import resolve
from ebmpipe.methods.base import build, build_kernel, settings_of
from ebmpipe.mixing.chains import courses_of
from ebmpipe.planning import Plan, Run
from ebmpipe.spec import DataSpec
from ebmpipe.starting_points import announced, completed, starting_point
from ebmpipe.validating import check_runs

ROOT = Path(__file__).parents[2]
SCHEMA, CATALOGUE = (json.loads((ROOT / f"workflow/schemas/{name}.json").read_text()) for name in ("config.schema", "catalogue"))
PLAN = Plan(yaml.safe_load((ROOT / "config/config.yaml").read_text()), SCHEMA, CATALOGUE)
PAIRS = [(dataset, label) for dataset, labels in PLAN.labels.items() for label in labels]


METHODS = registry.load_all("methods")
BY_KIND = [(name, kind) for name, method in METHODS.items() for kind in method.settings_by_kind]


@pytest.mark.parametrize(("name", "kind"), BY_KIND)
def test_a_methods_own_defaults_are_settings_that_it_has(name, kind):
    method, entry = METHODS[name], PLAN.catalogue["methods"][name]
    assert kind in method.kinds
    resolved = settings_of(method, kind, {}).model_dump(mode="json")
    check(resolved, entry["schema"])
    said = method.settings_by_kind[kind]
    assert merged(resolved, said) == resolved, "what is said of the kind is what holds"
    assert resolved != method.Config().model_dump(mode="json"), "nothing is said twice"
    if "kernel" in resolved:
        build_kernel(KernelConfig.model_validate(resolved["kernel"]))


@pytest.mark.parametrize("name", METHODS)
def test_the_catalogue_carries_them(name):
    assert PLAN.catalogue["methods"][name]["settings_by_kind"] == METHODS[name].settings_by_kind


@pytest.mark.parametrize("name", registry.names("data"))
def test_starting_points_are_what_a_config_may_say(name):
    data, point = registry.load("data", name), starting_point(name)
    assert set(data.starting_point) <= {"network", "sampling", "long_run"}
    KindDefaults.model_validate(point)
    network = registry.load("nets", point["network"]["name"])
    assert data.kind in network.kinds
    network.Config.model_validate(point["network"]["settings"])
    build_kernel(KernelConfig.model_validate(point["sampling"]["kernel"]))
    courses_of(LongRunConfig.model_validate(point["long_run"]))


def test_own_defaults_that_the_method_refuses_are_heard(monkeypatch):
    spec = DataSpec("digits", "images", (1, 8, 8), 0.0, 1.0, 17, 10, None, ROOT)
    monkeypatch.setattr(METHODS["dsm"], "settings_by_kind", {"images": {"sgima": 0.3}})
    with pytest.raises(ValueError, match="sgima"):
        build("dsm", spec)
    with pytest.raises(ConfigError, match=r"dsm on digits cannot be trained.*'sgima' is unknown"):
        list(check_runs(Plan({"methods": {"dsm": {}}, "datasets": {"digits": {}}}, SCHEMA, CATALOGUE | {"methods": catalogued()})))


def catalogued():
    """The catalogue's entries of methods, as the package now is."""
    return {name: method_entry(method) for name, method in METHODS.items()}


def test_building_by_hand_starts_from_the_defaults_of_the_kind():
    plane = DataSpec("eight_gaussians", "density", (2,), 0.0, 1.0, None, None, 1.0, ROOT)
    digits = DataSpec("digits", "images", (1, 8, 8), 0.0, 1.0, 17, 10, None, ROOT)
    assert build("dsm", plane).config.batch_size == 512 and build("dsm", digits).config.sigma == 0.3
    given = build("pcd", digits, {"chains": 450, "kernel": {"settings": {"step_size": 0.1}}}).config
    assert (given.chains, given.batch_size, given.kernel.name, given.kernel.settings) == (450, 100, "ula", {"step_size": 0.1})
    # A configuration, as against a dictionary, leaves nothing open.
    assert build("dsm", digits, METHODS["dsm"].Config()).config.sigma == 0.15


def test_what_is_said_wholly_is_taken_as_it_is(monkeypatch):
    """Of a kernel that the config chose, nothing of the kind's default of the same name shows through."""
    wide = {"kernel": {"name": "ula", "settings": {"step_size": 0.2, "noise_scale": 0.01}}}
    monkeypatch.setattr(METHODS["pcd"], "settings_by_kind", {"images": wide})
    config = settings_of(METHODS["pcd"], "images", {}).model_dump(mode="json")
    assert config["kernel"] == wide["kernel"]
    config["kernel"] = {"name": "ula", "settings": {"step_size": 0.1}}
    assert settings_of(METHODS["pcd"], "images", config).model_dump(mode="json") == config


@pytest.mark.parametrize(("dataset", "label"), PAIRS)
def test_by_hand_is_as_in_the_default_comparison(dataset, label):
    planned = PLAN.run_settings(Run(dataset, label, 0))
    said = PLAN.config["methods"][label]
    given = {"dataset": dataset, "label": label, "method": PLAN.method_of(label)}
    given |= {key: said.get(key, {}) for key in ("settings", "requires")}
    assert resolve(RunConfig.model_validate(completed(given))) == resolve(RunConfig.model_validate(planned))


@pytest.mark.parametrize("dataset", list(PLAN.datasets))
def test_so_is_sampling(dataset):
    assert SamplingConfig.model_validate(starting_point(dataset)["sampling"]).model_dump(mode="json") == PLAN.sampling_settings(dataset)


@pytest.mark.parametrize(("dataset", "label"), PAIRS)
def test_the_workflow_says_everything_itself(dataset, label):
    planned = PLAN.run_settings(Run(dataset, label, 0))
    given = planned["network"]["settings"]
    other = planned["network"] | {"settings": given | ({"width": 8} if "width" in given else {})}
    changed = {**planned, "network": other, "gradient_evaluations": 7}
    for settings in (planned, changed):
        assert resolve(RunConfig.model_validate(completed(settings))) == resolve(RunConfig.model_validate(settings))
        assert announced(settings) == []


def test_what_is_given_wins_and_what_is_not_is_told():
    given = {"dataset": "digits", "label": "pcd", "method": "pcd", "settings": {"data_noise": 0.1}}
    settings = resolve(RunConfig.model_validate(completed(given))).settings
    assert settings["data_noise"] == 0.1 and settings["chains"] == 400
    assert len(told := announced(given)) == 2
    assert '"chains": 400' in told[0] and "data_noise" not in told[0]
    assert '"width": 256' in told[1]


def test_sampling_by_hand_is_overruled_by_what_is_given(monkeypatch):
    taken = []
    monkeypatch.setattr("ebmpipe.sampling.sample", lambda folder, data, config, device: taken.append(config))
    for given in ([], ["--settings", '{"steps": 7}']):
        assert CliRunner().invoke(app, ["sample", "--dataset", "digits", "--label", "pcd", *given]).exit_code == 0
    assert [(config.n, config.steps, config.denoise) for config in taken] == [(397, 1000, True), (397, 7, True)]
