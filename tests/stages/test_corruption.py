"""Files of runs and feature networks that are damaged: detected by checksum, named, and made again by `ebmpipe verify --repair`."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from small_runs import sample_and_evaluate, small

from ebmpipe.config import EvaluationConfig
from ebmpipe.evaluation import gather
from ebmpipe.features.base import read_network, write_card, write_network
from ebmpipe.files import CorruptFile, digest, read_signed
from ebmpipe.loading import load_run
from ebmpipe.preparing import prepare
from ebmpipe.report.reading import Run
from ebmpipe.runs import RunFolder
from ebmpipe.training import train
from ebmpipe.verifying import Finding, repair, verify

#: file of a run -> what reads it
READERS = {
    "run.json": lambda folder, data: folder.ledger,
    "config.json": lambda folder, data: folder.config,
    "model.safetensors": lambda folder, data: load_run(folder, data, "cpu"),
    "samples.safetensors": lambda folder, data: gather(folder, data, EvaluationConfig(), None, None, "cpu"),
    "metrics.json": lambda folder, data: read_as_reports_do(folder).rows,
    "history.csv": lambda folder, data: read_as_reports_do(folder).history,
    "arrays.npz": lambda folder, data: read_as_reports_do(folder).arrays,
}


def read_as_reports_do(folder):
    return Run(folder.path, "eight_gaussians", "dsm", 0)


def damaged(content, how):
    """``content`` after an accident."""
    middle = len(content) // 2
    return {
        "truncated": content[: 2 * len(content) // 3],
        "two bytes short": content[:-2],
        "one bit altered": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "first bit altered": bytes([content[0] ^ 1]) + content[1:],
        "longer": content + b"\0",
        "empty": b"",
        "rubbish": b"\x00\xff" * 50,
    }[how]


HOWS = ["truncated", "two bytes short", "one bit altered", "first bit altered", "longer", "empty", "rubbish"]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A results folder with data, a feature network and one evaluated run, which tests damage and put back."""
    from ebmpipe.data.prepared import Prepared

    results = tmp_path_factory.mktemp("results")
    prepare("eight_gaussians", results / "data/eight_gaussians")
    folder = train(small(method="dsm"), results / "data/eight_gaussians", results, "cpu")
    sample_and_evaluate(folder, results / "data/eight_gaussians")
    write_network(results / "features/eight_gaussians", "lenet", {"w": np.ones(3)}, {"classes": 2})
    write_network(results / "features/eight_gaussians", "autoencoder", {"w": np.ones(3)}, {"classes": None})
    write_card(results / "features/eight_gaussians", "inception", {"published": "elsewhere.pth", "weights_sha256": 64 * "0"})
    return results, folder, Prepared(results / "data/eight_gaussians")


@pytest.fixture
def restoring(world):
    """Puts every file back, as it was and with its time."""
    kept = {path: (path.read_bytes(), path.stat()) for path in world[0].rglob("*") if path.is_file()}
    yield
    for path, (content, stat) in kept.items():
        path.write_bytes(content)
        os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def test_a_sound_folder_has_no_findings(world):
    looked = list(verify(world[0]))
    assert len(looked) == 3
    assert not [item for item in looked if isinstance(item, Finding)]


@pytest.mark.usefixtures("restoring")
@pytest.mark.parametrize("how", [*HOWS, "missing"])
@pytest.mark.parametrize("name", READERS)
def test_a_damaged_file_of_a_run_is_detected_named_and_made_again(world, name, how):
    results, folder, data = world
    whole = {path.name: path.read_bytes() for path in folder.path.glob("*.*") if path.is_file()}
    if how == "missing":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(damaged(whole[name], how))
    with pytest.raises((CorruptFile, FileNotFoundError), match=name) as error:
        READERS[name](folder, data)
    assert "ebmpipe" in str(error.value)
    (finding,) = (item for item in verify(results) if isinstance(item, Finding))
    assert name in finding.problem
    done = repair(finding, results)
    assert "run the workflow again" in done
    assert not [item for item in verify(results) if isinstance(item, Finding)]
    assert not (folder / "metrics.json").exists()  # which hangs from each of them
    train(small(method="dsm"), results / "data/eight_gaussians", results, "cpu")
    again = sample_and_evaluate(folder, results / "data/eight_gaussians")
    assert again == [whole[other] for other in ("samples.safetensors", "metrics.json", "arrays.npz")]
    assert (folder / "model.safetensors").read_bytes() == whole["model.safetensors"]


@pytest.mark.usefixtures("restoring")
def test_several_damaged_files_of_a_run_are_one_finding(world):
    """As after a refused job, whose outputs the workflow has removed: each is named, and the first stage concerned is undone."""
    results, folder, _ = world
    (folder / "samples.safetensors").unlink()
    (folder / "metrics.json").write_text("")
    (finding,) = (item for item in verify(results) if isinstance(item, Finding))
    assert "samples.safetensors is missing" in finding.problem and "metrics.json was altered" in finding.problem
    assert finding.stage == "sample"
    repair(finding, results)
    assert not [item for item in verify(results) if isinstance(item, Finding)]
    assert (folder / "model.safetensors").exists() and not (folder / "metrics.json").exists()


@pytest.mark.usefixtures("restoring")
def test_an_edited_ledger_is_noticed(world):
    """Valid JSON, the same keys, a better number."""
    folder = world[1]
    ledger = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(ledger | {"training_flops": 1}))
    with pytest.raises(CorruptFile, match=r"run\.json was altered"):
        _ = folder.ledger


