"""Image files as arrays of grey levels: what they are decoded, turned, cropped and resized by; the same for every set that reads any."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

#: Grey, one channel, or red, green and blue.
Colour = Literal["grey", "rgb"]

#: Endings of the files that are taken for images, and the only formats that their content may have: none of them can run code.
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff")
FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "GIF", "TIFF")

#: Number of levels of a channel of 8 bits.
LEVELS = 256

#: The filter: a triangle as wide as the factor by which it shrinks, so that nothing aliases, on the levels as stored.
FILTER = Image.Resampling.BILINEAR
FILTERED = "Pillow's antialiased bilinear filter"

#: Pillow's modes of one and of three channels of 8 bits; those of fewer bits or with a palette are turned into them without loss.
GREY, COLOURED = ("1", "L"), ("P", "RGB")
#: Modes with transparency.
TRANSPARENT = ("LA", "PA", "RGBA", "La", "RGBa")
#: EXIF's tag of the orientation, and its values that exchange height and width.
ORIENTATION, ON_THE_SIDE = 0x0112, (5, 6, 7, 8)


class UnusableImage(ValueError):
    """An image that cannot be read, or that no array of 8-bit levels can stand for; the message names it and says why."""


@contextmanager
def opened(source: Path | IO[bytes], called: str) -> Iterator[Image.Image]:
    """An image file, of which only the header has been read.

    Pillow's limit on the number of pixels, which it warns of, is an error here: such a file is more likely to be an attack than an example.

    Raises:
        UnusableImage: naming it, for whatever goes wrong inside.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(source, formats=FORMATS) as image:
                yield image
    except UnusableImage:
        raise
    except (Image.DecompressionBombWarning, Image.DecompressionBombError) as error:
        raise UnusableImage(f"{called} has too many pixels: {str(error).partition(',')[0]}; crop or shrink it") from error
    except UnidentifiedImageError as error:
        raise UnusableImage(f"{called} is no image in one of {', '.join(FORMATS)}") from error
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error, zlib.error, MemoryError) as error:
        raise UnusableImage(f"{called} cannot be read as an image: {error}") from error


def colour_of(image: Image.Image, called: str) -> Colour:
    """Whether an image is grey or in colour, from its header.

    Raises:
        UnusableImage: if its channels are not of 8 bits, are others than these, or if it moves.
    """
    # A photograph in MPO, which cameras name .jpg, is the JPEG that any viewer shows; what follows are previews and depths.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise UnusableImage(f"{called} has {frames} frames; save the one that is meant as an image of its own")
    # Of a PNG or TIFF of 16 bits a channel Pillow says only here what it would silently cut down to 8.
    packed = " ".join(str(tile[3]) for tile in getattr(image, "tile", ()))
    if image.mode.startswith(("I", "F")) or ";16" in packed:
        raise UnusableImage(f"{called} has more than 8 bits a channel; save it with 8, or give its numbers as vectors")
    if image.mode in GREY or image.mode in ("LA", "La"):
        return "grey"
    if image.mode in COLOURED or image.mode in TRANSPARENT:
        return "rgb"
    raise UnusableImage(f"{called} is {image.mode}; convert it to RGB or grey, for which there is more than one way")


def looked_at(source: Path | IO[bytes], called: str) -> tuple[Colour, tuple[int, int]]:
    """Colour and (height, width) of an image, upright, from its header.

    Raises:
        UnusableImage: as `decoded`, as far as the header tells.
    """
    with opened(source, called) as image:
        colour, (width, height) = colour_of(image, called), image.size
        return colour, (width, height) if image.getexif().get(ORIENTATION) in ON_THE_SIDE else (height, width)


def decoded(source: Path | IO[bytes], called: str) -> Image.Image:
    """An image in Pillow's mode L or RGB, upright as its EXIF data say.

    Raises:
        UnusableImage: if it cannot be read, moves, has more than 8 bits a channel, shines through, or is neither grey nor RGB.
    """
    with opened(source, called) as image:
        mode = "L" if colour_of(image, called) == "grey" else "RGB"
        image.load()
        if image.mode in TRANSPARENT or "transparency" in image.info:
            low, _ = image.convert("RGBA").getchannel("A").getextrema()
            if low != LEVELS - 1:
                raise UnusableImage(f"{called} is transparent in places, and what lies behind is not said; flatten it")
            image = image.convert("RGBA").convert("RGB")
        return ImageOps.exif_transpose(image.convert(mode))


def large_enough(image: Image.Image, size: tuple[int, int], called: str) -> None:
    """Refuse an image that would have to be enlarged: that makes up what nobody saw.

    Raises:
        UnusableImage: if it is smaller than (height, width) ``size``.
    """
    if image.height < size[0] or image.width < size[1]:
        found, wanted = f"{image.height} × {image.width}", f"{size[0]} × {size[1]}"
        raise UnusableImage(f"{called} is {found}, less than {wanted}: images are never enlarged")


def cropped(image: Image.Image, size: tuple[int, int], called: str) -> Image.Image:
    """The middle of an image, of (height, width) ``size``; where it cannot be in the middle, half a pixel up or left of it.

    Raises:
        UnusableImage: if the image is smaller.
    """
    large_enough(image, size, called)
    (height, width), (across, down) = size, image.size
    left, top = (across - width) // 2, (down - height) // 2
    return image.crop((left, top, left + width, top + height))


def middle(shape: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) of the largest part of an image of ``shape`` that has the proportions of ``size``, in whole pixels."""
    (down, across), (height, width) = shape, size
    if down * width > across * height:
        return max(1, round(across * height / width)), across
    return down, max(1, round(down * width / height))


def resized(image: Image.Image, size: tuple[int, int], called: str) -> Image.Image:
    """An image shrunk to (height, width) ``size`` by `FILTER`; as it is where it has that size.

    Raises:
        UnusableImage: if it is smaller.
    """
    large_enough(image, size, called)
    height, width = size
    return image if (image.height, image.width) == size else image.resize((width, height), FILTER)


def fitted(image: Image.Image, size: tuple[int, int], called: str) -> Image.Image:
    """The largest middle part of the proportions of (height, width) ``size``, shrunk to it.

    Raises:
        UnusableImage: if the image is smaller.
    """
    large_enough(image, size, called)
    return resized(cropped(image, middle((image.height, image.width), size), called), size, called)


def levels_of(image: Image.Image) -> np.ndarray:
    """The levels of an image in mode L or RGB: (channels, height, width) uint8."""
    array = np.asarray(image, dtype=np.uint8)
    return np.ascontiguousarray(array[None] if array.ndim == 2 else array.transpose(2, 0, 1))
