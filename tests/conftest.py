"""What every test relies on: one thread, because results depend on their number, and figures without a screen."""

import os

# Before anything imports torch, numpy or matplotlib; the commands that tests start inherit it.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MPLBACKEND="agg")
os.environ["EBMPIPE_OFFLINE"] = "1"  # no test may touch the network

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of three prepared data sets: one in the plane, one of images, one of states."""
    from ebmpipe.preparing import prepare

    folders = {}
    for name in ("eight_gaussians", "digits", "ising"):
        folders[name] = tmp_path_factory.mktemp("data") / name
        prepare(name, folders[name])
    return folders