@pytest.mark.usefixtures("restoring")
def test_another_runs_files_are_noticed(world):
    results, folder, data = world
    other = train(small(method="dsm", seed=1), results / "data/eight_gaussians", results / "other", "cpu")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    with pytest.raises(CorruptFile, match="model"):
        load_run(folder, data, "cpu")


@pytest.mark.usefixtures("restoring")
def test_training_again_by_hand_heals_a_damaged_run(world, capfd):
    results, folder, _ = world
    whole = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(damaged(whole, "one bit altered"))
    train(small(method="dsm"), results / "data/eight_gaussians", results, "cpu")
    said = capfd.readouterr().err
    assert "model.safetensors was altered" in said and "training" in said and "again" in said
    assert (folder / "model.safetensors").read_bytes() == whole


@pytest.mark.usefixtures("restoring")
def test_a_model_of_other_data_is_not_sampled(world, prepared):
    from ebmpipe.data.prepared import Prepared

    with pytest.raises(CorruptFile, match="was not trained on the data"):
        load_run(world[1], Prepared(prepared["digits"]), "cpu")


@pytest.mark.usefixtures("restoring")
@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", ["lenet.safetensors", "lenet.json"])
def test_a_damaged_feature_network_is_detected_named_and_removed(world, name, how):
    results, folder, _ = world
    path = results / "features/eight_gaussians" / name
    path.write_bytes(damaged(path.read_bytes(), how))
    with pytest.raises(CorruptFile, match=name):
        read_network(path.parent, "lenet")
    (finding,) = (item for item in verify(results) if isinstance(item, Finding))
    assert name in finding.problem
    assert "metrics.json" in repair(finding, results)
    assert not list(path.parent.glob("lenet.*"))
    assert len(list(path.parent.glob("*.*"))) == 3, "other networks are left alone"
    assert not [item for item in verify(results) if isinstance(item, Finding)]  # what is not made yet is not damaged
    assert not (folder / "metrics.json").exists()


def test_references_of_image_metrics_are_no_networks(world):
    """They lie beside one, are checked when they are read, and are made again where they do not hold."""
    path = world[0] / "features/eight_gaussians/reference-0123.safetensors"
    path.write_bytes(b"rubbish")
    try:
        assert not [item for item in verify(world[0]) if isinstance(item, Finding)]
    finally:
        path.unlink()


@pytest.mark.usefixtures("restoring")
def test_of_several_feature_networks_each_is_looked_at(world):
    results, folder, _ = world
    features = results / "features/eight_gaussians"
    for name in ("lenet.safetensors", "autoencoder.json", "inception.json"):
        (features / name).write_bytes(damaged((features / name).read_bytes(), "one bit altered"))
    found = [item for item in verify(results) if isinstance(item, Finding)]
    assert [finding.network for finding in found] == ["autoencoder", "inception", "lenet"]
    for finding in found:
        repair(finding, results)
    assert not list(features.glob("*.*")) and not (folder / "metrics.json").exists()


@pytest.mark.usefixtures("restoring")
@pytest.mark.parametrize("name", ["data.safetensors", "card.json"])
def test_damaged_data_are_prepared_again_on_the_spot(world, name):
    results, folder, _ = world
    path = results / "data/eight_gaussians" / name
    whole, time = path.read_bytes(), (path.parent / "card.json").stat().st_mtime_ns
    path.write_bytes(damaged(whole, "one bit altered"))
    (finding,) = (item for item in verify(results) if isinstance(item, Finding))
    assert name in finding.problem
    assert repair(finding, results) == "prepared again"
    assert path.read_bytes() == whole
    assert not [item for item in verify(results) if isinstance(item, Finding)]
    if name == "data.safetensors":  # vouched for by its card: nothing made from it is out of date
        assert path.stat().st_mtime_ns == time
    assert folder.ledger


@pytest.mark.usefixtures("restoring")
def test_damage_of_several_kinds_is_all_mended_or_named(world):
    """A lost feature network concerns runs whose ledgers are lost too; and what cannot be mended keeps nothing else from it."""
    results, folder, _ = world
    for path in (folder / "run.json", results / "features/eight_gaussians/lenet.safetensors"):
        path.write_bytes(path.read_bytes() + b"x")
    (results / "data/aaa").mkdir()
    (results / "data/aaa/card.json").write_text("{}")
    command = [sys.executable, "-m", "ebmpipe.cli", "verify", "--results", str(results)]
    mended = subprocess.run([*command, "--repair"], capture_output=True, text=True, check=False)
    assert mended.returncode == 1
    told = f"this cannot be mended: {results / 'data/aaa/card.json'} is damaged: it has no checksum of its content; run `ebmpipe prepare`"
    assert f"{told} again with --dataset aaa --files PATH, or remove" in mended.stdout  # data of the user's own, or none
    assert mended.stdout.splitlines()[-1].endswith("found 2 damaged, mended 1")  # the features, and with them the run
    (results / "data/aaa/card.json").unlink()
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0
    assert not (folder / "run.json").exists()


def test_a_run_in_progress_is_no_damage(tmp_path):
    folder = RunFolder.of(tmp_path, "eight_gaussians", "dsm", 0)
    (folder / "checkpoints").mkdir(parents=True)
    assert list(verify(tmp_path)) == [folder.path]


def test_a_results_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere does not exist"):
        list(verify(tmp_path / "nowhere"))


def test_signed_json_states_the_digest_of_all_the_rest(world):
    content = json.loads((world[1] / "run.json").read_text())
    stated = content.pop("sha256")
    assert stated == digest(content)
    assert read_signed(world[1] / "run.json") == content
