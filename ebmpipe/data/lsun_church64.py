"""LSUN churches, 64 x 64."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, ClassVar

from PIL import Image

from ebmpipe.data import zips
from ebmpipe.data.decoding import FILTERED, fitted
from ebmpipe.data.fetching import UnusableRawData, default_raw_folder, first_writable
from ebmpipe.data.image_files import bounded
from ebmpipe.data.image_sets import ImageSet, Photographs
from ebmpipe.seeding import numpy_generator

#: The two databases, and the file of each that holds everything.
PARTS, DATA = ("church_outdoor_train_lmdb", "church_outdoor_val_lmdb"), "data.mdb"

#: Which of the two databases, and a key in it.
Key = tuple[int, bytes]


class LsunChurch64(ImageSet):
    """Photographs of churches from outside, labelled by people who were helped by a network: some are none."""

    name = "lsun_church64"
    revision = 1
    title = "LSUN churches 64x64"
    shape = (3, 64, 64)
    sizes: ClassVar[dict[str, int]] = {"train": 116_527, "validation": 5_000, "test": 5_000}
    #: Images in the two databases.
    counts: ClassVar[tuple[int, int]] = (126_227, 300)
    source = (
        "F. Yu, A. Seff, Y. Zhang, S. Song, T. Funkhouser and J. Xiao 2015, LSUN: Construction of a Large-scale Image Dataset using Deep "
        "Learning with Humans in the Loop (category church_outdoor)"
    )
    licence = "not stated; for research"
    transformations = (
        f"The largest square in the middle, shrunk to 64 × 64 by {FILTERED}; levels 0 to 255. The official validation set has only 300 "
        "images: these are in the test split, and the others of it and the validation split are held out of the official training set with "
        "a fixed seed."
    )
    origin = "their authors publish them at https://www.yf.io/p/lsun: fetch the category church_outdoor there"
    raw_choices: ClassVar[tuple[tuple[str, ...], ...]] = (tuple(f"{part}/{DATA}" for part in PARTS), tuple(f"{part}.zip" for part in PARTS))
    raw_folders: ClassVar[tuple[str, ...]] = ("lsun",)

    @classmethod
    def remarks(cls, raw: Path | None) -> list[str]:
        return [*super().remarks(raw), "no checksum of the databases is published"]

    @contextmanager
    def photographs(self, found: Mapping[str, Path]) -> Iterator[Photographs]:
        with ExitStack() as stack:
            databases = [stack.enter_context(database(path)) for path in found.values()]
            for path, one, count in zip(found.values(), databases, self.counts, strict=True):
                if one.stat()["entries"] != count:
                    raise UnusableRawData(f"{path} holds {one.stat()['entries']} images, not {count}")
            keys = [[(number, key) for key in self.keys(one)] for number, one in enumerate(databases)]
            reads = [stack.enter_context(one.begin(buffers=True)) for one in databases]
            paths = list(found.values())
            order = numpy_generator(0, "data", self.name).permutation(self.counts[0]).tolist()
            held_out, tested = self.sizes["validation"], self.sizes["test"] - self.counts[1]
            chosen = {"validation": order[:held_out], "test": order[held_out : held_out + tested], "train": order[held_out + tested :]}
            splits = {split: [keys[0][place] for place in sorted(places)] for split, places in chosen.items()}
            splits["test"] += keys[1]

            def content(key: Key) -> bytes:
                return bounded(bytes(reads[key[0]].get(key[1])), called(key))

            def called(key: Key) -> str:
                return f"{paths[key[0]]}: {key[1].decode('ascii', 'backslashreplace')}"

            yield Photographs(splits, content, called)

    @staticmethod
    def keys(one: Any) -> list[bytes]:
        """All keys of a database, in its order."""
        with one.begin() as transaction, transaction.cursor() as cursor:
            return list(cursor.iternext(keys=True, values=False))

    def shaped(self, image: Image.Image, called: str) -> Image.Image:
        return fitted(image, (64, 64), called)


@contextmanager
def database(path: Path) -> Iterator[Any]:
    """An LMDB environment, opened to be read only and without its lock file; that of a zip is unpacked beside it for the time.

    LMDB maps a file into memory, so that it cannot be read within an archive.

    Raises:
        UnusableRawData: if it is none.
        Unwritable: if a zip cannot be unpacked for want of space.
    """
    import lmdb

    with ExitStack() as stack:
        file = path
        if path.suffix == ".zip":
            where = first_writable([path.parent, default_raw_folder()], f"unpack {path} yourself")
            file = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=where, prefix=f".{path.stem}."))) / DATA
            unpack(path, file)
        try:
            environment = lmdb.open(str(file), subdir=False, readonly=True, lock=False, readahead=False, create=False, max_readers=1)
        except lmdb.Error as error:
            raise UnusableRawData(f"{path} is no LMDB database that can be read ({error})") from error
        with environment:
            yield environment


def unpack(archive: Path, target: Path) -> None:
    """The one file of an archive that holds a database, under a name of ours.

    Raises:
        UnusableRawData: if the archive cannot be read, or has no such file or several.
        Unwritable: if the disk does not take it.
    """
    from ebmpipe.files import Unwritable

    with zips.opened(archive) as opened:
        members = [name for name in opened.namelist() if Path(name).name == DATA]
        if len(members) != 1:
            raise UnusableRawData(f"{archive} holds {len(members)} files called {DATA}, not one")
        print(f"ebmpipe: unpacking {archive} for the time of preparing", file=sys.stderr, flush=True)
        try:
            with opened.open(members[0]) as packed, target.open("wb") as file:
                while block := packed.read(2**20):
                    try:
                        file.write(block)
                    except OSError as error:
                        text = f"{target} cannot be written ({error.strerror}); free space, or unpack {archive} elsewhere"
                        raise Unwritable(text) from error
        except Unwritable:
            raise
        except zips.FAULTS as error:
            raise UnusableRawData(f"{archive} cannot be unpacked ({error})") from error
