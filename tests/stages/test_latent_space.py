"""What the stages make of a model with a latent space: chains that move there, and annealing there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from backbones import SMALL_FLOW
from small_runs import QUICK, small

from ebmpipe.config import EvaluationConfig, LongRunConfig, SamplingConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.evaluation import evaluate
from ebmpipe.loading import load_run
from ebmpipe.long_run import long_run
from ebmpipe.mixing.record import FILE, LongRun
from ebmpipe.sampling import sample

SHORT = LongRunConfig(chains=8, steps=120, adaptation_steps=10, draws=25, kernels=[{"name": "ula", "settings": {"step_size": 0.2}}])


@pytest.fixture(scope="module")
def trained(prepared, tmp_path_factory):
    """A tilt of a flow, and where its data are."""
    from ebmpipe.training import train

    data, results = prepared["eight_gaussians"], tmp_path_factory.mktemp("results")
    train(small(method="flow", settings=SMALL_FLOW | {"batch_size": 64}), data, results, "cpu")
    return train(small(method="neural_transport", requires={"backbone": "flow"}, updates=400), data, results, "cpu"), data


def rows_of(folder):
    return {row["metric"]: row for row in json.loads((folder / "metrics.json").read_text())["rows"]}


def test_further_chains_move_in_latent_space_and_are_judged_in_data_space(trained):
    folder, data = trained
    long_run(folder, data, SHORT, device="cpu")
    found = LongRun.read(folder.verified(FILE))
    assert list(found.kernels) == ["ula", "latent_hmc"]
    latent = found.kernels["latent_hmc"]
    assert latent.about["latent"] and latent.about["steps"] == 40 and latent.lost is None
    assert latent.arrays["frames"].shape == (6, 8, 2)
    assert latent.arrays["frame_steps"].tolist() == [0, 1, 3, 10, 30, 40]
    assert latent.arrays["rhat"].shape == (2 + 1 + 9,)
    # In both spaces chains begin at what the flow makes of latent vectors twice as wide as its Gaussian: no law of another has such starts.
    law = load_run(folder, Prepared(data), "cpu").law.requires_grad_(False)
    for frames in (found.frames, latent.arrays["frames"]):
        assert 1.3 < float(law.latent(torch.from_numpy(frames[0]))[0].std()) < 2.8, "of 16 numbers"
    assert not np.array_equal(latent.arrays["frames"][0], latent.arrays["frames"][-1])
    sample(folder, data, SamplingConfig(n=40, steps=5), "cpu")
    evaluate(folder, data, EvaluationConfig(metrics=["mixing"], grid=20), device="cpu")
    rows = rows_of(folder)
    assert rows["rhat"]["status"] == rows["rhat@latent_hmc"]["status"] == rows["mode_hops@latent_hmc"]["status"] == "ok"
    assert rows["rhat@latent_hmc"]["protocol"].startswith("hmc in latent space with ")
    assert "2 times the latent Gaussian's deviation" in rows["rhat@latent_hmc"]["protocol"]
    assert "2 times the latent Gaussian's deviation" in rows["rhat"]["protocol"], "of chains in data space too"


def test_the_same_command_writes_the_same_bytes(trained):
    folder, data = trained
    long_run(folder, data, SHORT, device="cpu")
    first = (folder / FILE).read_bytes()
    long_run(folder, data, SHORT, device="cpu")
    assert (folder / FILE).read_bytes() == first


def test_annealing_in_latent_space_agrees_with_quadrature(trained):
    folder, data = trained
    partition = QUICK | {"repeats": 8, "chains": 64, "pilot_chains": 128, "variance": 0.1, "most_levels": 200, "warm_up": 20}
    sample(folder, data, SamplingConfig(n=40, steps=5), "cpu")
    evaluate(folder, data, EvaluationConfig(metrics=["quadrature", "annealing"], partition=partition), device="cpu")
    rows = rows_of(folder)
    truth = rows["log_z"]["value"]
    for source in ("forward", "backward", "smc", "importance"):
        row = rows[f"log_z@{source}"]
        assert row["value"] == pytest.approx(truth, abs=4 * row["stderr"] + 2e-3), source
    assert rows["effective_weights@importance"]["value"] > 0.1
