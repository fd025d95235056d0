"""Decode a picture on disk to its pixels."""

import io
import os
import struct
from functools import cache
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageOps

from pumlc.errors import UserError
from pumlc.vision.data.images import MAX_PIXELS, LabelledImages

# Only raster formats: Pillow would hand PostScript, under any name, to Ghostscript.
# Multi-picture files (MPO) are opened as JPEG. HEIF is the format of phones, .heic.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
# Pillow's readers raise these for a damaged picture
_DAMAGE = (
    OSError,
    SyntaxError,
    ValueError,
    RuntimeError,
    TypeError,
    KeyError,
    IndexError,
    OverflowError,
    EOFError,
    MemoryError,  # a damaged length is asked for before it is checked
    struct.error,
    Image.DecompressionBombError,
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")
_ORIENTATION = ExifTags.Base.Orientation
_TURNED = (5, 6, 7, 8)
"""Orientations that exchange height and width."""


def load_image(
    source: Path | str | bytes | Image.Image | np.ndarray,
    *,
    at_least: int | tuple[int, int] | None = None,
    max_pixels: int = MAX_PIXELS,
    where: str = "",
    name: object = "the picture",
) -> np.ndarray:
    """Decode a picture to RGB, upright by its EXIF orientation.

    Transparent parts become white. Of 16 bits of grey the upper 8 are kept.

    A JPEG file much larger than needed is decoded at 1/2, 1/4 or 1/8 of its size, which takes a
    fraction of the time: each pixel is the mean of several. The result is at least as large as
    ``at_least``, or has the full size.

    Args:
        source: a file, the bytes of one, a PIL image or an RGB array [H, W, 3] of uint8. The last
            two are already decoded and keep their size.
        at_least: needed height and width in pixels, or one number for both; None: the full size.
        max_pixels: a file with more pixels is refused before it is decoded.
        where: text that an error adds to the name (the row of the file that lists it).
        name: the name of bytes in an error.

    Returns:
        [H, W, 3] uint8.

    Raises:
        UserError: the file is missing, too large, has a format other than JPEG, PNG, WEBP, GIF,
            BMP, TIFF, PPM, JPEG2000, AVIF and HEIF, or cannot be decoded; or the array has another
            shape or type.
        ValueError: ``at_least`` is below 1.
    """
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8:
            raise UserError(
                f"expected an RGB array [H, W, 3] of uint8, got {list(source.shape)} {source.dtype}"
            )
        return source
    if isinstance(source, Image.Image):
        return _upright_rgb(source)
    if not isinstance(source, Path | str | bytes):
        raise UserError(
            f"expected a file, a PIL image or an RGB array [H, W, 3], got {type(source).__name__}"
        )
    content = io.BytesIO(source) if isinstance(source, bytes) else source
    shown = f"{name if isinstance(source, bytes) else source}{where}"
    # opening a pipe would wait for ever
    if not isinstance(source, bytes) and os.path.exists(source) and not os.path.isfile(source):
        raise UserError(f"{shown}: not a file")
    needed = _height_and_width(at_least)
    try:
        with Image.open(content, formats=_formats()) as image:
            if image.width * image.height > max_pixels:
                raise TooLarge(image.width, image.height, max_pixels)
            return _upright_rgb(image if needed is None else _decoded_smaller(image, *needed))
    except FileNotFoundError as error:
        raise UserError(f"{shown}: no such picture") from error
    except TooLarge as error:
        raise UserError(f"{shown}: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise UserError(
            f"{shown}: the picture cannot be decoded ({_unidentified(source)})"
        ) from error
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise UserError(f"{shown}: the picture cannot be decoded ({reason})") from error


def load_row(
    images: LabelledImages,
    row: int,
    *,
    at_least: int | tuple[int, int] | None = None,
    where: str = "",
) -> np.ndarray:
    """Decode a picture of a data set, which may be inside of another file.

    Args:
        images: the pictures, and how many pixels they may have.
        row: one of them.
        at_least, where: see `load_image`.

    Raises:
        UserError: see `load_image`.
    """
    try:
        content = images.content(row)
    except UserError as error:
        raise UserError(f"{images.path(row)}{where}: {error}") from error
    limit, name = images.max_pixels, images.path(row)
    return load_image(content, at_least=at_least, max_pixels=limit, where=where, name=name)


class TooLarge(Exception):
    """A picture has more pixels than the run takes."""

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(
            f"a picture of {width} x {height} pixels; data.max_pixels is {limit}. Make the picture "
            "smaller, or the setting larger"
        )


@cache
def _formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow reads; HEIF needs the package pillow-heif."""
    Image.init()
    if find_spec("pillow_heif") is not None:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _unidentified(source: Path | str | bytes) -> str:
    """The reason why a file has none of the formats."""
    if "HEIF" not in _formats():
        if isinstance(source, bytes):
            start = source[:12]
        else:
            with open(source, "rb") as file:
                start = file.read(12)
        if start[4:8] == b"ftyp" and start[8:] in _HEIF_BRANDS:
            return "HEIC needs the package pillow-heif: pip install pumlc[formats]"
    return f"its content is none of {', '.join(_formats())}"


def _height_and_width(at_least: int | tuple[int, int] | None) -> tuple[int, int] | None:
    if at_least is None:
        return None
    height, width = (at_least, at_least) if isinstance(at_least, int) else at_least
    if height < 1 or width < 1:
        raise ValueError(f"at_least must be 1 or more, got {at_least}")
    return height, width


def _decoded_smaller(image: Image.Image, height: int, width: int) -> Image.Image:
    """The picture in the smallest size of its decoder that is at least ``height`` x ``width``.

    Only the decoder of JPEG has several sizes; others ignore this. It rounds up: a last row or
    column that stands for less than half of its pixels is cut off, since it would shift all others
    once the picture is brought to size.
    """
    if image.getexif().get(_ORIENTATION) in _TURNED:
        height, width = width, height
    drafted = image.draft(None, (width, height))
    if drafted is None:
        return image
    _, (_, _, right, bottom) = drafted
    size = round(right), round(bottom)
    return image if image.size == size else image.crop((0, 0, *size))


def _upright_rgb(image: Image.Image) -> np.ndarray:
    # Pillow opens 16 bits of grey as I;16 or, of some formats, as 32 bits
    sixteen = image.mode.startswith("I;16") or image.mode == "I" and image.format in ("PNG", "PPM")
    if image.mode in ("I", "F") and not sixteen:
        raise UserError(f"pixels of 32 bits (Pillow's mode {image.mode}) have no known range")
    if image.getexif().get(_ORIENTATION, 1) != 1:  # exif_transpose copies what is upright too
        image = ImageOps.exif_transpose(image)
    if sixteen:  # convert would cut them off at 255: a white picture
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:  # convert would show the colour beneath, mostly black
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))
