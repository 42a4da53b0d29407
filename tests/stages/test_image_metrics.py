"""Image metrics as the stages make them: one reference for all runs of a data set, kept beside the network, and said in every row."""

import json

import pytest
from small_runs import small
from typer.testing import CliRunner

from ebmpipe.cli import app
from ebmpipe.config import SamplingConfig
from ebmpipe.sampling import sample
from ebmpipe.training import train
from ebmpipe.verifying import Finding, verify

IN_FEATURES = ("frechet_lenet", "kernel_lenet", "precision", "recall", "density", "coverage")
IN_PIXELS = ("mmd", "energy_distance", "sliced_wasserstein", "nn_distance_ratio")
FAMILIES = ["frechet", "kernel_distance", "precision_recall", "density_coverage", "mmd", "energy_distance", "sliced_wasserstein"]
SETTINGS = json.dumps({"metrics": [*FAMILIES, "nearest_neighbours"], "partition": {"base": "own"}})


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder with digits, their network, and two seeds of the control of held-out data."""
    folder = tmp_path_factory.mktemp("results")
    for command in ("prepare", "features"):
        outcome = CliRunner().invoke(app, [command, "--dataset", "digits", "--results", str(folder)])
        assert outcome.exit_code == 0, outcome.output
    for seed in (0, 1):
        run = train(small("digits", "data", seed=seed, settings={}), folder / "data/digits", folder, "cpu")
        sample(run, folder / "data/digits", SamplingConfig(n=120, steps=5), "cpu")
    return folder


def measured(results, seed):
    """The rows of a run's metrics.json by id."""
    command = ["evaluate", "--dataset", "digits", "--label", "data", "--seed", seed, "--results", results, "--settings", SETTINGS]
    outcome = CliRunner().invoke(app, [*map(str, command), "--device", "cpu"])
    assert outcome.exit_code == 0, outcome.output
    rows = json.loads((results / f"runs/digits/data/seed{seed}/metrics.json").read_text())["rows"]
    return {row["metric"]: row for row in rows}


def references(results):
    return {path: (path.stat().st_ino, path.read_bytes()) for path in (results / "features/digits").glob("reference-*")}


def test_every_number_says_what_it_may_be_compared_under(results):
    rows = measured(results, 0)
    weights = json.loads((results / "features/digits/lenet.json").read_text())["weights_sha256"][:8]
    for metric in IN_FEATURES:
        assert rows[metric]["protocol"].startswith(f"lenet features (weights {weights}), n = 120 samples and 120 of the test split, ")
        assert rows[metric]["n"] == 120
    assert all(rows[metric]["protocol"].startswith("pixels in model space, n = 120 samples and ") for metric in IN_PIXELS)


def test_the_reference_is_found_once_for_all_runs(results):
    first = measured(results, 0)
    kept = references(results)
    assert len(kept) == 1
    measured(results, 1)
    assert measured(results, 0) == first
    assert references(results) == kept
    assert not [item for item in verify(results) if isinstance(item, Finding)]


def test_a_damaged_reference_changes_no_number(results):
    first = measured(results, 0)
    ((path, (_, whole)),) = references(results).items()
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert measured(results, 0) == first
    assert path.read_bytes() == whole
