"""Energies on a box, and at a temperature, through all stages of a run."""

import csv
import json

import numpy as np
import pytest
import torch
from small_runs import PCD, small

from ebmpipe.config import EvaluationConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.evaluation import evaluate
from ebmpipe.files import read_arrays
from ebmpipe.history import clipped_fraction
from ebmpipe.loading import load_run
from ebmpipe.sampling import sample
from ebmpipe.seeding import torch_generator


def kernel(**settings):
    return PCD | {"kernel": {"name": "ula", "settings": {"step_size": 0.2} | settings}}


def measured(folder, data_folder, metrics, **sampling):
    sample(folder, data_folder, SamplingConfig(n=200, steps=20, **sampling), "cpu")
    evaluate(folder, data_folder, EvaluationConfig(metrics=metrics, grid=20), device="cpu")
    assert folder.ledger["status"] == "finished"
    return {row["metric"]: row["value"] for row in json.loads((folder / "metrics.json").read_text())["rows"]}


def arrays_of(folder):
    with np.load(folder / "arrays.npz") as file:
        return dict(file)


def base_variance(prepared):
    return (1.5 * json.loads((prepared["eight_gaussians"] / "card.json").read_text())["std"]) ** 2


def test_a_run_on_a_box_never_leaves_it(folder_of, prepared):
    """Training on smoothed data, chains, samples before and after the jump, and what figures are drawn from."""
    folder = folder_of(small("digits", settings=kernel() | {"support": "box", "data_noise": 0.3}))
    measured(folder, prepared["digits"], ["mmd"], denoise=True)
    sources, _ = read_arrays(folder / "samples.safetensors")
    assert {"fresh", "noisy", "persistent"} <= set(sources)
    assert all(np.abs(x).max() <= 1 for x in sources.values())
    arrays = arrays_of(folder)
    assert {"energy_data", "energy_samples", "energy_noise"} <= set(arrays)
    assert all(np.isfinite(values).all() for values in arrays.values())


def test_noise_in_figures_is_the_base(folder_of, prepared):
    """An untrained control whose energy is the base itself: of a Gaussian in the plane, its mean is the entropy."""
    folder = folder_of(small(method="noise", settings={}))
    measured(folder, prepared["eight_gaussians"], ["mmd"])
    found = arrays_of(folder)["energy_noise"]
    assert abs(found.mean() - 1 - np.log(2 * np.pi * base_variance(prepared))) < 5 / np.sqrt(len(found))


@pytest.mark.parametrize(("noise_scale", "temperature"), [(None, 1.0), (0.1, 0.25)])
def test_the_evaluation_is_at_the_temperature_of_the_chains(folder_of, prepared, noise_scale, temperature):
    """What is measured is f/T - log q, with f the averaged network and q the base."""
    data_folder = prepared["eight_gaussians"]
    folder = folder_of(small(settings=kernel(noise_scale=noise_scale), updates=5))
    assert folder.ledger["temperature"] == pytest.approx(temperature)
    found = measured(folder, data_folder, ["quadrature", "temperature"])
    assert found["nll_best_temperature"] <= found["nll"] + 0.01
    method = load_run(folder, Prepared(data_folder), "cpu")
    x = method.base.sample(len(arrays_of(folder)["energy_noise"]), torch_generator(0, "evaluation", "figures"))
    with torch.no_grad():
        tilt = method.learner.average.network((x - method.spec.mean) / method.spec.std)
        expected = tilt / temperature + method.base(x)
    assert tilt.std() > 0.01
    np.testing.assert_allclose(arrays_of(folder)["energy_noise"], expected.numpy(), rtol=1e-4)


def test_what_was_clipped_is_on_record(folder_of):
    for clip in (0.05, None):
        folder = folder_of(small(settings=kernel(clip=clip)), f"clip{clip}")
        rows = list(csv.DictReader((folder / "history.csv").open()))
        recorded = folder.ledger["clipped"]
        if clip is None:
            assert recorded == 0.0 and "clipped" not in rows[0]
        else:
            late = [float(row["clipped"]) for row in rows[len(rows) // 2 :]]
            assert recorded == pytest.approx(np.mean(late)) and 0 < recorded <= 1


def test_clipped_fraction_is_of_the_later_half():
    rows = [{"clipped": 0.9}, {"clipped": 0.9}, {"clipped": 0.2}, {}]
    assert clipped_fraction(rows) == pytest.approx(0.1)
    assert clipped_fraction([]) is None
