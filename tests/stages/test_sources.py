"""Sample sources: which is primary, what stands beside it, and that metrics and figures look at the right one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import small

from ebmpipe import glance
from ebmpipe.config import EvaluationConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import gradient
from ebmpipe.evaluation import evaluate, gather
from ebmpipe.files import read_arrays
from ebmpipe.loading import load_run
from ebmpipe.metrics.mmd import MMD
from ebmpipe.sampling import sample

#: MALA takes one gradient where chains start and one per step.
N, LONG, SHORT = 60, 7, 3
MALA = {"name": "mala", "settings": {"step_size": 0.2}}


@pytest.fixture
def own(monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "own"))
    return "short_method:Short"


@pytest.fixture
def sampled(folder_of, prepared):
    """Trains a run of a method, samples it, and reads its sources."""

    def run(method, dataset="eight_gaussians", **changes):
        settings = {"batch_size": 16, "data_noise": 0.3 if dataset == "digits" else 0.0}
        folder = folder_of(small(dataset, method, settings=settings, **changes))
        sample(folder, prepared[dataset], SamplingConfig(n=N, steps=LONG, kernel=MALA, denoise=True), "cpu")
        arrays, metadata = read_arrays(folder / "samples.safetensors")
        return folder, arrays, metadata["primary"], json.loads(metadata["made"])

    return run


def test_a_methods_own_samples_are_primary_and_long_chains_stand_beside(sampled, own):
    folder, arrays, primary, made = sampled(own)
    assert primary == "three_steps" and set(arrays) == {"three_steps", "long_run"} == set(made)
    assert {x.shape for x in arrays.values()} == {(N, 2)} and not np.array_equal(arrays["three_steps"], arrays["long_run"])
    assert (made["three_steps"]["sampler_steps"], made["long_run"]["sampler_steps"]) == (SHORT, LONG)
    assert "settings" not in made["three_steps"] and made["long_run"]["settings"]["steps"] == LONG
    stage = folder.ledger["stages"]["sample"]
    assert stage["sampler_steps"] == SHORT and stage["gradient_evaluations"] == N * (SHORT + 1 + LONG)


def test_long_chains_are_those_that_are_fresh_elsewhere(sampled, own):
    """The same weights under a method without a sampler of its own draw the same numbers."""
    _, arrays, _, _ = sampled(own)
    _, plain, primary, _ = sampled("nce")
    assert primary == "fresh" and set(plain) == {"fresh"}
    assert np.array_equal(arrays["long_run"], plain["fresh"])


def test_all_sources_end_with_the_jump_and_noisy_is_the_primary_one_before_it(sampled, own, prepared):
    folder, arrays, primary, made = sampled(own, "digits")
    assert set(arrays) == {primary, "noisy", "long_run"}
    assert [made[name]["denoised"] for name in (primary, "noisy", "long_run")] == [True, False, True]
    method = load_run(folder, Prepared(prepared["digits"]), "cpu")
    noisy = torch.from_numpy(arrays["noisy"])
    jumped = noisy - 0.3**2 * gradient(method.energy_function(), noisy)
    torch.testing.assert_close(torch.from_numpy(arrays[primary]), jumped, rtol=1e-5, atol=1e-6)
    assert np.abs(arrays[primary] - arrays["noisy"]).mean() > 0.05
    _, plain, _, _ = sampled("nce", "digits")
    assert np.array_equal(arrays["long_run"], plain["fresh"]) and not np.array_equal(arrays["long_run"], plain["noisy"])
    # The jump costs one gradient of each source; `noisy` is no chain of its own.
    assert folder.ledger["stages"]["sample"]["gradient_evaluations"] == N * (SHORT + 1 + 1 + LONG + 1)
    evaluate(folder, prepared["digits"], EvaluationConfig(metrics=["mmd"], grid=20), device="cpu")
    with np.load(folder / "arrays.npz") as file, torch.no_grad():
        np.testing.assert_allclose(file["energy_samples"], method.energy(noisy).numpy(), rtol=1e-4)


def test_bare_metrics_are_about_the_primary_source(sampled, own, prepared):
    values = {}
    for method in ("nce", own):
        folder, arrays, primary, _ = sampled(method)
        evaluate(folder, prepared["eight_gaussians"], EvaluationConfig(metrics=["mmd", "quadrature"], grid=20), device="cpu")
        rows = json.loads((folder / "metrics.json").read_text())["rows"]
        values[method] = {row["metric"]: row["value"] for row in rows}
    evaluation, _ = gather(folder, Prepared(prepared["eight_gaussians"]), None, "cpu")
    measured = {row.metric: row.value for row in MMD().compare(arrays[primary].astype(float), evaluation)}
    assert values[own] | measured == values[own] and values["nce"]["mmd"] == values[own]["mmd@long_run"] != values[own]["mmd"]
    assert values[own]["nll"] == pytest.approx(values["nce"]["nll"], abs=1e-3), "no metric of the energy alone depends on samples"
    assert {name for name in values[own] if "@" in name} == {name + "@long_run" for name in values["nce"] if "mmd" in name}


def test_the_picture_of_a_run_shows_them_too(sampled, own, prepared):
    folder, _, _, _ = sampled(own, "digits")
    seen, _ = glance.look(folder, Prepared(prepared["digits"]), "cpu")
    assert seen.made == f"three steps chains of {SHORT} steps, denoised"
