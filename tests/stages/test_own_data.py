"""Data of the user's own in a config and by hand: planned, trained on, measured and looked after like any other."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pictures import noise, write
from typer.testing import CliRunner

from ebmpipe import verifying
from ebmpipe.checking import ConfigError
from ebmpipe.cli import app
from ebmpipe.data.own import path_variable
from ebmpipe.data.prepared import Prepared
from ebmpipe.planning import Plan, Run
from ebmpipe.preparing import prepare
from ebmpipe.runs import RunFolder
from ebmpipe.validating import check_runs

ROOT = Path(__file__).parents[2]
SCHEMA, CATALOGUE = (json.loads((ROOT / f"workflow/schemas/{name}.json").read_text()) for name in ("config.schema", "catalogue"))
TINY = {"gradient_evaluations": 4_000, "network": {"name": "mlp", "settings": {"width": 8}}}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``faces``: 60 colour images in two classes; ``table.csv``: 80 vectors of 5 coordinates."""
    root = tmp_path_factory.mktemp("own")
    for number, levels in enumerate(noise(60, 3, 8, 8)):
        write(root / "faces" / "ab"[number % 2] / f"{number}.png", levels)
    np.savetxt(root / "table.csv", np.random.default_rng(0).normal(size=(80, 5)), delimiter=",")
    return root


def plan(place: Path, results: Path | None = None, **datasets: Any) -> Plan:
    given = {name: {"files": {"validation": 10, "test": 10, **one.pop("files")}, **one} for name, one in datasets.items()}
    methods = {"pcd": {"settings": {"batch_size": 16}}, "noise": {}}
    return Plan({"results": str(results or place / "results"), "methods": methods, "datasets": given}, SCHEMA, CATALOGUE)


def test_own_data_are_planned_by_their_kind(place: Path) -> None:
    planned = plan(place, faces={"files": {"path": str(place / "faces")}}, table={"files": {"path": str(place / "table.csv")}})
    assert planned.features("faces") == ["lenet"] and planned.features("table") == []
    assert planned.run_settings(Run("faces", "pcd", 0))["network"]["name"] == "conv"
    assert planned.sampling_settings("faces")["n"] == 10
    assert planned.run_settings(Run("table", "pcd", 0))["revisions"]["data:table"] == 2
    assert planned.own_datasets == ["faces", "table"] and planned.own_settings("faces")["labels"] is None
    assert "path" not in planned.own_settings("faces")
    checked = {(one.dataset, one.label): one for one in check_runs(planned)}
    assert len(checked) == 4 and checked["table", "pcd"].updates > 0


def test_unlabelled_images_are_measured_by_an_autoencoder(place: Path) -> None:
    assert plan(place, faces={"files": {"path": str(place / "faces"), "labels": False}}).features("faces") == ["autoencoder"]


