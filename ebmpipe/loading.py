"""Making the method of a run, with the trained runs that it builds on."""

from __future__ import annotations

from pathlib import Path

from ebmpipe.checkpoint import load_model
from ebmpipe.config import RunConfig
from ebmpipe.data.prepared import Prepared
from ebmpipe.methods.base import Method, build
from ebmpipe.runs import RunFolder


def required_folders(config: RunConfig, results: Path) -> dict[str, RunFolder]:
    """The folders of the runs that ``config`` builds on, by role: same data set, same seed."""
    return {role: RunFolder.of(results, config.dataset, label, config.seed) for role, label in config.requires.items()}


def make_run(config: RunConfig, data: Prepared, results: Path, device: str, iterations: int = 1000) -> Method:
    """The untrained method of a run, with what it requires loaded.

    Raises:
        ValueError: if a required run diverged, or the method cannot be built.
    """
    required = {}
    for role, folder in required_folders(config, results).items():
        if folder.ledger["status"] == "diverged":
            raise ValueError(f"{config.label} builds on {folder.path}, which diverged: {folder.ledger['reason']}")
        required[role] = load_run(folder, data, device)
    return build(
        config.method,
        data.spec,
        config.settings,
        config.seed,
        network=config.network,
        iterations=iterations,
        required=required,
        device=device,
    )


def load_run(folder: RunFolder, data: Prepared, device: str) -> Method:
    """The trained method of a run, its files checked against the ledger."""
    method = make_run(folder.config, data, folder.results, device)
    method.load_state_dict(load_model(folder.verified("model.safetensors")))
    return method
