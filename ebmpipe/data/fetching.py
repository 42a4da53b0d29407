"""Files of others: where raw data are looked for, and how what is nowhere comes from the network. Needs neither numpy nor torch."""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import urlsplit

from ebmpipe.data.transfer import BrokenOff, Refused, transfer

if TYPE_CHECKING:
    from ebmpipe.data.base import DataSet

Read = TypeVar("Read")

#: Raises `UnusableRawData` if the file at a path is not the published one; the text is what messages call it.
Check = Callable[[Path, str], object]

#: Seconds before each round through the mirrors.
WAITS = (0.0, 1.0, 4.0)

#: Set to anything but 0, no connection is opened.
OFFLINE = "EBMPIPE_OFFLINE"


class UnusableRawData(ValueError):
    """Raised when raw files are missing or not the published ones; the message names the file and what to do."""


def default_raw_folder() -> Path:
    """Where downloads go when no folder of raw data is named: below the user's cache. Its files are ours to replace."""
    cache = os.environ.get("XDG_CACHE_HOME", "")
    # The specification of XDG_CACHE_HOME has relative paths ignored.
    return (Path(cache) if Path(cache).is_absolute() else Path.home() / ".cache") / "ebmpipe"


def folders(places: Sequence[str], raw: Path | None) -> list[Path]:
    """The folders to look for raw files in, in this order: below the folder of raw data, below the default one, the system's.

    Args:
        places: folders of a data set, relative to a folder of raw data, or absolute for those of the system.
        raw: the folder of raw data that the user named, if any.
    """
    roots = [root for root in (raw, default_raw_folder()) if root is not None]
    relative = [root / place for root in roots for place in places if not Path(place).is_absolute()]
    return list(dict.fromkeys([*relative, *(Path(place) for place in places if Path(place).is_absolute())]))


def candidates(name: str, places: Sequence[str], raw: Path | None, endings: Sequence[str] = ("",)) -> list[Path]:
    """The files called ``name``, with one of ``endings`` added, in the order of `folders`."""
    paths = [folder / (name + ending) for folder in folders(places, raw) for ending in endings]
    return [path for path in paths if path.is_file()]


def at_hand(choices: Sequence[Sequence[str]], places: Sequence[str], raw: Path | None, endings: Sequence[str] = ("",)) -> dict[str, Path]:
    """The first of several sets of files that is there whole: name -> the first file of that name; empty if none is."""
    for names in choices:
        found = {name: paths[0] for name in names if (paths := candidates(name, places, raw, endings))}
        if len(found) == len(names):
            return found
    return {}


def lacking(choices: Sequence[Sequence[str]], places: Sequence[str], raw: Path | None, endings: Sequence[str] = ("",)) -> list[str]:
    """What is not there of the set of files that lacks least, of those that are there in part; empty where nothing is there at all."""
    absent = [[name for name in names if not candidates(name, places, raw, endings)] for names in choices]
    begun = [names for names, files in zip(absent, choices, strict=True) if len(names) < len(files)]
    return min(begun, key=len, default=[])


def ours(path: Path) -> bool:
    """Whether ``path`` lies in the default folder, where a damaged file may be replaced; any other folder belongs to the user."""
    return path.resolve().is_relative_to(default_raw_folder().resolve())


def download_folder(places: Sequence[str], raw: Path | None) -> Path:
    """The folder to download to, where `folders` finds it again: below ``raw`` if it can be written, else below the default folder.

    Raises:
        UnusableRawData: if neither can be written.
    """
    roots = dict.fromkeys(root for root in (raw, default_raw_folder()) if root is not None)
    return first_writable([root / places[0] for root in roots], "name one by EBMPIPE_DATA_DIR or --raw")


