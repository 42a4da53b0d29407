"""What every test relies on: one thread, because results depend on their number, and figures without a screen."""

import os

# Before anything imports torch, numpy or matplotlib; the commands that tests start inherit it.
os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MPLBACKEND="agg")
os.environ["EBMPIPE_OFFLINE"] = "1"  # no test may touch the network

from pathlib import Path

import pytest

#: Files, or folders of them, that take minutes: they go first, so that no worker is left with one of them while others have nothing to do.
LONGEST = ("workflow", "partition", "test_gaussian_recovery.py", "test_config_mutations.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files, which workers are given one by one in the order of collection."""
    items.sort(key=lambda item: next((rank for rank, name in enumerate(LONGEST) if name in item.path.parts), len(LONGEST)))


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of three prepared data sets: one in the plane, one of images, one of states."""
    from ebmpipe.preparing import prepare

    folders = {}
    for name in ("eight_gaussians", "digits", "ising"):
        folders[name] = tmp_path_factory.mktemp("data") / name
        prepare(name, folders[name])
    return folders
