"""Every way to get a config wrong, made by rule from valid ones: each is refused by name, or is truly harmless."""

from __future__ import annotations

import copy
import functools
import json
import math
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from spelt_out import spelt_out

from ebmpipe import registry
from ebmpipe.checking import ConfigError
from ebmpipe.config import EvaluationConfig, RunConfig, SamplingConfig
from ebmpipe.loading import resolve
from ebmpipe.methods.base import build_kernel
from ebmpipe.planning import Plan

ROOT = Path(__file__).parents[2]
SCHEMA, CATALOGUE = (json.loads((ROOT / "workflow/schemas" / f"{name}.json").read_text()) for name in ("config.schema", "catalogue"))

#: Every key that there is, at least once.
EVERYTHING = """
results: results/everything
raw_data: null
seeds: [0, 1]
methods:
  data: {}
  noise:
  slow: {method: pcd, settings: {steps: 30, chains: 300, restart: 0.1, kernel: {name: ula, settings: {step_size: 0.1, noise_scale: 0.1}}}}
  nce: {settings: {ratio: 2, noise_width: 1.5}}
  dsm:
    settings:
      sigma: 0.2
      batch_size: 128
      data_noise: 0.1
      optimiser:
        learning_rate: 0.001
        betas: [0.9, 0.99]
        epsilon: 1.0e-9
        weight_decay: 0.01
        schedule: constant
        warmup: 10
        gradient_clip: 1.0
        average_decay: 0.99
        loss_bound: 1.0e+5
        gradient_bound: 1.0e+5
        energy_bound: 1.0e+5
defaults:
  density:
    gradient_evaluations: 100_000
    network: {name: mlp, settings: {width: 16, depth: 2, gain: 2.0}}
    sampling: {n: 100, steps: 10, kernel: {name: mala, settings: {step_size: 0.2}}, denoise: true, energy_bound: 1.0e+7}
    evaluation: {metrics: [mmd, quadrature], grid: 40}
    settings: {nce: {batch_size: 64}}
  images:
    network: {name: conv, settings: {widths: [4, 8]}}
    seeds: [0]
datasets:
  eight_gaussians:
    labels: [data, slow, nce, dsm]
    seeds: [0, 2]
    settings: {slow: {kernel: {settings: {step_size: 0.2}}}, nce: {ratio: 3}}
  digits:
    optional: false
    labels: [noise, dsm]
    gradient_evaluations: 60_000
    sampling: {kernel: {name: ula, settings: {step_size: 0.3, noise_scale: 0.2}}}
    evaluation: {metrics: null, grid: 30}
  two_moons:
"""
CONFIGS = {"default": spelt_out(), "everything": yaml.safe_load(EVERYTHING)}

#: Keys whose entries are named by the user, or by the code: a misspelt one is another name.
NAMES = {"methods", "datasets", "defaults", "settings", "requires"}
VALUES: list[Any] = [None, True, 0, -1, 7, 0.5, 3.0, 1e30, 10**400, math.nan, math.inf, "", "x", "1e-3", "a b", b"x", [], ["x"], [1, 1], {}]
VALUES += [{"x": 1}, {1: 2}, {True: 1}, {None: {}}, [[]], [None], {"x": {"x": {"x": None}}}]


