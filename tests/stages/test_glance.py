"""`ebmpipe train` alone: it prepares, trains with a live bar, sums up, and leaves a picture worth looking at."""

import json
import re
import subprocess
import sys
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from terminals import on_terminal
from typer.testing import CliRunner

from ebmpipe import glance, registry
from ebmpipe.checkpoint import load_model
from ebmpipe.cli import app
from ebmpipe.energies import on_arrays
from ebmpipe.loading import load_run
from ebmpipe.methods import pcd
from ebmpipe.metrics.base import NotAvailable
from ebmpipe.report.glance import highest_of
from ebmpipe.runs import RunFolder

SETTINGS = {"batch_size": 16, "chains": 64, "steps": 2}
BUDGET = str(16 * (2 + 3) * 60)
QUICK = ["--settings", json.dumps(SETTINGS), "--network", '{"name": "mlp", "settings": {"width": 8, "depth": 1}}', "--gradient-evaluations"]
WILD = {"kernel": {"name": "ula", "settings": {"step_size": 30}}, "optimiser": {"learning_rate": 1.0}}


@pytest.fixture(autouse=True)
def fresh_folder(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)


def train(dataset, method, *arguments):
    options = [*QUICK, BUDGET] if method == "pcd" else []
    result = CliRunner().invoke(app, ["train", "--dataset", dataset, "--method", method, *options, *arguments])
    return result, RunFolder.of(Path("results"), dataset, method, 0)


def picture(folder):
    """The picture's pixels; it must be a real one, with something in the panels of data, model and training."""
    path = folder / "picture.png"
    assert path.read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    pixels = matplotlib.image.imread(path)[..., :3]
    width = pixels.shape[1]
    assert width > pixels.shape[0] > 300
    for panel in np.array_split(pixels, 3, axis=1):
        assert panel.std() > 0.005, "a panel is empty"
    return pixels


def test_alone_on_a_terminal(tmp_path):
    command = [sys.executable, "-m", "ebmpipe.cli", "train", "--dataset", "two_moons", "--method", "pcd", *QUICK]
    written, code = on_terminal([*command, str(int(BUDGET) * 10)])
    assert code == 0, written
    states = [state for state in written.split("\r") if "two_moons/pcd/seed0 " in state]
    assert len(states) > 2
    assert re.search(r"seed0 100%\|.*600/600", written)
    assert re.search(r"600 updates · 48,000 gradient evaluations · [\d.]+ s · nll_gap [\d.]+ ± [\d.]+ nats · log_z", written)
    assert "picture: results/runs/two_moons/pcd/seed0/picture.png" in written
    folder = RunFolder(tmp_path / "results/runs/two_moons/pcd/seed0")
    picture(folder)
    assert "picture.png" not in json.dumps(folder.ledger)


def test_the_same_command_again_draws_again(tmp_path):
    _, folder = train("two_moons", "pcd")
    first, model = picture(folder), (folder / "model.safetensors").read_bytes()
    (folder / "picture.png").unlink()
    result, _ = train("two_moons", "pcd")
    assert result.exit_code == 0
    assert (folder / "model.safetensors").read_bytes() == model
    assert np.array_equal(picture(folder), first)


def test_no_picture_leaves_none():
    train("two_moons", "pcd")
    result, folder = train("two_moons", "pcd", "--no-picture")
    assert result.exit_code == 0
    assert not (folder / "picture.png").exists(), "not even that of an older model"
    assert "picture" not in result.stdout


@pytest.mark.parametrize(("dataset", "method"), [("two_moons", "data"), ("digits", "noise"), ("digits", "pcd")])
def test_controls_and_images_have_pictures(dataset, method):
    result, folder = train(dataset, method)
    assert result.exit_code == 0, result.output
    picture(folder)
    assert ("a control: nothing is trained" in result.stdout) == (method != "pcd")


