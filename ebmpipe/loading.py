"""Making the method of a run, with the trained runs that it builds on."""

from __future__ import annotations

from pathlib import Path

from ebmpipe import registry
from ebmpipe.checkpoint import load_model
from ebmpipe.config import NetworkConfig, RunConfig
from ebmpipe.data.base import DataSet
from ebmpipe.data.finding import find
from ebmpipe.data.prepared import Prepared
from ebmpipe.files import CorruptFile
from ebmpipe.methods.base import Method, build, settings_of
from ebmpipe.resolving import KERNELS
from ebmpipe.runs import RunFolder
from ebmpipe.starting_points import starting_point_of

#: Bumped when the numerics of the training loop change.
TRAINING_REVISION = 1


def resolve(config: RunConfig, dataset: type[DataSet] | None = None) -> RunConfig:
    """``config`` with every default filled in, those of its kind of data and data set included, and the revisions of its members.

    What it returns is what config.json holds and what a checkpoint is keyed by: a changed default or a bumped revision is a change.

    Args:
        config: the run.
        dataset: its data set; None for the package's own of that id.

    Raises:
        UnknownMember: if a member does not exist.
        ValueError: if a setting is unknown or out of range.
    """
    method, dataset = registry.load("methods", config.method), dataset or find(config.dataset)
    settings = settings_of(method, dataset.kind, config.settings).model_dump(mode="json")
    chosen = config.network or NetworkConfig.model_validate(starting_point_of(dataset)["network"])
    network = registry.load("nets", chosen.name)
    revisions = {name: number for name, number in config.revisions.items() if name.startswith("source:")}
    revisions |= {"training": TRAINING_REVISION, f"data:{config.dataset}": dataset.revision, f"method:{config.method}": method.revision}
    revisions[f"network:{chosen.name}"] = network.revision
    for role in KERNELS:
        if kernel := settings.get(role):
            revisions[f"sampler:{kernel['name']}"] = registry.load("samplers", kernel["name"]).revision
    for role, members, what in (("architecture", "flows", "flow"), ("network", "nets", "network")):
        if found := settings.get(role):
            member = registry.load(members, found["name"])
            revisions[f"{what}:{found['name']}"] = member.revision
            found["settings"] = member.Config.model_validate(found["settings"]).model_dump(mode="json")
    filled = chosen.model_copy(update={"settings": network.Config.model_validate(chosen.settings).model_dump(mode="json")})
    return config.model_copy(update={"settings": settings, "network": filled, "revisions": revisions})


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
        if lost := folder.training_divergence:
            raise ValueError(f"{config.label} builds on {folder.path}, which diverged: {lost}")
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
    """The trained method of a run, its files checked against the ledger.

    Raises:
        CorruptFile: if a file was altered, or the data are not those that the run was trained on.
    """
    if folder.ledger["inputs"].get("data") != data.card["data_sha256"]:
        raise CorruptFile(f"{folder.path} was not trained on the data that {data.folder} holds now: run `ebmpipe train` for it again")
    method = make_run(folder.config, data, folder.results, device)
    method.load_state_dict(load_model(folder.verified("model.safetensors")))
    return method
