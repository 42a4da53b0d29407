"""What all data of the user's own have in common, be they images or vectors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from ebmpipe.data.base import SPLITS, DataSet
from ebmpipe.data.listing import Listing

#: Fewest examples of a split.
FEWEST = 10


class UnusableFiles(ValueError):
    """Files of the user's own that no data set can be made of; the message names them and says why."""


def path_variable(name: str) -> str:
    """The environment variable that says where the files of a data set of one's own lie, if not where its card says.

    The workflow tells its jobs by it, as it tells them the folder of raw data: that changes nothing that is made from them.
    """
    return f"EBMPIPE_FILES_{name}"


def share(given: float, total: int, split: str) -> int:
    """The size of a split: a number of examples, or below 1 a fraction of ``total``."""
    if given >= 1 and given != int(given):
        raise UnusableFiles(f"{split}: {given} is neither a fraction below 1 nor a number of examples")
    return round(given * total) if given < 1 else int(given)


def sizes_of(files: Mapping[str, Any], total: int) -> dict[str, int]:
    """How many examples of ``total`` go to each split.

    Raises:
        UnusableFiles: if one would have fewer than `FEWEST`.
    """
    held_out = {split: share(files[split], total, split) for split in ("validation", "test")}
    sizes = {"train": total - sum(held_out.values())} | held_out
    for split in SPLITS:
        if sizes[split] < FEWEST:
            whole = f"{total} examples come to {', '.join(f'{sizes[one]} {one}' for one in SPLITS)}"
            remedy = (
                f"say `test: {FEWEST}, validation: {FEWEST}`" if total >= len(SPLITS) * FEWEST else f"give {len(SPLITS) * FEWEST} or more"
            )
            raise UnusableFiles(f"{files['path']}: {whole}, and each split needs {FEWEST}: {remedy}")
    return {split: sizes[split] for split in SPLITS}


class OwnData(DataSet):
    """What images and vectors of the user's own have in common.

    Attributes:
        files: where they are and how they are read: every field of `ebmpipe.config.FilesConfig`.
    """

    revision = 1
    source = "the user's own files"
    licence = "not stated: the user's own files"
    files: ClassVar[Mapping[str, Any]]

    def __init__(self) -> None:
        self.found: dict[str, Any] = {}

    @classmethod
    def path(cls) -> Path:
        """Where the files are."""
        return Path(cls.files["path"])

    @classmethod
    def whereabouts(cls, raw: Path | None) -> str:
        return f"your own, in {cls.path()}" if cls.path().exists() else f"your own; {cls.path()} is not there any more"

    @classmethod
    @abstractmethod
    def listing(cls) -> Listing:
        """The files that it is made of.

        Raises:
            UnusableFiles: if there are none.
        """

    @classmethod
    def fingerprint(cls) -> str:
        """See `Listing.fingerprint`."""
        try:
            return cls.listing().fingerprint()
        except OSError as error:
            raise UnusableFiles(f"{error.filename} cannot be read ({error.strerror})") from error

    @classmethod
    def content(cls) -> str:
        """See `Listing.content`; this reads every file."""
        listing = cls.listing()
        return listing.content(listing.checksums())

    def about(self) -> dict[str, Any]:
        return {"files": {"settings": dict(self.files), **self.found}}
