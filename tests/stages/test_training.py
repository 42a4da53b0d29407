"""The train stage: budget, ledger, exact resume, divergence."""

import csv
import json

import pytest
import torch
from small_runs import PCD as PCD_SETTINGS
from small_runs import small

from ebmpipe.config import SamplingConfig
from ebmpipe.files import sha256
from ebmpipe.provenance import choose_device
from ebmpipe.runs import CorruptFile, RunFolder
from ebmpipe.sampling import sample


@pytest.mark.parametrize("dataset", ["eight_gaussians", "digits"])
@pytest.mark.parametrize("method", ["pcd", "nce", "dsm"])
def test_the_budget_is_kept_and_the_ledger_is_complete(folder_of, dataset, method):
    folder = folder_of(small(dataset, method))
    ledger = folder.ledger
    method_cost = {"pcd": 16 * 4, "nce": 32, "dsm": 32}[method]
    assert ledger["status"] == "finished"
    assert ledger["step"] == ledger["iterations"] == 16 * 4 * 60 // method_cost
    assert ledger["gradient_evaluations"] == ledger["step"] * method_cost <= 16 * 4 * 60
    assert ledger["training_flops"] > 0
    assert ledger["parameters"] > 0
    assert set(ledger["stages"]["train"]) == {"wall_s", "startup_s", "device", "peak_memory_mb", "files", "status", "reason"}
    for name, recorded in ledger["files"].items():
        assert sha256(folder / name) == recorded
    rows = list(csv.DictReader((folder / "history.csv").open()))
    assert int(rows[-1]["step"]) == ledger["step"]
    assert json.loads((folder / "config.json").read_text())["method"] == method


def test_flops_are_those_of_the_matrix_products(folder_of):
    """PCD on a 2-8-8-1 network: forward and input gradient by hand for the chains, forward and backward for the loss."""
    ledger = folder_of(small()).ledger
    layers = 2 * (2 * 8 + 8 * 8)
    sampling = 16 * 2 * (2 * layers)
    head = 2 * 8
    loss = 32 * (layers + head) + 32 * (2 * (layers - 2 * 2 * 8) + 2 * 2 * 8 + 2 * head)
    assert ledger["training_flops"] == ledger["step"] * (sampling + loss)


def test_a_control_trains_nothing(folder_of):
    ledger = folder_of(small(method="noise", settings={})).ledger
    assert ledger["step"] == ledger["gradient_evaluations"] == ledger["training_flops"] == 0


def test_a_budget_too_small_is_refused(folder_of):
    with pytest.raises(ValueError, match="does not pay for one update"):
        folder_of(small(gradient_evaluations=10))


def test_config_json_is_resolved(folder_of):
    written = json.loads((folder_of(small()) / "config.json").read_text())
    assert written["settings"]["optimiser"]["schedule"] == "cosine"
    assert written["network"]["settings"] == {"width": 8, "depth": 2, "gain": 1.0}
    assert set(written["revisions"]) == {"training", "data:eight_gaussians", "method:pcd", "network:mlp", "sampler:ula"}


def test_training_anew_forgets_what_was_made_from_the_old_model(folder_of, prepared):
    folder = folder_of(small())
    sample(folder, prepared["eight_gaussians"], SamplingConfig(n=20, steps=2), "cpu")
    assert folder.verified("samples.safetensors")
    folder_of(small(settings=PCD_SETTINGS | {"steps": 3}))
    with pytest.raises(CorruptFile, match="not in the ledger"):
        folder.verified("samples.safetensors")


def test_a_device_that_is_not_there_is_refused(folder_of):
    with pytest.raises(ValueError, match="choose auto, cpu, cuda"):
        choose_device("gpu0")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match="sees no CUDA GPU"):
            choose_device("cuda:1")


def test_a_run_that_does_not_exist_says_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match="ebmpipe train"):
        _ = RunFolder.of(tmp_path, "a", "b", 0).ledger


def test_methods_of_the_users_own(folder_of):
    folder = folder_of(small(method="ebmpipe.methods.template:Template", label="mine", settings={"batch_size": 16, "negatives": 16}))
    assert folder.ledger["status"] == "finished"
