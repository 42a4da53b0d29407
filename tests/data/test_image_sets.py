"""CelebA, CelebA-HQ and LSUN churches, read from small files of exactly their formats: each image where and as it should be."""

from __future__ import annotations

import hashlib
import io
import shutil
import stat
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import lmdb
import numpy as np
import pytest
from pictures import encoded, noise
from PIL import Image

from ebmpipe import preparing
from ebmpipe.data import image_files
from ebmpipe.data.base import NEVER_RUN, SPLITS
from ebmpipe.data.celeba64 import CelebA64
from ebmpipe.data.celebahq256 import CelebAHQ256
from ebmpipe.data.decoding import levels_of
from ebmpipe.data.fetching import UnusableRawData
from ebmpipe.data.image_sets import ImageSet
from ebmpipe.data.lsun_church64 import LsunChurch64
from ebmpipe.data.prepared import Prepared

SIZES = {"train": 70, "validation": 12, "test": 13}


def archive(path: Path, members: Iterable[tuple[str, bytes]], **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w", **options) as file:
        for name, content in members:
            file.writestr(name, content)
    return path


def prepared(monkeypatch: pytest.MonkeyPatch, dataset: type[ImageSet], raw: Path, out: Path) -> Prepared:
    """``dataset`` prepared by the stage itself."""
    monkeypatch.setattr(preparing, "find", lambda name, folder=None: dataset)
    preparing.prepare(dataset.name, out, raw)
    return Prepared(out, dataset.name)


def shrunk(content: bytes, box: tuple[int, int, int, int], side: int) -> np.ndarray:
    """What Pillow makes of a part of an image, (left, top, right, bottom)."""
    opened = Image.open(io.BytesIO(content)).convert("RGB").crop(box)
    return levels_of(opened if opened.size == (side, side) else opened.resize((side, side), Image.Resampling.BILINEAR))


@pytest.fixture(autouse=True)
def no_other_raw_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


# CelebA


PARTITION = [split for split, count in enumerate(SIZES.values()) for _ in range(count)]
FACES = {f"{number:06}.jpg": encoded(levels, "JPEG") for number, levels in enumerate(noise(sum(SIZES.values()), 3, 218, 178), start=1)}


def make_celeba(raw: Path) -> None:
    archive(raw / "celeba/img_align_celeba.zip", [("img_align_celeba/", b""), *((f"img_align_celeba/{k}", v) for k, v in FACES.items())])
    lines = [f"{name} {split}" for name, split in zip(FACES, PARTITION, strict=True)]
    (raw / "celeba/list_eval_partition.txt").write_text("\n".join(lines) + "\n")


def small_celeba(raw: Path) -> type[CelebA64]:
    sums = {path.name: "md5:" + hashlib.md5(path.read_bytes()).hexdigest() for path in (raw / "celeba").iterdir() if path.is_file()}

    class Small(CelebA64):
        sizes = SIZES
        checksums = sums

    return Small


def test_celeba_is_the_official_partition_cropped_as_is_usual(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_celeba(tmp_path)
    data = prepared(monkeypatch, small_celeba(tmp_path), tmp_path, tmp_path / "out")
    contents = list(FACES.values())
    begin = 0
    for split, count in SIZES.items():
        expected = np.stack([shrunk(content, (15, 35, 163, 183), 64) for content in contents[begin : begin + count]])
        np.testing.assert_array_equal(data.split(split), expected)
        begin += count
    assert data.spec.shape == (3, 64, 64) and data.spec.classes is None and data.card["counts"] == SIZES
    assert data.card["remarks"] == [NEVER_RUN]
    unpacked = tmp_path / "folder"
    (unpacked / "celeba/img_align_celeba").mkdir(parents=True)
    shutil.copy(tmp_path / "celeba/list_eval_partition.txt", unpacked / "celeba")
    for name, content in FACES.items():
        (unpacked / "celeba/img_align_celeba" / name).write_bytes(content)
    from_folder = prepared(monkeypatch, small_celeba(tmp_path), unpacked, tmp_path / "out2")
    assert from_folder.card["remarks"] == [NEVER_RUN, "the images came from a folder, of which no checksum is published"]
    assert from_folder.card["data_sha256"] == data.card["data_sha256"]
    assert from_folder.card["images_sha256"] == data.card["images_sha256"]


def test_celeba_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    make_celeba(tmp_path)
    with pytest.raises(UnusableRawData, match=r"img_align_celeba\.zip is not the published file: its MD5 is .*, not 00d2c5bc6d35"):
        list(CelebA64().parts(tmp_path))
    place = tmp_path / "celeba"

    def told(dataset: type[CelebA64]) -> str:
        with pytest.raises(UnusableRawData) as caught:
            list(dataset().parts(tmp_path))
        assert "\n" not in str(caught.value)
        return str(caught.value)

    list_of = place / "list_eval_partition.txt"
    for text, expected in (("000001.jpg 3\n", "line 1"), ("a b c\n", "line 1"), ("000001.jpg 0\n", "has {'train': 1")):
        list_of.write_text(text)
        assert expected in told(small_celeba(tmp_path))
    list_of.write_text("".join(f"{number:06}.jpg {split}\n" for number, split in enumerate(PARTITION, start=2)))
    assert "lacks 000096.jpg, which list_eval_partition.txt names" in told(small_celeba(tmp_path))
    make_celeba(tmp_path)
    wrong = [("img_align_celeba/000001.jpg", encoded(noise(1, 3, 20, 20)[0], "JPEG")), *list(FACES.items())[1:]]
    archive(place / "img_align_celeba.zip", wrong)
    assert "000001.jpg is 20 × 20, and an aligned image is 218 × 178" in told(small_celeba(tmp_path))


def test_what_is_nowhere_is_told_where_to_get(tmp_path: Path) -> None:
    for dataset, place in ((CelebA64, "mmlab.ie.cuhk.edu.hk"), (CelebAHQ256, "CelebAMask-HQ"), (LsunChurch64, "www.yf.io/p/lsun")):
        assert not dataset.mirrors and "missing" in dataset.whereabouts(tmp_path)
        with pytest.raises(UnusableRawData, match=f"{dataset.name} needs .*{place}.* by EBMPIPE_DATA_DIR") as caught:
            dataset().layout(tmp_path)
        assert "\n" not in str(caught.value)


# CelebA-HQ


class SmallHQ(CelebAHQ256):
    sizes = SIZES


@pytest.fixture(scope="module")
def portraits() -> list[bytes]:
    """Images of 256 and of more, as PNG and JPEG."""
    small = [encoded(levels, "JPEG") for levels in noise(45, 3, 256, 256)]
    return small + [encoded(np.repeat(np.repeat(levels, 8, 1), 8, 2), "PNG") for levels in noise(50, 3, 40, 40, seed=1)]


@pytest.mark.parametrize(
    ("name", "member", "first"),
    [
        ("celebahq256.zip", "{:05}.png", 0),
        ("CelebAMask-HQ.zip", "CelebAMask-HQ/CelebA-HQ-img/{}.jpg", 0),
        ("data256x256.zip", "data256x256/{:05}.jpg", 1),
        ("CelebA-HQ-img/", "{}.jpg", 0),
        ("data256x256/", "{:05}.jpg", 1),
    ],
)
def test_celebahq_is_split_by_number(
    name: str, member: str, first: int, portraits: list[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    files = [(member.format(number), content) for number, content in enumerate(portraits, start=first)]
    masks = [("CelebAMask-HQ/CelebAMask-HQ-mask-anno/0/00000_hair.png", portraits[0]), ("CelebAMask-HQ/README.txt", b"x")]
    if name.endswith("/"):
        for file, content in files:
            (tmp_path / "celebahq" / name).mkdir(parents=True, exist_ok=True)
            (tmp_path / "celebahq" / name / file).write_bytes(content)
    else:
        archive(tmp_path / "celebahq" / name, [*reversed(files), *masks])
    data = prepared(monkeypatch, SmallHQ, tmp_path, tmp_path / "out")
    levels = [shrunk(content, (0, 0, *Image.open(io.BytesIO(content)).size), 256) for content in portraits]
    np.testing.assert_array_equal(data.split("test"), np.stack(levels[-13:]))
    place = {one.tobytes(): number for number, one in enumerate(levels)}
    held_out = [place[one.tobytes()] for one in data.split("validation")]
    kept = [place[one.tobytes()] for one in data.split("train")]
    assert sorted([*held_out, *kept]) == list(range(82)) and held_out == sorted(held_out) and kept == sorted(kept)
    assert data.card["counts"] == SIZES


def test_celebahq_needs_every_number_once(portraits: list[bytes], tmp_path: Path) -> None:
    place = tmp_path / "celebahq/celebahq256.zip"

    def told(files: list[tuple[str, bytes]]) -> str:
        archive(place, files)
        with pytest.raises(UnusableRawData) as caught:
            list(SmallHQ().parts(tmp_path))
        return str(caught.value)

    files = [(f"{number}.png", content) for number, content in enumerate(portraits)]
    assert "holds 94 images named by number, not 95 whose numbers follow" in told(files[:-1])
    assert "holds 95 images named by number, not 95 whose numbers follow" in told([*files[1:], ("99.png", portraits[0])])
    assert "has two images of number 7: 07.png and 7.png" in told([*files, ("07.png", portraits[0])])
    assert "holds 0 images" in told([("x.png", portraits[0])])
    assert "0.png is 40 × 40, less than 256 × 256" in told([("0.png", encoded(noise(1, 3, 40, 40)[0])), *files[1:]])


# Archives that lie


def test_hostile_archives_are_refused_and_write_nothing(portraits: list[bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    place = tmp_path / "celebahq/celebahq256.zip"
    files = [(f"{number}.png", content) for number, content in enumerate(portraits)]

    def told() -> str:
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(UnusableRawData) as caught:
            list(SmallHQ().parts(tmp_path))
        assert sorted(tmp_path.rglob("*")) == before and "\n" not in str(caught.value)
        return str(caught.value)

    place.parent.mkdir()
    place.write_bytes(b"PK hello")
    assert "is no zip archive that can be read" in told()
    with pytest.warns(UserWarning, match="Duplicate name"):
        archive(place, [*files, files[0]])
    assert "has the member '0.png' twice" in told()
    archive(place, files)
    content = bytearray(place.read_bytes())
    content[200] ^= 255
    place.write_bytes(content)
    assert "0.png cannot be unpacked (Bad CRC-32" in told()
    archive(place, [*files[:-1], ("94.png", b"\0" * 3_000_000)], compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(image_files, "LARGEST", 2_000_000)
    assert "94.png is larger than" in told()
    monkeypatch.undo()
    for name in ("../../outside/0.png", "/root/0.png", "C:\\0.png"):
        archive(place, [*files, (name, portraits[0])])
        assert "is no archive to be trusted: its member" in told()
    link = zipfile.ZipInfo("link.png")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    archive(place, files)
    with zipfile.ZipFile(place, "a") as file:
        file.writestr(link, "/etc/passwd")
    assert "'link.png' is a link or a special file" in told()
    archive(place, files)
    content = bytearray(place.read_bytes())
    at = content.index(b"PK\x01\x02")
    content[at + 8] |= 1
    place.write_bytes(content)
    assert "'0.png' is encrypted" in told()


# LSUN


COUNTS = (85, 10)
CHURCHES = [
    *(encoded(levels, "WEBP", quality=90) for levels in noise(45, 3, 70, 96)),
    *(encoded(levels, "WEBP", quality=90) for levels in noise(50, 3, 111, 64, seed=1)),
]


class SmallLsun(LsunChurch64):
    sizes = SIZES
    counts = COUNTS


def make_lsun(raw: Path) -> dict[str, list[bytes]]:
    """The two databases as their authors wrote them: hexadecimal keys, values that are WebP files; returns their values by key."""
    contents = {}
    for part, some in (("train", CHURCHES[:85]), ("val", CHURCHES[85:])):
        keyed = sorted((hashlib.sha1(content).hexdigest().encode(), content) for content in some)
        path = raw / f"lsun/church_outdoor_{part}_lmdb"
        path.mkdir(parents=True)
        with lmdb.open(str(path), map_size=2**26) as database, database.begin(write=True) as transaction:
            for key, content in keyed:
                transaction.put(key, content)
        contents[part] = [content for _, content in keyed]
    return contents


def test_lsun_churches_are_squares_from_the_middle(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    contents = make_lsun(tmp_path)
    locks = list(tmp_path.rglob("lock.mdb"))
    for lock in locks:
        lock.unlink()
    data = prepared(monkeypatch, SmallLsun, tmp_path, tmp_path / "out")
    assert not list(tmp_path.rglob("lock.mdb")), "nothing is locked"

    def square(content: bytes) -> np.ndarray:
        width, height = Image.open(io.BytesIO(content)).size
        side = min(width, height)
        left, top = (width - side) // 2, (height - side) // 2
        return shrunk(content, (left, top, left + side, top + side), 64)

    official = np.stack([square(content) for content in contents["val"]])
    np.testing.assert_array_equal(data.split("test")[-10:], official)
    place = {square(content).tobytes(): number for number, content in enumerate(contents["train"])}
    parts = [data.split("train"), data.split("validation"), data.split("test")[:-10]]
    assert sorted(place[one.tobytes()] for part in parts for one in part) == list(range(85))
    assert data.card["counts"] == SIZES and NEVER_RUN in data.card["remarks"]
    zipped = tmp_path / "zipped"
    for part in ("train", "val"):
        name = f"church_outdoor_{part}_lmdb"
        archive(zipped / f"lsun/{name}.zip", [(f"{name}/data.mdb", (tmp_path / f"lsun/{name}/data.mdb").read_bytes())])
    before = sorted(zipped.rglob("*"))
    again = prepared(monkeypatch, SmallLsun, zipped, tmp_path / "out2")
    assert sorted(zipped.rglob("*")) == before, "what was unpacked is gone"
    assert again.card["data_sha256"] == data.card["data_sha256"] and again.card["images_sha256"] == data.card["images_sha256"]


def test_lsun_that_is_not_the_published_one_is_refused(tmp_path: Path) -> None:
    make_lsun(tmp_path)
    with pytest.raises(UnusableRawData, match="holds 85 images, not 126227"):
        list(LsunChurch64().parts(tmp_path))
    (tmp_path / "lsun/church_outdoor_val_lmdb/data.mdb").write_bytes(b"hello")
    with pytest.raises(UnusableRawData, match="is no LMDB database that can be read"):
        list(SmallLsun().parts(tmp_path))
    zipped = tmp_path / "zipped"
    for part in ("train", "val"):
        archive(zipped / f"lsun/church_outdoor_{part}_lmdb.zip", [("x/data.mdb", b"a"), ("y/data.mdb", b"b")])
    with pytest.raises(UnusableRawData, match=r"holds 2 files called data\.mdb, not one"):
        list(SmallLsun().parts(zipped))


@pytest.mark.parametrize("dataset", [CelebA64, CelebAHQ256, LsunChurch64])
def test_what_was_published_is_stated(dataset: type[ImageSet]) -> None:
    total = {"celeba64": 202_599, "celebahq256": 30_000, "lsun_church64": 126_527}[dataset.name]
    assert sum(dataset.sizes.values()) == total and list(dataset.sizes) == list(SPLITS)
    assert dataset.remarks(None)[0] == NEVER_RUN and dataset.decodes and dataset.duplicates is None
