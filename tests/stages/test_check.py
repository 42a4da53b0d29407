"""`ebmpipe check`: what only the code of a method, network or kernel knows of a config is said before anything runs."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ebmpipe.checking import ConfigError
from ebmpipe.planning import Plan
from ebmpipe.validating import check_runs, make_plan, summary

ROOT = Path(__file__).parents[2]
DENSITY = {"methods": {"pcd": {}}, "datasets": {"eight_gaussians": {}}}
DIGITS = {"methods": {"dsm": {}}, "datasets": {"digits": {}}}


def checked(config):
    return list(check_runs(make_plan(config, ROOT)))


def with_settings(config, **settings):
    return config | {"methods": {label: {"settings": settings} for label in config["methods"]}}


def test_updates_and_parameters_are_those_of_the_runs():
    ula = {"name": "ula", "settings": {"step_size": 0.1}}
    config = DENSITY | {"methods": {"data": {}, "pcd": {"settings": {"batch_size": 256, "steps": 10, "kernel": ula}}}}
    config |= {"defaults": {"density": {"gradient_evaluations": 256 * 12 * 7 + 5, "network": {"settings": {"width": 8, "depth": 1}}}}}
    plan = make_plan(config | {"seeds": [3, 5]}, ROOT)
    data, pcd = check_runs(plan)
    assert (data.updates, data.parameters) == (0, 0)
    # Ten steps of one gradient, positives and negatives; an MLP 2 → 8 → 1 whose every layer has an offset.
    assert (pcd.updates, pcd.parameters, pcd.seeds) == (7, 2 * 8 + 8 + 8 + 1, [3, 5])
    text = summary(plan, [data, pcd])
    assert "eight_gaussians: seeds 3, 5" in text and "7 updates" in text and "4 runs" in text


CONTRADICTIONS = [
    (with_settings(DENSITY, chains=100, batch_size=256), r"pcd on eight_gaussians.*pcd needs at least as many chains.*100 < 256"),
    (with_settings(DIGITS, batch_size=1500), r"dsm on digits cannot be trained: batch_size 1500 exceeds the \d+ training examples"),
    (DENSITY | {"defaults": {"density": {"gradient_evaluations": 10}}}, r"gradient_evaluations = 10 does not pay for one update of pcd"),
    (
        DIGITS | {"defaults": {"images": {"network": {"name": "conv", "settings": {"widths": [4] * 9}}}}},
        r"dsm on digits cannot be trained: RuntimeError: .*padded input size",
    ),
    (DIGITS | {"methods": {"mine": {"method": "tilted_method:Nothing"}}}, r"mine on digits.*cannot import 'tilted_method:Nothing'"),
    (DIGITS | {"defaults": {"images": {"network": {"name": "tilted_method:Gone"}}}}, r"dsm on digits.*cannot import 'tilted_method:Gone'"),
    (
        DENSITY | {"methods": {"mine": {"method": "tilted_method:Tilted", "settings": {"ratoi": 2}}}},
        r"'ratoi' is unknown\. Did you mean 'ratio'",
    ),
    (DENSITY | {"methods": {"mine": {"method": "tilted_method:Tilted"}}}, r"mine on eight_gaussians.*requires backbone; given: none"),
    (DENSITY | {"methods": {"mine": {"method": "tilted_method:Reference"}}}, r"'tilted_method:Reference' is none of the methods"),
    (with_settings(DENSITY, chains=10**15), r"pcd on eight_gaussians cannot be trained: RuntimeError: .*memory"),
]


def test_a_step_size_that_cannot_be_adapted_is_told():
    sampling = {"adaptation_steps": 10, "kernel": {"name": "ula", "settings": {"step_size": 0.1}}}
    with pytest.raises(ConfigError, match=r"datasets\.eight_gaussians\.sampling\.kernel: the step size of ula cannot be adapted") as caught:
        checked(DENSITY | {"defaults": {"density": {"sampling": sampling}}})
    assert caught.value.key == ("datasets", "eight_gaussians")


@pytest.mark.parametrize(("config", "message"), CONTRADICTIONS, ids=range(len(CONTRADICTIONS)))
def test_what_only_the_code_knows_is_said(config, message, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "own"))
    with pytest.raises(ConfigError, match=message) as caught:
        checked(config)
    assert caught.value.key[0] == "methods"
    assert "\n" not in str(caught.value)


def test_a_metric_that_means_nothing_on_the_data_is_refused():
    config = DENSITY | {"methods": {"data": {}}, "datasets": {"eight_gaussians": {"evaluation": {"metrics": ["mmd", "frechet"]}}}}
    with pytest.raises(
        ConfigError, match=r"eight_gaussians\.evaluation\.metrics: frechet means nothing on eight_gaussians, which is density"
    ):
        checked(config)


def test_required_runs_are_made_untrained(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "own"))
    mine = {"method": "tilted_method:Tilted", "requires": {"backbone": "dsm"}}
    assert [one.label for one in checked(DENSITY | {"methods": {"mine": mine, "dsm": {}}})] == ["mine", "dsm"]


def ebmpipe(*arguments, piped=None, folder=ROOT):
    command = [sys.executable, "-m", "ebmpipe.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, input=piped, cwd=folder, check=False)


def test_the_command_names_file_line_and_label(tmp_path):
    (tmp_path / "my.yaml").write_text("datasets: {eight_gaussians: {}}\nmethods:\n  pcd: {settings: {chains: 100}}\n")
    done = ebmpipe("check", "my.yaml", "--project", ROOT, folder=tmp_path)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("ebmpipe: my.yaml, line 3: pcd on eight_gaussians cannot be trained: ")
    assert done.stderr.count("\n") == 1
    done = ebmpipe("check", "my.yaml", folder=tmp_path)
    assert done.returncode == 1 and "say --project" in done.stderr
    (tmp_path / "my.yaml").write_text("a: [\n")
    done = ebmpipe("check", "--syntax", "my.yaml", folder=tmp_path)
    assert done.returncode == 1 and "ebmpipe: my.yaml, line 2, column 1: not valid YAML" in done.stderr
    done = ebmpipe("check", "-", piped=yaml.safe_dump(DENSITY))
    assert done.returncode == 0 and "1,0" not in done.stderr and "2 runs; nothing wrong was found" in done.stdout


BY_HAND = [
    (["--settings", {"stepz": 3}], "PCDConfig: 'stepz' is unknown. Did you mean 'steps'? Valid: batch_size, "),
    (["--settings", {"steps": "a"}], "PCDConfig.steps: input should be a valid integer"),
    (["--settings", {"kernel": {"nme": "ula"}}], "PCDConfig.kernel: 'nme' is unknown. Did you mean 'name'? Valid: name, settings"),
    (["--settings", {"optimiser": {"learning_rat": 1}}], "PCDConfig.optimiser: 'learning_rat' is unknown. Did you mean 'learning_rate'?"),
    (["--settings", {"kernel": {"name": "ula", "settings": {"step_siz": 1}}}], "'step_siz' is unknown. Did you mean 'step_size'?"),
    (["--network", {"name": "mlp", "settings": {"widht": 1}}], "MLPConfig: 'widht' is unknown. Did you mean 'width'?"),
]


@pytest.mark.parametrize(("options", "message"), BY_HAND, ids=range(len(BY_HAND)))
def test_a_wrong_setting_by_hand_is_one_line(tmp_path, monkeypatch, capsys, options, message):
    from ebmpipe import cli

    (tmp_path / "data/eight_gaussians").mkdir(parents=True)
    arguments = [json.dumps(option) if isinstance(option, dict) else option for option in options]
    given = ["ebmpipe", "train", "--dataset", "eight_gaussians", "--method", "pcd", "--results", str(tmp_path), *arguments]
    monkeypatch.setattr(sys, "argv", given)
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 1
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("ebmpipe: ") and message in last
    assert "pydantic" not in last and "type=" not in last


def test_a_plan_is_checked_once_for_all_seeds():
    plan = make_plan(DENSITY | {"seeds": list(range(50))}, ROOT)
    assert isinstance(plan, Plan) and len(plan.runs) == 50
    assert len(list(check_runs(plan))) == 1
