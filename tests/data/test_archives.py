"""Archives are read, not unpacked; hostile ones are refused before anything of theirs is used."""

from __future__ import annotations

import gzip
import io
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from ebmpipe.data import archives
from ebmpipe.data.archives import members
from ebmpipe.data.fetching import UnusableRawData

WANTED = {"set/a": 100, "set/b": 100}


def member(name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(content), kind, target
    return info, content


SOUND = [member("set", kind=tarfile.DIRTYPE), member("set/note", b"hello"), member("set/b", b"B" * 90), member("set/a", b"A")]


def packed(path: Path, entries: list[tuple[tarfile.TarInfo, bytes]], format: int = tarfile.PAX_FORMAT) -> Path:
    with tarfile.open(path, "w:gz", format=format) as tar:
        for info, content in entries:
            tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_wanted_members_come_in_the_archives_order(tmp_path: Path, format: int) -> None:
    assert list(members(packed(tmp_path / "x.tar.gz", SOUND, format), WANTED)) == [("set/b", b"B" * 90), ("set/a", b"A")]
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]


@pytest.mark.parametrize(
    ("entry", "complaint"),
    [
        (member("../evil", b"x"), "'../evil' would lie outside"),
        (member("set/../../evil", b"x"), "would lie outside"),
        (member("/etc/evil", b"x"), "'/etc/evil' would lie outside"),
        (member("..\\evil", b"x"), "would lie outside"),
        (member("set/link", kind=tarfile.SYMTYPE, target="/etc/passwd"), "'set/link' is a link or a special file"),
        (member("set/link", kind=tarfile.LNKTYPE, target="set/b"), "is a link or a special file"),
        (member("set/a", kind=tarfile.SYMTYPE, target="/etc/passwd"), "'set/a' is a link or a special file"),
        (member("set/pipe", kind=tarfile.FIFOTYPE), "is a link or a special file"),
        (member("set/disk", kind=tarfile.BLKTYPE), "is a link or a special file"),
        (member("set/a", kind=tarfile.DIRTYPE), "'set/a' is a folder"),
        (member("set/a", b"x" * 101), "'set/a' is a folder, or has more than the 100 bytes that it may"),
        (member("set/b", b"again"), "the member 'set/b' twice"),
    ],
)
def test_hostile_members_are_refused(tmp_path: Path, entry: tuple[tarfile.TarInfo, bytes], complaint: str) -> None:
    path = packed(tmp_path / "x.tar.gz", [*SOUND[:3], entry, SOUND[3]])
    with pytest.raises(UnusableRawData, match=f"x.tar.gz is no archive to be trusted: .*{complaint}"):
        list(members(path, WANTED))
    assert [path.name for path in tmp_path.iterdir()] == ["x.tar.gz"]


def test_a_missing_member_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnusableRawData, match="it has no member set/a"):
        list(members(packed(tmp_path / "x.tar.gz", SOUND[:3]), WANTED))


def zeros(path: Path, header: tarfile.TarInfo, count: int) -> None:
    """An archive of one member that announces ``count`` zeros, and has them."""
    with gzip.open(path, "wb") as file:
        file.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(count // 2**20):
            file.write(bytes(2**20))


@pytest.mark.parametrize("kind", [tarfile.REGTYPE, tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME], ids=["file", "header", "name"])
def test_what_unpacks_to_too_much_is_refused_before_it_does(tmp_path: Path, kind: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a member that nobody wants, or as a header or name of a member, which tarfile would read into memory at once."""
    monkeypatch.setattr(archives, "BESIDE", 2**22)
    info = tarfile.TarInfo("set/padding")
    info.size, info.type = 2**25, kind
    path = tmp_path / "x.tar.gz"
    zeros(path, info, 2**25)
    assert path.stat().st_size < 2**16
    with pytest.raises(UnusableRawData, match="it unpacks to more than the 4194504 bytes that it may"):
        list(members(path, WANTED))


Damage = Callable[[bytes], bytes]


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"<html>not found</html>",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-20] + b"\xff" * 12 + content[-8:],
        lambda content: content[:-3],
        lambda content: content[:-8],
        lambda content: content[:-8] + b"\0" * 8,
        lambda content: gzip.compress(b"no tar archive" * 100),
        lambda content: gzip.compress(gzip.decompress(content)[:1600]),
    ],
    ids=[
        "empty",
        "web page",
        "cut off",
        "altered",
        "cut off in its checksum",
        "without checksum",
        "wrong checksum",
        "no archive",
        "cut off within",
    ],
)
def test_damaged_archives_are_one_error(tmp_path: Path, damage: Damage) -> None:
    path = packed(tmp_path / "x.tar.gz", SOUND)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnusableRawData, match=r"x.tar.gz (cannot be unpacked|is no archive to be trusted)"):
        list(members(path, WANTED))


@pytest.mark.parametrize(
    "headers",
    [
        {"GNU.sparse.map": "abc", "GNU.sparse.size": "1"},
        {"GNU.sparse.size": "abc"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": "9"},
        {"size": "abc"},
    ],
)
def test_headers_that_say_nonsense_are_one_error(tmp_path: Path, headers: dict[str, str]) -> None:
    """The third is of a sparse member, whose map would begin its content; there, it is cut off, and tarfile asks for more without end."""
    info, content = member("set/b", b"B" * 90)
    info.pax_headers = headers
    path = packed(tmp_path / "x.tar.gz", [*SOUND[:2], (info, content), SOUND[3]])
    with pytest.raises(UnusableRawData, match=r"x.tar.gz (cannot be unpacked|is no archive to be trusted)"):
        list(members(path, WANTED))
    head = tarfile.TarInfo("set/b")
    head.pax_headers, head.size = headers, 10**6
    path.write_bytes(gzip.compress(head.tobuf(tarfile.PAX_FORMAT) + b"9" * 512))
    with pytest.raises(UnusableRawData, match=r"x.tar.gz (cannot be unpacked|is no archive to be trusted)"):
        list(members(path, WANTED))