def test_paths_may_start_at_home_or_where_the_workflow_runs(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    monkeypatch.chdir(place)
    for path in ("~/table.csv", "table.csv", "./faces/../table.csv"):
        assert plan(place, table={"files": {"path": path}}).source("table").sizes == {"train": 60, "validation": 10, "test": 10}


@pytest.mark.parametrize(
    ("name", "files", "told"),
    [
        ("mnist", {"path": "table.csv"}, r"datasets.mnist.files: mnist is a data set of the package; call your own by another id"),
        ("mine", {"path": "nowhere"}, r"datasets.mine.files: .*nowhere does not exist"),
        ("mine", {}, r"datasets.mine.files: 'path' is a required key"),
        ("mine", {"path": "table.csv", "sise": 3}, r"datasets.mine.files: 'sise' is unknown. Did you mean 'size'"),
        ("mine", {"path": "table.csv", "size": 0}, r"datasets.mine.files.size"),
        ("mine", {"path": "table.csv", "validation": 70}, r"80 examples come to 0 train, 70 validation, 10 test, and each split needs 10"),
        ("mine", {"path": "faces", "scaling": "none"}, r"datasets.mine.files: .*`array` and `scaling` are for vectors"),
        ("My", {"path": "table.csv"}, r"'My' is no id"),
    ],
)
def test_what_cannot_be_is_said_before_anything_runs(
    name: str, files: dict[str, Any], told: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place)
    with pytest.raises(ConfigError, match=told) as caught:
        plan(place, **{name: {"files": files}})
    assert caught.value.key[:1] == ("datasets",)


def test_files_belong_to_a_data_set(place: Path) -> None:
    config = {"methods": {"noise": {}}, "defaults": {"images": {"files": {"path": "x"}}}, "datasets": {"digits": {}}}
    with pytest.raises(ConfigError, match=r"defaults.images: files belong to one data set"):
        Plan(config, SCHEMA, CATALOGUE)


def test_optional_ones_that_are_not_there_are_left_out(place: Path) -> None:
    gone = {"files": {"path": "/nowhere"}, "optional": True}
    planned = plan(place, gone=dict(gone), table={"files": {"path": str(place / "table.csv")}})
    assert planned.datasets.keys() == {"table"} and any(text.startswith("gone is left out") for text in planned.notices)
    with pytest.raises(ConfigError, match="none is at hand"):
        plan(place, gone=dict(gone))


def test_the_checksum_of_the_files_follows_their_content(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = tmp_path / "table.csv"
    shutil.copy(place / "table.csv", table)
    planned = plan(place, tmp_path, table={"files": {"path": str(table)}})
    before = planned.own_content("table")
    monkeypatch.delenv("EBMPIPE_FILES_table", raising=False)
    planned.export_folders()
    assert os.environ[path_variable("table")] == str(table)
    done = CliRunner().invoke(
        app, ["prepare", "--dataset", "table", "--settings", json.dumps(planned.own_settings("table")), "--results", str(tmp_path)]
    )
    assert done.exit_code == 0, done.output
    assert Prepared(tmp_path / "data/table").card["files"]["sha256"] == before
    with monkeypatch.context() as patch:
        patch.setattr("ebmpipe.data.listing.sha256", lambda path: pytest.fail("what has not changed is not read again"))
        assert planned.own_content("table") == before
    os.utime(table, (1, 1))
    assert planned.own_content("table") == before
    table.write_text(table.read_text().replace("e-01", "e-02", 1))
    assert planned.own_content("table") != before


@pytest.fixture
def results(place: Path, tmp_path: Path) -> Path:
    """Both prepared by hand in a results folder."""
    for name, path in (("faces", place / "faces"), ("table", place / "table.csv")):
        settings = json.dumps({"validation": 10, "test": 10})
        arguments = ["prepare", "--dataset", name, "--files", str(path), "--settings", settings, "--results", str(tmp_path)]
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
        assert "10 validation, 10 test" in done.output
    return tmp_path


def call(results: Path, *arguments: str) -> str:
    done = CliRunner().invoke(app, [*arguments, "--results", str(results)])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


@pytest.mark.parametrize("name", ["faces", "table"])
def test_a_run_by_hand(name: str, results: Path) -> None:
    network, quick = json.dumps(TINY["network"]), {"repeats": 4, "chains": 8, "pilot_chains": 32, "most_levels": 10, "base": "own"}
    settings = json.dumps({"batch_size": 16, "chains": 16, "steps": 2, "kernel": {"settings": {"step_size": 0.1}}})
    run = ["--dataset", name, "--label", "pcd"]
    said = call(results, "train", *run, "--method", "pcd", "--gradient-evaluations", "4000", "--network", network, "--settings", settings)
    assert "finished at step" in said and (results / f"runs/{name}/pcd/seed0/picture.png").is_file()
    early = CliRunner().invoke(app, ["evaluate", *run, "--results", str(results)])
    assert f"`ebmpipe sample --dataset {name} --label pcd --seed 0`" in str(early.exception)
    call(results, "sample", *run, "--settings", json.dumps({"n": 10, "steps": 3}))
    call(results, "long-run", *run, "--settings", json.dumps({"chains": 8, "steps": 60, "adaptation_steps": 10, "draws": 20}))
    metrics = ["annealing", "mmd", "energy_distance", "mixing"]
    call(results, "evaluate", *run, "--settings", json.dumps({"metrics": metrics, "features": [], "partition": quick}))
    rows = json.loads((results / f"runs/{name}/pcd/seed0/metrics.json").read_text())["rows"]
    found = {row["metric"] for row in rows if row["status"] == "ok"}
    assert {"log_z", "mmd", "energy_distance"} <= found and any(metric.startswith("rhat") for metric in found)
    folder = RunFolder.of(results, name, "pcd", 0)
    assert folder.config.network is not None and folder.config.revisions[f"data:{name}"] == {"faces": 1, "table": 2}[name]
    np.save(results / "drawn.npy", np.random.default_rng(0).normal(size=(20, *Prepared(results / "data" / name).spec.shape)))
    out = call(results, "evaluate", "--dataset", name, "--samples", str(results / "drawn.npy"), "--range", "model",
               "--settings", json.dumps({"metrics": ["mmd"], "features": []}))  # fmt: skip
    assert "mmd" in out


def test_given_samples_are_in_the_units_of_the_file(results: Path, place: Path) -> None:
    """The file scored as samples of itself is near the data, and gets what its standardised self gets; unmapped, it would be far off."""
    x = np.loadtxt(place / "table.csv", delimiter=",") * [1, 10, 100, 1e3, 1e4] + [5, -50, 500, 0, 1e5]
    np.savetxt(results / "x.csv", x, delimiter=",", fmt="%.17g")
    call(results, "prepare", "--dataset", "wide", "--files", str(results / "x.csv"), "--settings", '{"validation": 10, "test": 10}')
    scaling = Prepared(results / "data/wide").card["files"]["scaling"]
    found = {}
    for name, values, more in (
        ("file", x, ()),
        ("model", (x - scaling["offset"]) / scaling["scale"], ("--range", "model")),
        ("unmapped", x, ("--range", "model")),
    ):
        np.save(results / f"{name}.npy", values)
        said = call(results, "evaluate", "--dataset", "wide", "--samples", str(results / f"{name}.npy"), *more,
                    "--settings", json.dumps({"metrics": ["energy_distance"]}))  # fmt: skip
        assert ("in the units of the data set's file" in said) == (not more) and ("standardised like the data" in said) == bool(more)
        content = json.loads((results / f"external/{name}/metrics.json").read_text())
        assert content["samples"]["units"] == ("model" if more else "file")
        found[name] = next(row["value"] for row in content["rows"] if row["metric"] == "energy_distance")
    assert found["file"] == pytest.approx(found["model"], abs=1e-9) and abs(found["file"]) < 0.5 and found["unmapped"] > 100


def test_they_are_listed_verified_and_repaired(results: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBMPIPE_FILES_table", raising=False)
    listed = {line.split()[0]: line for line in call(results, "datasets").splitlines()}
    assert str(place / "faces") in listed["faces"] and "3x8x8" in listed["faces"] and "vectors" in listed["table"]
    found = json.loads(call(results, "doctor", "--json"))["findings"]
    assert any(one["name"] == "table" and str(place / "table.csv") in one["value"] for one in found)
    card = (results / "data/table/card.json").read_text()
    (results / "data/table/data.safetensors").write_bytes(b"x")
    (damaged,) = (one for one in verifying.verify(results) if not isinstance(one, Path))
    assert verifying.repair(damaged, results) == "prepared again" and (results / "data/table/card.json").read_text() == card
    (results / "data/table/card.json").write_text("{}")
    (damaged,) = (one for one in verifying.verify(results) if not isinstance(one, Path))
    with pytest.raises(ValueError, match="--dataset table --files PATH"):
        verifying.repair(damaged, results)
    call(results, "prepare", "--dataset", "table", "--files", str(place / "table.csv"), "--settings", '{"validation": 10, "test": 10}')
    assert (results / "data/table/card.json").read_text() == card


def test_preparing_again_takes_what_was_said_before(results: Path, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBMPIPE_FILES_table", raising=False)
    before = Prepared(results / "data/table").card
    call(results, "prepare", "--dataset", "table")
    assert Prepared(results / "data/table").card == before
    call(results, "prepare", "--dataset", "table", "--settings", '{"validation": 20, "test": 20, "scaling": "none"}')
    assert Prepared(results / "data/table").card["counts"] == {"train": 40, "validation": 20, "test": 20}


def test_moved_files_are_read_as_before(results: Path, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBMPIPE_FILES_table", raising=False)
    before = Prepared(results / "data/table").card
    shutil.copy(place / "table.csv", tmp_path / "elsewhere.csv")
    call(results, "prepare", "--dataset", "table", "--files", str(tmp_path / "elsewhere.csv"))
    after = Prepared(results / "data/table").card
    assert after["data_sha256"] == before["data_sha256"] and after["files"]["settings"]["path"] == str(tmp_path / "elsewhere.csv")
    assert after["files"]["settings"]["validation"] == 10


def test_what_cannot_be_prepared_by_hand_is_said(place: Path, tmp_path: Path) -> None:
    for arguments, told in {
        ("mnist", "--files", str(place / "table.csv")): "mnist is a data set of the package",
        ("My", "--files", str(place / "table.csv")): "'My' is no id",
        ("mine", "--files", str(tmp_path / "nowhere")): "nowhere does not exist",
        ("mine", "--settings", "{}"): "'mine' is none of the data",
        ("mine",): "data of your own are prepared first: `ebmpipe prepare --dataset mine --files PATH`",
        ("mine", "--files", str(place / "table.csv"), "--settings", '{"sise": 3}'): "sise",
    }.items():
        done = CliRunner().invoke(app, ["prepare", "--dataset", *arguments, "--results", str(tmp_path)])
        assert done.exit_code != 0 and told in str(done.exception), (arguments, done.exception)
    assert not (tmp_path / "data").exists()
    with pytest.raises(ValueError, match="is 8 × 8, less than 9 × 9"):
        prepare(
            "mine",
            tmp_path / "out",
            own=CATALOGUE["defaults"]["files"] | {"path": str(place / "faces"), "size": 9, "validation": 10, "test": 10},
        )
