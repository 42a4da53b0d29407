"""The stage that turns a data set into fixed, checked arrays and a card that describes them."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from itertools import chain, islice
from math import prod
from pathlib import Path
from typing import Any

from ebmpipe.array_file import ArrayFile, BadParts, Layout, Part, Told, silent, write_parts
from ebmpipe.config import FilesConfig
from ebmpipe.data.base import SPLITS, DataSet
from ebmpipe.data.fetching import UnusableRawData
from ebmpipe.data.finding import find, of_the_package
from ebmpipe.data.own import OwnData, UnusableFiles, path_variable
from ebmpipe.data.own_files import own as own_data
from ebmpipe.data.prepared import Prepared, UnusableData, read_card
from ebmpipe.data_card import check_layout, describe
from ebmpipe.files import Unwritable, atomic, held, sha256, sweep_abandoned, write_signed
from ebmpipe.progress import Progress
from ebmpipe.registry import UnknownMember

#: What a prepared folder holds.
FILES = ("data.safetensors", "card.json")

#: Bytes of data from which on preparing shows its progress.
LONG = 10**8


def prepare(name: str, out: Path, raw: Path | None = None, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Write ``out/data.safetensors`` and ``out/card.json`` of data set ``name``, each whole or not at all.

    The data come first: should the second file fail, the card of what lay there before does not describe the data, and nobody reads them.

    Args:
        name: id of the data set.
        out: folder to write to; made if need be.
        raw: folder of raw data files, for sets that need one.
        own: of data of the user's own, where their files are and how they are read, see `own_files`; None: as their card says.

    Returns:
        The card.

    Raises:
        UnknownMember: if there is no such data set.
        UnusableFiles: if no data set can be made of the user's own files; nothing is written.
        UnusableRawData: if raw files cannot be had or are not the published ones; nothing is written.
        ValueError: if the data set's arrays break its own description; nothing is written.
        Unwritable: if the disk does not take a file; what lay there before still does.
    """
    dataset = source(name, out, own)()
    layout, sizes = dataset.layout(raw), dataset.sizes_found(raw)
    check_layout(dataset, layout, sizes)
    parts = readable(dataset.name, dataset.parts(raw))
    first = list(islice(parts, 1))  # what must be downloaded is, before anything is written
    data = out / "data.safetensors"
    try:
        sweep_abandoned(data)
        with atomic(data) as temporary, held(temporary):
            with shown(f"preparing {dataset.name}", layout, dataset.decodes) as told:
                write_parts(temporary, layout, chain(first, parts), told)
            with shown(f"checking {dataset.name}", layout) as told:
                card = describe(dataset, ArrayFile(temporary), raw, told) | dataset.about()
            card["data_sha256"] = sha256(temporary)
    except BadParts as error:
        raise ValueError(f"data set {dataset.name}: {error}") from error
    finally:
        # Data that are refused leave no empty folder behind; `rmdir` removes no other.
        with suppress(OSError):
            out.rmdir()
    card["name"] = name  # the id under which every later stage finds the class again
    write_signed(out / "card.json", card)
    return card


def source(name: str, folder: Path, own: Mapping[str, Any] | None = None) -> type[DataSet]:
    """The data set that is to be prepared as ``name`` in ``folder``; one of the user's own as its files are now.

    Raises:
        UnknownMember: if there is none of that name.
        UnusableFiles: if no data set can be made of the user's own files.
    """
    if own is not None:
        return own_data(name, own)
    found = find(name, folder)
    return own_data(name, {**found.files, "path": place_of(name, found)}) if issubclass(found, OwnData) else found


def place_of(name: str, known: type[OwnData]) -> str:
    """Where the files of the user's own are: where the environment says, else where they were."""
    return os.environ.get(path_variable(name)) or known.files["path"]


