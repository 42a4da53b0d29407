"""Runs of the stages' tests."""

import pytest
from small_runs import Trainer

from ebmpipe.training import train


@pytest.fixture
def folder_of(prepared, tmp_path):
    """Trains a run in a results folder of the given name."""

    def run(configuration, name="results", **options):
        return train(configuration, prepared[configuration.dataset], tmp_path / name, "cpu", **options)

    return run


@pytest.fixture
def trainer_on(prepared, tmp_path):
    """Trains runs on a data set in processes that may be killed."""

    def made(dataset, name="results"):
        return Trainer(prepared[dataset], tmp_path / name, tmp_path / "said")

    return made
