"""The data set that files of the user's own make; no member: a config or `ebmpipe prepare --files` makes one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ebmpipe.data.decoding import SUFFIXES, UnusableImage
from ebmpipe.data.own import OwnData, UnusableFiles
from ebmpipe.data.own_images import OwnImages, samples
from ebmpipe.data.own_vectors import OwnVectors
from ebmpipe.data.prepared import UnusableData, read_card
from ebmpipe.data.tables import SUFFIXES as TABLES
from ebmpipe.data.tables import UnusableTable, ending


def own(name: str, files: Mapping[str, Any]) -> type[OwnData]:
    """The data set that files of the user's own make, by a look at their names and the first of them.

    Args:
        name: the id it is to have.
        files: every field of `ebmpipe.config.FilesConfig`.

    Raises:
        UnusableFiles: if no data set can be made of them, in one line.
    """
    path = Path(files["path"]).expanduser().absolute()
    files = {**files, "path": str(path)}
    base: type[OwnImages | OwnVectors] = OwnImages if path.is_dir() else OwnVectors
    if not path.exists():
        raise UnusableFiles(f"{path} does not exist")
    if base is OwnVectors and ending(path) not in TABLES:
        if ending(path) in SUFFIXES:
            raise UnusableFiles(f"{path} is one image: name the folder that holds all of them")
        raise UnusableFiles(f"{path} is neither a folder of images nor vectors in {', '.join(TABLES)}; unpack it if it is an archive")
    try:
        surveyed = base.survey(name, files)
    except (UnusableImage, UnusableTable) as error:
        raise UnusableFiles(str(error)) from error
    except OSError as error:
        raise UnusableFiles(f"{error.filename or path} cannot be read ({error.strerror or error})") from error
    return type(base.__name__, (base,), {"name": name, "title": name, "files": files, **surveyed})


def content_of(dataset: type[OwnData], folder: Path) -> str:
    """The checksum of the files that a data set is made of: as its card in ``folder`` says if they are as they were, else read anew.

    So a folder that was changed is noticed whenever that is asked for, and one that was only copied or touched counts as the same.
    """
    try:
        known = read_card(folder)["files"]
        if known["fingerprint"] == dataset.fingerprint():
            return str(known["sha256"])
    except (UnusableData, FileNotFoundError, KeyError):
        pass
    return dataset.content()


def as_prepared(card: Mapping[str, Any]) -> type[OwnData]:
    """The data set of the user's own that a card describes; its files need not be there any more."""
    base: type[OwnImages | OwnVectors] = OwnImages if card["kind"] == "images" else OwnVectors
    files = card["files"]["settings"]
    point = samples(card["counts"]["validation"]) if base is OwnImages else {}
    known = {key: card[key] for key in ("name", "title", "transformations", "classes", "levels")}
    more = {"shape": tuple(card["shape"]), "sizes": dict(card["counts"]), "files": files, "starting_point": point}
    return type(base.__name__, (base,), {**known, **more})