def own_files(name: str, folder: Path, path: Path | None, settings: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Where the files of the user's own are and how they are read, as the command line says; None where it says nothing.

    Args:
        name: id that the data set is to have.
        folder: where it is prepared.
        path: the files; None: where the environment says (`path_variable`), or where they were when it was prepared last.
        settings: fields of `ebmpipe.config.FilesConfig`, defaults where absent; None: as they were read when it was prepared last.

    Raises:
        UnusableFiles: if the id is taken, or is none.
        UnknownMember: if nothing says where the files are.
    """
    if path is None and settings is None:
        return None
    if of_the_package(name):
        raise UnusableFiles(f"{name} is a data set of the package, which has files of its own: call yours by another id")
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise UnusableFiles(f"{name!r} is no id: lower-case letters, digits and _, starting with a letter")
    before: Mapping[str, Any] = {}
    try:
        before = getattr(find(name, folder), "files", {})
    except (UnknownMember, UnusableData):
        if path is None and not os.environ.get(path_variable(name)):
            raise
    place = path or os.environ.get(path_variable(name)) or before["path"]
    return FilesConfig.model_validate({**(before if settings is None else settings), "path": str(place)}).model_dump(mode="json")


def readable(name: str, parts: Iterator[Part]) -> Iterator[Part]:
    """``parts``; what goes wrong as raw data are read is not taken for trouble with the file that is written.

    Raises:
        UnusableRawData: if the system cannot read them.
    """
    try:
        yield from parts
    except Unwritable:
        raise
    except OSError as error:
        raise UnusableRawData(f"the raw data of {name} cannot be read ({error})") from error


@contextmanager
def shown(title: str, layout: Layout, always: bool = False) -> Iterator[Told]:
    """Shows how many examples are done, where that takes a while, or ``always``."""
    if not always and sum(prod(shape) * dtype.itemsize for shape, dtype in layout.values()) < LONG:
        yield silent
        return
    with Progress(title, sum(layout[split][0][0] for split in SPLITS)) as progress:
        yield lambda key, rows: progress.advance(count=rows if key in SPLITS else 0)


def ensure_prepared(name: str, folder: Path, raw: Path | None = None) -> dict[str, Any]:
    """The card of data set ``name`` in ``folder``, prepared if it is missing, damaged, or of another revision than the code.

    Preparing is deterministic, so that a damaged folder can be made again; standard error says when that is done.

    Raises:
        As `prepare`.
    """
    if not any((folder / file).exists() for file in FILES):
        return prepare(name, folder, raw)
    revision = find(name, folder).revision
    try:
        card = Prepared(folder, name).card
    except UnusableData as error:
        notice(f"{error}: doing so now")
        return repair(name, folder, raw)
    if card["revision"] != revision:
        notice(f"{folder} was prepared at revision {card['revision']} of {name}, which is at {revision} now: preparing it again")
        return prepare(name, folder, raw)
    return card


def repair(name: str, folder: Path, raw: Path | None = None, own: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Prepare ``name`` again where it was prepared before, and say on standard error what that changed.

    Files that come out as the card in ``folder`` describes them keep the time of that card: what was made from them is still up to date,
    and the workflow does not make it again. A card that is itself damaged vouches for nothing: then everything counts as new.

    Raises:
        As `prepare`.
    """
    try:
        before, time = read_card(folder), (folder / "card.json").stat().st_mtime_ns
    except (FileNotFoundError, UnusableData):
        before = None
    card = prepare(name, folder, raw, own)
    if before is not None and lasting(card) == lasting(before):
        for file in FILES:
            os.utime(folder / file, ns=(time, time))
        notice(f"{folder}: the data are those that the card describes; nothing made from them has to be made again")
    elif before is None:
        notice(f"{folder}: made anew; as there was no sound card before, what was made from these data is made again")
    else:
        notice(f"{folder}: not what the card there described before; what was made from these data is made again")
    return card


def lasting(card: Mapping[str, Any]) -> dict[str, Any]:
    """A card but for what says nothing of the data: where files of the user's own lie, and when they were written."""
    if "files" not in card:
        return dict(card)
    files = {key: value for key, value in card["files"].items() if key != "fingerprint"}
    return {**card, "files": {**files, "settings": {key: value for key, value in files["settings"].items() if key != "path"}}}


def notice(text: str) -> None:
    """Tell the user on standard error."""
    print(f"ebmpipe: {text}", file=sys.stderr, flush=True)