def places(value: Any, key: tuple = ()):
    """Every key and list position below ``value``."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, item in items:
        yield (*key, name)
        yield from places(item, (*key, name))


def holder(config: Any, key: tuple) -> Any:
    for name in key[:-1]:
        config = config[name]
    return config


def changed(config: dict, key: tuple, value: Any) -> dict:
    result = copy.deepcopy(config)
    holder(result, key)[key[-1]] = copy.deepcopy(value)
    return result


def without(config: dict, key: tuple) -> dict:
    result = copy.deepcopy(config)
    del holder(result, key)[key[-1]]
    return result


def renamed(config: dict, key: tuple, name: str) -> dict:
    result = copy.deepcopy(config)
    above = holder(result, key)
    entries = [(name if old == key[-1] else old, value) for old, value in above.items()]
    above.clear()
    above.update(entries)
    return result


def misspelt(name: str) -> str:
    """Two neighbours swapped where that makes a difference, else one letter doubled."""
    swapped = name[:1] + name[2:3] + name[1:2] + name[3:]
    return swapped if swapped != name and len(name) > 3 else name + name[-1]


def outcome(config: dict) -> ConfigError | None:
    """What a config is told; None if it can be run, which is then proved with the models that the jobs use."""
    try:
        plan = Plan(copy.deepcopy(config), SCHEMA, CATALOGUE)
    except ConfigError as error:
        return error
    for run in plan.runs:
        prove_run(json.dumps(plan.run_settings(run), allow_nan=False))
        assert type(run.seed) is int
    for dataset in plan.datasets:
        prove_stages(json.dumps(plan.sampling_settings(dataset)), json.dumps(plan.evaluation_settings(dataset)))
    return None


@functools.cache
def prove_run(settings: str) -> None:
    resolved = resolve(RunConfig.model_validate(json.loads(settings))).model_dump(mode="json")
    assert resolved == json.loads(settings), "a job would be told something else than the plan"


@functools.cache
def prove_stages(sampling: str, evaluation: str) -> None:
    build_kernel(SamplingConfig.model_validate(json.loads(sampling)).kernel)
    for name in EvaluationConfig.model_validate(json.loads(evaluation)).metrics or []:
        registry.load("metrics", name)


def related(one: tuple, other: tuple) -> bool:
    return one[: len(other)] == other or other[: len(one)] == one


def test_the_configs_to_start_from_are_valid():
    for config in CONFIGS.values():
        assert outcome(config) is None


@pytest.mark.parametrize("name", CONFIGS)
def test_every_misspelt_key_is_named_with_the_right_one(name):
    config, count = CONFIGS[name], Counter()
    for key in places(config):
        if not isinstance(key[-1], str):
            continue
        wrong = misspelt(key[-1])
        error = outcome(renamed(config, key, wrong))
        if error is None:
            # A label with a method of its own may have any name that nothing refers to, and a composition any name at all.
            named = len(key) == 2 and (
                key[0] == "compositions" or (key[0] == "methods" and (config["methods"][key[-1]] or {}).get("method"))
            )
            assert named, key
            count["harmless"] += 1
            continue
        text = str(error)
        if key[0] == "methods" and len(key) == 2 and f"Did you mean {key[-1]!r}" not in text:
            # Where other places refer to the label, one of them is named, and the misspelt label is the nearest.
            assert repr(key[-1]) in text and f"Did you mean {wrong!r}" in text, text
        else:
            assert repr(wrong) in text, text
            assert f"Did you mean {key[-1]!r}" in text, text
            assert error.key == (*key[:-1], wrong), (key, error.key, text)
        count["refused"] += 1
    assert count["refused"] > 50


@pytest.mark.parametrize("name", CONFIGS)
def test_every_misspelt_name_is_named_with_the_right_one(name):
    config, count = CONFIGS[name], 0
    for key in places(config):
        value = holder(config, key)[key[-1]]
        if isinstance(value, str) and key != ("results",):
            error = outcome(changed(config, key, misspelt(value)))
            assert error is not None, key
            assert repr(misspelt(value)) in str(error) and f"Did you mean {value!r}" in str(error), str(error)
            assert error.key == key, (key, str(error))
            count += 1
    assert count


@pytest.mark.parametrize("name", CONFIGS)
def test_every_wrong_value_is_named(name):
    config, count = CONFIGS[name], Counter()
    for key in places(config):
        before = holder(config, key)[key[-1]]
        for value in VALUES:
            error = outcome(changed(config, key, value))
            if error is None:
                count["harmless"] += 1
                continue
            count["refused"] += 1
            text = str(error)
            assert len(text) < 600 and "\n" not in text, text
            # The value itself is to blame; where it was a name that other places use, one of those may be named.
            reference = isinstance(before, str) or key[0] in ("methods", "datasets") or "labels" in key
            assert related(error.key, key) or (reference and error.key), (key, value, error.key, text)
            assert ".".join(map(str, error.key[:-1])) in text or ".".join(map(str, error.key)) in text, (key, value, text)
            if value == "1e-3" and isinstance(before, float):
                assert "write 1.0e-3" in text, text
            if value == 3.0 and isinstance(value, float) and isinstance(before, int) and not isinstance(before, bool):
                assert "write 3" in text or re.search("below the minimum of (4|8|16|20)$", text), text
    assert count["refused"] > 500


@pytest.mark.parametrize("name", CONFIGS)
def test_a_key_that_is_missing_is_harmless_or_named(name):
    config, count = CONFIGS[name], Counter()
    for key in places(config):
        error = outcome(without(config, key))
        count["harmless" if error is None else "refused"] += 1
        if error is not None:
            value = holder(config, key)[key[-1]]
            about = [repr(key[-1]), repr(value)] if isinstance(value, str) else [repr(key[-1])]
            # Where a data set goes, labels that ran on it alone run nowhere, which the settings of its kind may speak of.
            lonely = key[0] == "datasets" and "runs on no data set of this kind" in str(error)
            assert any(one in str(error) for one in about) or related(error.key, key[:-1]) or lonely, (key, str(error))
    assert count["refused"] >= 2
    for name_ in ("methods", "datasets"):
        assert f"{name_!r} is a required key" in str(outcome(without(config, (name_,))))


@pytest.mark.parametrize("name", CONFIGS)
def test_a_key_in_the_wrong_place_is_named(name):
    config, count = CONFIGS[name], Counter()
    mappings = [(), *[key for key in places(config) if isinstance(holder(config, key)[key[-1]], dict)]]
    for key in places(config):
        if not isinstance(key[-1], str) or len(key) < 3:
            continue
        # One level or several too high, or one too low: below a neighbour.
        for target in (one for one in mappings if one == key[: len(one)] or one[:-1] == key[:-1]):
            moved = without(config, key)
            try:
                onto = holder(moved, (*target, None))
            except KeyError:
                continue
            if onto is None or key[-1] in onto:
                continue
            onto[key[-1]] = holder(config, key)[key[-1]]
            error = outcome(moved)
            count["harmless" if error is None else "refused"] += 1
            if error is not None:
                elsewhere = key[-1] == "labels" and ("does not run on" in str(error) or "runs on no" in str(error))
                named = repr(key[-1]) in str(error) or key[-1] in error.key or related(error.key, key[:-1])
                assert named or elsewhere, (key, target, str(error))
    assert count["refused"] > 100