def test_images_show_the_chains_of_training_denoised():
    _, folder = train("digits", "pcd")
    seen, _ = glance.look(folder, glance.Prepared(Path("results/data/digits")), "cpu")
    assert seen.made == "persistent chains, denoised"
    assert seen.samples.shape == (64, 1, 8, 8)
    assert seen.data.shape == (64, 1, 8, 8)
    chains = load_model(folder / "model.safetensors")["persistence.positions"].numpy()
    assert 0.05 < np.abs(seen.samples - chains[:64]).mean() < 1, "the jump takes the noise off"


def test_methods_without_chains_draw_fresh_ones(monkeypatch):
    monkeypatch.setattr(pcd.PCD, "chains", lambda self: None)
    monkeypatch.setattr(glance, "starting_point", lambda dataset, folder: {"sampling": {"steps": 3}})
    _, folder = train("digits", "pcd")
    seen, _ = glance.look(folder, glance.Prepared(Path("results/data/digits")), "cpu")
    assert seen.made == "long chains of 3 steps"


def test_a_diverged_run_says_why():
    result, folder = train("two_moons", "pcd", "--settings", json.dumps(SETTINGS | WILD))
    assert result.exit_code == 0
    assert folder.ledger["status"] == "diverged"
    assert "diverged after" in result.stdout
    picture(folder)
    seen, _ = glance.look(folder, glance.Prepared(Path("results/data/two_moons")), "cpu")
    assert seen.lost == folder.ledger["reason"]
    assert not seen.grid


def test_the_density_is_normalised_and_the_gap_is_that_of_validation_data():
    _, folder = train("two_moons", "pcd")
    data = glance.Prepared(Path("results/data/two_moons"))
    seen, lines = glance.look(folder, data, "cpu")
    x, y, log_density = (seen.grid[name] for name in ("grid_x", "grid_y", "log_density"))
    assert 0.3 < np.exp(log_density).sum() * (x[1] - x[0]) * (y[1] - y[0]) < 1.001, "mass in the window"
    CliRunner().invoke(app, ["sample", "--dataset", "two_moons", "--label", "pcd", "--settings", '{"n": 50, "steps": 2}'])
    CliRunner().invoke(app, ["evaluate", "--dataset", "two_moons", "--label", "pcd", "--settings", '{"metrics": ["quadrature"]}'])
    rows = {row["metric"]: row["value"] for row in json.loads((folder / "metrics.json").read_text())["rows"]}
    shown = float(re.search(r"nll_gap (\S+)", lines[0]).group(1))
    held_out = data.split("validation").astype(np.float64)
    energies = on_arrays(load_run(folder, data, "cpu").energy, "cpu")(held_out)
    truth = registry.load("data", "two_moons")().log_density(held_out)
    assert shown == pytest.approx((truth + energies).mean() + rows["log_z"], abs=2e-3)
    assert abs(shown - rows["nll_gap"]) > 1e-6, "not on the data that claims are made on"


def test_a_density_without_normalisation_is_said_to_have_none(monkeypatch):
    def improper(*_, **__):
        raise NotAvailable("quadrature did not converge: made up")

    _, folder = train("two_moons", "pcd")
    monkeypatch.setattr("ebmpipe.metrics.quadrature.log_partition", improper)
    seen, lines = glance.look(folder, glance.Prepared(Path("results/data/two_moons")), "cpu")
    assert "did not converge" in seen.missing
    assert any("did not converge" in line for line in lines)


def test_a_picture_that_cannot_be_drawn_loses_no_run(monkeypatch):
    def breaking(*_):
        raise RuntimeError("out of ink")

    monkeypatch.setattr(glance, "draw", breaking)
    result, folder = train("two_moons", "pcd")
    assert isinstance(result.exception, glance.NoPicture)
    assert re.search(r"trained and recorded.*out of ink.*--no-picture", str(result.exception))
    assert folder.ledger["status"] == "finished"
    assert folder.verified("model.safetensors")


def test_one_narrow_peak_does_not_darken_the_rest():
    log_density = np.zeros((100, 100))
    log_density[3, 3] = 2.0
    assert highest_of({"log_density": log_density}) == 1.0


def test_drawing_needs_no_torch():
    code = "import sys, ebmpipe.report.glance; assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