def first_writable(choices: Sequence[Path], advice: str) -> Path:
    """The first of some folders that can be written; made if need be.

    Raises:
        UnusableRawData: if none can be; it ends with ``advice``.
    """
    complaints = []
    for folder in choices:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            complaints.append(f"{folder} cannot be written ({error.strerror})")
        else:
            for complaint in complaints:
                print(f"ebmpipe: {complaint}; downloading to {folder}", file=sys.stderr)
            return folder
    raise UnusableRawData(f"there is no folder to download to: {'; '.join(complaints)}; {advice}")


@contextmanager
def locked(part: Path) -> Iterator[FileIO]:
    """``part``, opened to append and held by this process alone: of two that want the same file, one waits for the other."""
    while True:
        with part.open("ab+", buffering=0) as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                print(f"ebmpipe: another process is downloading {part.stem}; waiting for it", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
            if same(part, file):
                yield file
                return


def same(path: Path, file: FileIO) -> bool:
    """Whether ``file`` is still what ``path`` names: while we waited, whoever held it may have renamed or removed it."""
    try:
        return os.path.samestat(path.stat(), os.fstat(file.fileno()))
    except FileNotFoundError:
        return False


def obtain(dataset: DataSet | type[DataSet], name: str, raw: Path | None, read: Callable[[Path, str], Read]) -> Read:
    """What ``read`` makes of the raw file ``name``, from the first folder that has it, else from the network.

    A damaged file in the default folder for downloads is replaced; one in a folder of the user's is left as it is and refused.

    Args:
        dataset: whose file it is.
        name: of the file, without what `DataSet.raw_endings` and `mirror_ending` add.
        raw: the folder of raw data that the user named, if any.
        read: raises `UnusableRawData` if the file at a path is not the published one; the text is what messages call it.

    Raises:
        UnusableRawData: if it cannot be had, or is not the published one; the message says what to do by hand.
        Unwritable: if the disk does not take it.
    """
    damaged = []
    for path in candidates(name, dataset.raw_folders, raw, dataset.raw_endings):
        try:
            return read(path, str(path))
        except UnusableRawData as error:
            if not ours(path):
                remedy = f"it is left as it is: replace it{', or remove it to have it downloaded' if dataset.mirrors else ''}"
                raise UnusableRawData(f"{error}; {remedy}") from error
            print(f"ebmpipe: {error}; it is replaced", file=sys.stderr)
            damaged.append(path)
    if not dataset.mirrors:
        zipped = ", gzipped or not," if ".gz" in dataset.raw_endings else ","
        raise UnusableRawData(
            f"{dataset.name} needs {name}{zipped} which is not in {', '.join(map(str, dataset.folders(raw)))}; "
            "name the folder of raw data by EBMPIPE_DATA_DIR, raw_data in the config, or --raw"
        )
    target = fetch(dataset, name, raw, read)
    for path in damaged:
        if path != target:
            path.unlink(missing_ok=True)
    return read(target, str(target))


def fetch(dataset: DataSet | type[DataSet], name: str, raw: Path | None, check: Check) -> Path:
    """Download the raw file ``name`` of ``dataset`` and return where it is, called as on the mirrors.

    Raises:
        UnusableRawData: if it cannot be had; the message says what to do by hand.
        Unwritable: if the disk does not take it.
    """
    file = name + dataset.mirror_ending
    planned = folders(dataset.raw_folders, raw)[0] / file
    urls = [mirror + file for mirror in dataset.mirrors]
    return fetch_to(urls, planned, lambda: download_folder(dataset.raw_folders, raw), check, dataset.name)


def fetch_to(urls: Sequence[str], planned: Path, folder: Callable[[], Path], check: Check, owner: str) -> Path:
    """Download a file that is nowhere and return where it is.

    Args:
        urls: as of `download`.
        planned: where it belongs.
        folder: makes the folder that it goes to, which is another one if that of ``planned`` cannot be written.
        check: as of `download`.
        owner: as of `download`.

    Raises:
        UnusableRawData: if connections are forbidden or no mirror gives it; the message says what to do by hand.
        Unwritable: if the disk does not take it.
    """
    if os.environ.get(OFFLINE, "0") not in ("", "0"):
        raise UnusableRawData(by_hand(owner, planned, f"{OFFLINE} is set", urls))
    target = folder() / planned.name
    print(f"ebmpipe: {owner}: downloading {target}", file=sys.stderr, flush=True)
    try:
        download(urls, target, check, owner)
    finally:
        # A download that brought nothing leaves no empty folder behind; `rmdir` removes no other.
        with suppress(OSError):
            target.parent.rmdir()
    return target


def download(urls: Sequence[str], target: Path, check: Check, owner: str) -> None:
    """Download ``target`` from the first of ``urls`` that gives the right file; it gets its name only when checked.

    What an interrupted transfer brought stays beside it as ``.part``, whatever ended it, and the next one goes on from there.

    Args:
        urls: mirrors, in the order in which they are tried.
        target: the file to make; its folder exists.
        check: what the file must pass.
        owner: the data set or network, for messages.

    Raises:
        UnusableRawData: if no mirror gives it: with the reason of each, and what to do by hand.
        Unwritable: if the disk does not take it; nothing is left then.
    """
    part, origin = (target.with_name(target.name + ending) for ending in (".part", ".part.json"))
    with locked(part) as file:
        if sound(target, check):  # another process was faster
            part.unlink()
            return
        try:
            reasons = attempt(list(urls), file, origin, target, check)
            if not reasons:
                os.fsync(file)
                part.replace(target)
            elif os.fstat(file.fileno()).st_size == 0:
                part.unlink()
        except OSError as error:
            from ebmpipe.files import Unwritable  # here, because it imports numpy, which planning does without

            part.unlink(missing_ok=True)
            raise Unwritable(f"{target} cannot be written ({error.strerror or error}); free space, then run it again") from error
        finally:
            if not part.exists():
                origin.unlink(missing_ok=True)
    if reasons:
        raise UnusableRawData(by_hand(owner, target, "; ".join(f"{urlsplit(url).netloc}: {why}" for url, why in reasons.items()), urls))


def by_hand(owner: str, target: Path, why: str, urls: Sequence[str]) -> str:
    """The message about a file that cannot be downloaded."""
    name = target.name if target.name.endswith(".tar.gz") else target.name.removesuffix(".gz")
    return f"{owner} needs {name}, and downloading it failed ({why}); fetch it from {' or '.join(urls)} and put it into {target.parent}"


def sound(path: Path, check: Check) -> bool:
    """Whether ``path`` is there and passes."""
    try:
        check(path, str(path))
    except UnusableRawData:
        return False
    return True


def attempt(urls: list[str], file: FileIO, origin: Path, target: Path, check: Check) -> dict[str, str]:
    """Fill ``file`` from one of ``urls``; returns nothing on success, else why each failed.

    A mirror that breaks off is gone on with at once as long as each try brings more, and asked again in the next round when not. One that
    says no, or gives another file, is not asked again.
    """
    part = Path(file.name)
    reasons: dict[str, str] = {}
    if sound(part, check):  # all of it had come when the last process was stopped
        return reasons
    for wait in WAITS:
        if urls:
            time.sleep(wait)
        for url in list(urls):
            progress = True
            while progress:
                before, resumed = os.fstat(file.fileno()).st_size, False
                try:
                    resumed = transfer(url, file, origin, target.name)
                    check(part, f"what {url} gives as {target.name}")
                    return {}
                except BrokenOff as error:
                    reasons[url] = str(error)
                    progress = os.fstat(file.fileno()).st_size > before
                except (Refused, UnusableRawData) as error:
                    reasons[url] = str(error)
                    if not isinstance(error, Refused):
                        file.truncate(0)
                    # Pieces of two files do not make a sound one: once more from the start.
                    progress = resumed
                    if not resumed:
                        urls.remove(url)
    return reasons
