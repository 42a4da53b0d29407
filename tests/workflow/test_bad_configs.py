"""What a user sees of a bad config through Snakemake: one message, exit code 1, no job, no traceback."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Snakemake = Callable[..., Any]
WriteConfig = Callable[..., Path]


def refused(run: Any, folder: Path, *messages: str) -> None:
    assert run.returncode == 1, run.stdout + run.stderr
    for message in messages:
        assert message in run.stderr
    # Neither Python's nor Snakemake's account of where in our files it was raised.
    assert "Traceback" not in run.stderr and 'File "' not in run.stderr and ".smk" not in run.stderr
    assert not (folder / "results").exists()


@pytest.mark.parametrize(
    ("change", "messages"),
    [
        ({"seedz": [1]}, ["config.yaml, line ", "'seedz' is unknown. Did you mean 'seeds'?"]),
        ({"datasets": {"eight_gausians": {}}}, ["config.yaml, line ", "Did you mean 'eight_gaussians'?"]),
        (
            {"datasets": {"digits": {"optional": True}}, "methods": {"pcd": {"settings": {"steps": 0}}}},
            ["methods.pcd.settings.steps: 0 is below"],
        ),
        ({"methods": {1: {}}}, ["methods: the key 1 is not text"]),
    ],
)
def test_a_bad_config_ends_before_any_job(
    tmp_path: Path, snakemake: Snakemake, write_config: WriteConfig, change: dict[str, Any], messages: list[str]
) -> None:
    write_config(tmp_path, **change)
    refused(snakemake(tmp_path, "--cores", "1"), tmp_path, "config.yaml", *messages)


def test_a_key_given_twice_is_refused_with_both_lines(tmp_path: Path, snakemake: Snakemake, write_config: WriteConfig) -> None:
    config = write_config(tmp_path)
    lines = config.read_text().splitlines()
    config.write_text("\n".join([*lines, "results: elsewhere"]) + "\n")
    both = f"lines {lines.index('results: results') + 1} and {len(lines) + 1}: results is given twice"
    refused(snakemake(tmp_path, "--cores", "1"), tmp_path, both)


@pytest.mark.parametrize(
    ("text", "message"),
    [("results: r\nmethods: {pcd:\n", "config/config.yaml, line 3, column 1: not valid YAML"), ("", "config/config.yaml is empty")],
)
def test_a_default_config_that_cannot_be_read(tmp_path: Path, project: Path, snakemake: Snakemake, text: str, message: str) -> None:
    (project / "config/config.yaml").write_text(text)
    refused(snakemake(tmp_path, "--cores", "1", project=project, configfiles=()), tmp_path, message)


def test_of_several_files_and_the_command_line_the_one_to_blame_is_named(
    tmp_path: Path, snakemake: Snakemake, write_config: WriteConfig
) -> None:
    first, second = write_config(tmp_path), tmp_path / "second.yaml"
    second.write_text("# more\ndefaults:\n  density:\n    sampling: {stepz: 3}\n")
    run = snakemake(tmp_path, "--cores", "1", configfiles=(first, second))
    refused(run, tmp_path, "second.yaml, line 4: defaults.density.sampling: 'stepz' is unknown. Did you mean 'steps'?")
    run = snakemake(tmp_path, "--cores", "1", "--config", "seeds=[]")
    refused(run, tmp_path, "The command line (--config): seeds: must not be empty")


def test_what_only_the_code_knows_is_said_before_the_first_job(tmp_path: Path, snakemake: Snakemake, write_config: WriteConfig) -> None:
    write_config(tmp_path, methods={"pcd": {"settings": {"chains": 100, "batch_size": 256}}}, datasets={"eight_gaussians": {}})
    # A dry run plans, and does not wait for torch.
    assert snakemake(tmp_path, "--dry-run").returncode == 0
    run = snakemake(tmp_path, "--cores", "1")
    refused(run, tmp_path, "config.yaml", "pcd on eight_gaussians cannot be trained", "at least as many chains", "100 < 256")
    assert not list((tmp_path / ".snakemake").glob("locks/*"))


def test_an_optional_data_set_that_is_not_at_hand_is_left_out_with_a_notice(
    tmp_path: Path, snakemake: Snakemake, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no-cache"))
    write_config(tmp_path, datasets={"eight_gaussians": {}, "mnist": {"optional": True}}, raw_data="/nowhere")
    run = snakemake(tmp_path, "--dry-run")
    assert run.returncode == 0
    assert "mnist is left out" in run.stdout + run.stderr
    assert "`ebmpipe prepare --dataset mnist` downloads it" in run.stdout + run.stderr
    write_config(tmp_path, datasets={"mnist": {"optional": True}}, raw_data="/nowhere")
    refused(snakemake(tmp_path, "--cores", "1"), tmp_path, "mnist is left out", "none is at hand")


def test_the_message_of_a_failed_job_is_shown(tmp_path: Path, snakemake: Snakemake, write_config: WriteConfig) -> None:
    write_config(tmp_path, methods={"mine": {"method": "broken_method:Broken"}}, datasets={"two_moons": {}})
    run = snakemake(tmp_path, "--cores", "1")
    assert run.returncode == 1
    assert "ebmpipe: the wheel came off" in run.stderr
