"""A data set by its id: a member of the package, or the user's own as it was prepared."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

from ebmpipe import registry
from ebmpipe.data.base import DataSet
from ebmpipe.data.prepared import UnusableData, read_card


def of_the_package(name: str) -> bool:
    """Whether a data set comes with the package."""
    return name in registry.names("data")


def find(name: str, folder: Path | None = None) -> type[DataSet]:
    """The data set ``name``.

    Args:
        name: its id.
        folder: where it is prepared; needed for data of the user's own, which the card there describes.

    Raises:
        UnknownMember: if there is none of that name.
        UnusableData: if its card is damaged.
    """
    if not of_the_package(name) and folder is not None and (folder / "card.json").is_file():
        try:
            card = read_card(folder)
        except UnusableData as error:
            raise UnusableData(f"{error} {with_files(name)}, or remove {folder} and run the workflow again") from error
        if card["name"] == name and "files" in card:
            from ebmpipe.data.own_files import as_prepared

            return as_prepared(card)
    try:
        found: type[DataSet] = registry.load("data", name)
    except registry.UnknownMember as error:
        hint = f"data of your own are prepared first: `ebmpipe prepare --dataset {name} --files PATH`"
        raise registry.UnknownMember(f"{error}; {hint}") from error
    return found


def with_files(name: str) -> str:
    """How to prepare data of the user's own whose card, which alone knows where their files are, is lost."""
    return f"with --dataset {name} --files PATH"


def all_in(results: Path) -> dict[str, type[DataSet]]:
    """All data sets by id: those of the package, and the user's own that are prepared in a results folder and not damaged."""
    found: dict[str, type[DataSet]] = registry.load_all("data")
    for path in sorted((results / "data").glob("*/card.json")):
        if not of_the_package(path.parent.name):
            with suppress(UnusableData, registry.UnknownMember):
                found[path.parent.name] = find(path.parent.name, path.parent)
    return found
