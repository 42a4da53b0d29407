"""Image files as levels: exact where nothing is resized, of known means where something is, and what is refused."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from pictures import encoded, image, noise, png
from PIL import Image

from ebmpipe.data.decoding import SUFFIXES, UnusableImage, cropped, decoded, fitted, levels_of, looked_at, middle, resized


def read(content: bytes) -> np.ndarray:
    return levels_of(decoded(io.BytesIO(content), "it"))


LOSSLESS: list[tuple[str, dict[str, bool], int]] = [(kind, {}, channels) for kind in ("PNG", "BMP", "TIFF") for channels in (1, 3)]


@pytest.mark.parametrize(("kind", "options", "channels"), [*LOSSLESS, ("WEBP", {"lossless": True, "exact": True}, 3)])
def test_lossless_formats_keep_every_level(kind: str, options: dict[str, bool], channels: int) -> None:
    levels = noise(1, channels, 5, 7)[0]
    content = encoded(levels, kind, **options)
    np.testing.assert_array_equal(read(content), levels)
    assert looked_at(io.BytesIO(content), "it") == ("grey" if channels == 1 else "rgb", (5, 7))


def test_palettes_and_bits_are_unpacked_without_loss() -> None:
    colours = noise(4, 3)
    indices = np.random.default_rng(1).integers(0, 4, (6, 5))
    painted = image(colours[indices].transpose(2, 0, 1)).convert("P", palette=Image.Palette.ADAPTIVE, colors=4)
    for kind in ("PNG", "GIF"):
        file = io.BytesIO()
        painted.save(file, kind)
        np.testing.assert_array_equal(read(file.getvalue()), colours[indices].transpose(2, 0, 1))
    bits = np.random.default_rng(2).random((4, 9)) < 0.5
    file = io.BytesIO()
    Image.fromarray(bits).save(file, "PNG")
    np.testing.assert_array_equal(read(file.getvalue())[0], bits * 255)


def test_jpeg_is_near() -> None:
    rows, columns = np.mgrid[:32, :32]
    levels = np.stack([rows * 4, columns * 4, rows + columns]).astype(np.uint8)
    assert np.abs(read(encoded(levels, "JPEG", quality=98, subsampling=0)).astype(int) - levels).max() <= 4


@pytest.mark.parametrize("orientation", range(1, 9))
def test_images_are_turned_upright(orientation: int) -> None:
    levels = noise(1, 3, 4, 6)[0]
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(levels, "PNG", exif=exif)
    # EXIF 2.3, 4.6.4: where row 0 and column 0 of the upright image are among the rows and columns of the stored one.
    flips = {1: "", 2: "h", 3: "hv", 4: "v", 5: "t", 6: "tH", 7: "tHV", 8: "tV"}
    expected = levels
    for step in flips[orientation]:
        expected = {"h": expected[:, :, ::-1], "v": expected[:, ::-1], "t": expected.transpose(0, 2, 1)}.get(step, expected)
        expected = {"H": expected[:, :, ::-1], "V": expected[:, ::-1]}.get(step, expected)
    np.testing.assert_array_equal(read(content), expected)
    assert looked_at(io.BytesIO(content), "it")[1] == expected.shape[1:]


def test_of_a_photograph_with_a_preview_the_photograph_is_taken() -> None:
    first, second = (image(levels) for levels in noise(2, 3, 16, 16))
    file = io.BytesIO()
    first.save(file, "MPO", save_all=True, append_images=[second], quality=95)
    alone = encoded(levels_of(first), "JPEG", quality=95)
    np.testing.assert_array_equal(read(file.getvalue()), read(alone))


def test_opaque_images_may_have_an_alpha_channel() -> None:
    levels = noise(1, 3, 4, 4)[0]
    opaque = Image.merge("RGBA", [*image(levels).split(), Image.new("L", (4, 4), 255)])
    file = io.BytesIO()
    opaque.save(file, "PNG")
    np.testing.assert_array_equal(read(file.getvalue()), levels)


def saved(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


RGB = image(noise(1, 3, 4, 4)[0])
REFUSED = {
    "transparent": (lambda: saved(Image.merge("RGBA", [*RGB.split(), Image.new("L", (4, 4), 254)]), "PNG"), "it is transparent in places"),
    "a transparent grey": (lambda: saved(Image.new("L", (4, 4), 7), "PNG", transparency=7), "it is transparent in places"),
    "16 bits grey": (lambda: saved(Image.fromarray(np.full((4, 4), 300, np.uint16)), "PNG"), "it has more than 8 bits a channel"),
    "16 bits colour": (lambda: png(4, 4, 16, 2, b"\0" * 100), "it has more than 8 bits a channel"),
    "floats": (lambda: saved(Image.fromarray(np.ones((4, 4), np.float32)), "TIFF"), "it has more than 8 bits a channel"),
    "CMYK": (lambda: saved(Image.new("CMYK", (4, 4)), "JPEG"), "it is CMYK; convert it"),
    "moving": (lambda: saved(RGB, "GIF", save_all=True, append_images=[RGB.rotate(90)]), "it has 2 frames"),
    "a moving PNG": (lambda: saved(RGB, "PNG", save_all=True, append_images=[RGB.rotate(90)]), "it has 2 frames"),
    "cut off": (lambda: encoded(noise(1, 3, 40, 40)[0], "JPEG")[:-400], "it cannot be read as an image"),
    "altered": (lambda: encoded(noise(1, 3, 40, 40)[0])[:200] + b"xxxx" + encoded(noise(1, 3, 40, 40)[0])[204:], "it cannot be read as an"),
    "empty": (lambda: b"", "it is no image in one of PNG, JPEG"),
    "text": (lambda: b"hello", "it is no image in one of"),
    "PostScript": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "it is no image in one of"),
    "a bomb": (lambda: png(20_000, 20_000, 8, 0, b"\0" * 1000), "it has too many pixels"),
    "a small bomb": (lambda: png(10_000, 10_000, 8, 0, b"\0" * 1000), "it has too many pixels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_levels_can_stand_for_is_refused_in_one_line(case: str) -> None:
    make, told = REFUSED[case]
    with pytest.raises(UnusableImage, match=f"^{told}") as caught:
        read(make())
    assert "\n" not in str(caught.value)


def test_the_middle_is_cut_out() -> None:
    levels = noise(1, 3, 218, 178)[0]
    np.testing.assert_array_equal(levels_of(cropped(image(levels), (148, 148), "it")), levels[:, 35:183, 15:163])
    np.testing.assert_array_equal(levels_of(cropped(image(levels[:, :5, :4]), (2, 3), "it")), levels[:, 1:3, 0:3])


@pytest.mark.parametrize(
    ("shape", "size", "kept"),
    [((100, 50), (64, 64), (50, 50)), ((50, 100), (64, 64), (50, 50)), ((90, 60), (10, 5), (90, 45)), ((3, 7), (2, 4), (3, 6))],
)
def test_the_largest_middle_part_has_the_proportions(shape: tuple[int, int], size: tuple[int, int], kept: tuple[int, int]) -> None:
    assert middle(shape, size) == kept


def test_shrinking_is_antialiased_and_keeps_the_mean() -> None:
    rows, columns = np.mgrid[:64, :64]
    stripes = np.where((rows + columns) % 2, 255, 0).astype(np.uint8)
    shrunk = levels_of(resized(image(stripes), (16, 16), "it"))
    assert np.abs(shrunk.astype(int) - 127).max() <= 2, "what is finer than a pixel becomes grey"
    flat = np.full((3, 60, 90), 77, np.uint8)
    np.testing.assert_array_equal(levels_of(fitted(image(flat), (20, 20), "it")), np.full((3, 20, 20), 77))
    # A triangle of width 2 · 4 pixels is exact on what is linear, but for the pixel at either end.
    ramp = np.broadcast_to(np.arange(0, 240, 5), (48, 48)).astype(np.uint8)
    np.testing.assert_allclose(levels_of(resized(image(ramp), (12, 12), "it"))[0, 0, 1:-1], 7.5 + 20 * np.arange(1, 11), atol=0.5)


def test_what_has_the_size_is_left_as_it_is_and_nothing_is_enlarged() -> None:
    levels = noise(1, 3, 8, 8)[0]
    np.testing.assert_array_equal(levels_of(fitted(image(levels), (8, 8), "it")), levels)
    for change in (fitted, resized, cropped):
        with pytest.raises(UnusableImage, match="it is 8 × 8, less than 9 × 8: images are never enlarged"):
            change(image(levels), (9, 8), "it")


def test_no_ending_is_missing(tmp_path: Path) -> None:
    levels = noise(1, 3, 8, 8)[0]
    for suffix in SUFFIXES:
        image(levels).save(tmp_path / f"x{suffix}")
        assert decoded(tmp_path / f"x{suffix}", "it").size == (8, 8)
