"""Sample sources: which there are, which one the config declares, and that metrics and figures look at the right one."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from small_runs import small

from ebmpipe import glance
from ebmpipe.config import EvaluationConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.energies import gradient
from ebmpipe.evaluation import evaluate, gather
from ebmpipe.files import read_arrays
from ebmpipe.loading import load_run
from ebmpipe.metrics.mmd import MMD
from ebmpipe.sampling import BEFORE_JUMP, sample

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
        return folder, arrays, json.loads(metadata["made"])

    return run


def test_a_methods_own_samples_stand_beside_long_chains(sampled, own):
    folder, arrays, made = sampled(own)
    assert set(arrays) == {"fresh", "own"} == set(made)
    assert {x.shape for x in arrays.values()} == {(N, 2)} and not np.array_equal(arrays["own"], arrays["fresh"])
    assert (made["own"]["sampler_steps"], made["fresh"]["sampler_steps"]) == (SHORT, LONG)
    assert "settings" not in made["own"] and made["fresh"]["settings"]["steps"] == LONG
    stage = folder.ledger["stages"]["sample"]
    assert stage["sampler_steps"] == LONG and stage["gradient_evaluations"] == N * (SHORT + 1 + LONG)
    assert stage["sources"] == {"fresh": "long chains, 7 steps of mala each", "own": "three steps, 3 steps each"}


def test_fresh_samples_do_not_depend_on_whether_the_method_has_a_sampler_of_its_own(sampled, own):
    """The same weights under a method without one draw the same numbers."""
    _, arrays, _ = sampled(own)
    _, plain, _ = sampled("nce")
    assert set(plain) == {"fresh"}
    assert np.array_equal(arrays["fresh"], plain["fresh"])


def test_all_sources_end_with_the_jump_and_the_noisy_ones_are_those_before_it(sampled, own, prepared):
    folder, arrays, made = sampled(own, "digits")
    assert set(arrays) == {"fresh", "noisy", "own", "noisy_own"}
    assert {name: how["denoised"] for name, how in made.items()} == {"fresh": True, "noisy": False, "own": True, "noisy_own": False}
    method = load_run(folder, Prepared(prepared["digits"]), "cpu")
    for after, before in BEFORE_JUMP.items():
        noisy = torch.from_numpy(arrays[before])
        jumped = noisy - 0.3**2 * gradient(method.energy_function(), noisy)
        torch.testing.assert_close(torch.from_numpy(arrays[after]), jumped, rtol=1e-5, atol=1e-6)
        assert np.abs(arrays[after] - arrays[before]).mean() > 0.05
    _, plain, _ = sampled("nce", "digits")
    assert all(np.array_equal(arrays[name], plain[name]) for name in ("fresh", "noisy"))
    # The jump costs one gradient of each source; what is noisy is no chain of its own.
    assert folder.ledger["stages"]["sample"]["gradient_evaluations"] == N * (SHORT + 1 + 1 + LONG + 1)
    for source, before in BEFORE_JUMP.items():
        evaluate(folder, prepared["digits"], EvaluationConfig(source=source, metrics=["mmd"], grid=20), device="cpu")
        with np.load(folder / "arrays.npz") as file, torch.no_grad():
            np.testing.assert_allclose(file["energy_samples"], method.energy(torch.from_numpy(arrays[before])).numpy(), rtol=1e-4)


@pytest.fixture
def measured(sampled, prepared):
    """The rows of a run's metrics.json by metric, with the bare ones about a given source."""

    def run(method, source="fresh", metrics=("mmd", "quadrature")):
        folder, arrays, _ = sampled(method)
        evaluate(folder, prepared["eight_gaussians"], EvaluationConfig(source=source, metrics=list(metrics), grid=20), device="cpu")
        rows = json.loads((folder / "metrics.json").read_text())["rows"]
        assert folder.ledger["stages"]["evaluate"]["source"] == source
        return {row["metric"]: row for row in rows}, arrays, folder

    return run


def test_bare_metrics_are_about_the_one_declared_source(measured, own, prepared):
    (plain, _, _), (fresh, arrays, folder), (other, _, _) = measured("nce"), measured(own), measured(own, "own")
    evaluation, _ = gather(folder, Prepared(prepared["eight_gaussians"]), EvaluationConfig(), None, None, "cpu")
    (of_own,) = MMD().compare(arrays["own"].astype(float), evaluation)
    assert plain["mmd"] == fresh["mmd"] == other["mmd@fresh"] | {"metric": "mmd"}
    assert fresh["mmd@own"]["value"] == other["mmd"]["value"] == of_own.value != fresh["mmd"]["value"]
    assert {name for name in fresh if "@" in name} == {"mmd@own"} and {name for name in other if "@" in name} == {"mmd@fresh"}
    assert fresh["nll"]["value"] == pytest.approx(plain["nll"]["value"], abs=1e-3), "no metric of the energy alone depends on samples"


def test_a_run_that_lacks_the_declared_source_says_so(measured):
    rows, _, folder = measured("nce", "own")
    assert rows["mmd"]["status"] == "not available: the run has no samples of the source own" and rows["mmd"]["value"] is None
    assert rows["mmd@fresh"]["status"] == rows["nll"]["status"] == "ok"
    with np.load(folder / "arrays.npz") as file:
        assert "energy_samples" not in file and "energy_data" in file


def test_an_unknown_source_is_refused():
    with pytest.raises(ValidationError, match="'fresh', 'own'"):
        EvaluationConfig(source="long_run")


def test_the_picture_of_a_run_shows_its_own_sampler(sampled, own, prepared):
    folder, _, _ = sampled(own, "digits")
    seen, _ = glance.look(folder, Prepared(prepared["digits"]), "cpu")
    assert seen.made == f"three steps of {SHORT} steps, denoised"
