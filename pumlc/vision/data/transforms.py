"""From a picture on disk to the tensor a backbone takes."""

import os
import struct
from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it must not ask the network

import albumentations as A  # noqa: E402
import numpy as np  # noqa: E402
from PIL import Image, ImageOps  # noqa: E402

from pumlc.errors import UserError
from pumlc.vision.data.images import MAX_PIXELS

# Pixels and nothing else: Pillow would hand PostScript, under whatever name, to Ghostscript.
# Multi-picture files (MPO) are opened as JPEG. HEIF is the format of phones, .heic.
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "HEIF")
# what Pillow's readers raise over a damaged picture
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
    struct.error,
    Image.DecompressionBombError,
)
_HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1")


def read_image(
    source: Path | str | Image.Image | np.ndarray,
    where: str = "",
    *,
    max_pixels: int = MAX_PIXELS,
) -> np.ndarray:
    """Decode a picture to RGB, upright by its EXIF orientation.

    What is transparent shows a white ground. Of 16 bits of grey the upper 8 are kept.

    Args:
        source: a file, a PIL image or an RGB array [H, W, 3] of uint8.
        where: what an error adds to the name (the row of the file that lists it).
        max_pixels: a file with more pixels is refused before it is decoded.

    Returns:
        [H, W, 3] uint8.

    Raises:
        UserError: the file is missing, too large, of another format than `_FORMATS`, or does not
            decode; or the array has another form.
    """
    if isinstance(source, np.ndarray):
        if source.ndim != 3 or source.shape[2] != 3 or source.dtype != np.uint8:
            raise UserError(
                f"expected an RGB array [H, W, 3] of uint8, got {list(source.shape)} {source.dtype}"
            )
        return source
    if isinstance(source, Image.Image):
        return _upright_rgb(source)
    if not isinstance(source, Path | str):
        raise UserError(
            f"expected a file, a PIL image or an RGB array [H, W, 3], got {type(source).__name__}"
        )
    if os.path.exists(source) and not os.path.isfile(source):  # opening a pipe would wait for ever
        raise UserError(f"{source}{where}: not a file")
    try:
        with Image.open(source, formats=_formats()) as image:
            if image.width * image.height > max_pixels:
                raise _TooLarge(image.width, image.height, max_pixels)
            return _upright_rgb(image)
    except FileNotFoundError as error:
        raise UserError(f"{source}{where}: no such picture") from error
    except _TooLarge as error:
        raise UserError(f"{source}{where}: {error}") from error
    except Image.UnidentifiedImageError as error:
        raise UserError(
            f"{source}{where}: the picture cannot be decoded ({_unidentified(source)})"
        ) from error
    except _DAMAGE as error:
        raise UserError(f"{source}{where}: the picture cannot be decoded ({error})") from error


class _TooLarge(Exception):
    """A picture has more pixels than the run takes."""

    def __init__(self, width: int, height: int, limit: int) -> None:
        super().__init__(
            f"a picture of {width} x {height} pixels; data.max_pixels is {limit}. Make the picture "
            "smaller, or the setting larger"
        )


@cache
def _formats() -> tuple[str, ...]:
    """Those of `_FORMATS` that this Pillow reads; HEIF with the package pillow-heif."""
    Image.init()
    if find_spec("pillow_heif") is not None:
        from pillow_heif import register_heif_opener

        register_heif_opener()
    return tuple(name for name in _FORMATS if name in Image.OPEN)


def _unidentified(source: Path | str) -> str:
    """What is the matter with a file that is none of the formats."""
    if "HEIF" not in _formats():
        with open(source, "rb") as file:
            start = file.read(12)
        if start[4:8] == b"ftyp" and start[8:] in _HEIF_BRANDS:
            return "HEIC is read with the package pillow-heif: pip install pumlc[formats]"
    return f"its content is none of {', '.join(_formats())}"


def _upright_rgb(image: Image.Image) -> np.ndarray:
    # Pillow opens 16 bits of grey as I;16 or, of some formats, as 32 bits
    sixteen = image.mode.startswith("I;16") or image.mode == "I" and image.format in ("PNG", "PPM")
    if image.mode in ("I", "F") and not sixteen:
        raise UserError(f"pixels of 32 bits (Pillow's mode {image.mode}) have no known range")
    image = ImageOps.exif_transpose(image)
    if sixteen:  # convert would cut them off at 255: a white picture
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.has_transparency_data:  # convert would show the colour beneath, mostly black
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return np.asarray(image.convert("RGB"))


def training_transform(
    data_config: dict[str, Any], augmentation: Literal["multi-scale-crop", "flip", "none"]
) -> A.Compose:
    """Augmentation, size and normalisation for training.

    ``multi-scale-crop`` is the published one: squash to 8/7 of the size S (512 at 448), crop a
    random square of 8/7, 1, 6/7, 5/7 or 4/7 S (512, 448, 384, 320 or 256), resize to S, flip half
    of the time. Of a size that is no square, both sides are taken in these proportions.

    Args:
        data_config: timm's ``input_size``, ``mean``, ``std`` of the weights.
        augmentation: which of the three.
    """
    size = data_config["input_size"][-2:]
    if augmentation == "none":
        return evaluation_transform(data_config)
    steps: list[Any] = [_resize(size), A.HorizontalFlip(p=0.5)]
    if augmentation == "multi-scale-crop":
        sizes = [[round(side * sevenths / 7) for side in size] for sevenths in (8, 7, 6, 5, 4)]
        crops = A.OneOf([A.RandomCrop(*each) for each in sizes], p=1.0)
        steps = [_resize(sizes[0]), crops, *steps]
    return A.Compose([*steps, *_to_tensor(data_config)])


def evaluation_transform(data_config: dict[str, Any]) -> A.Compose:
    """Size (squashed to a square, as published) and normalisation, nothing random."""
    return A.Compose([_resize(data_config["input_size"][-2:]), *_to_tensor(data_config)])


def _resize(size: Sequence[int]) -> A.Resize:
    return A.Resize(*size, area_for_downscale="image")


def _to_tensor(data_config: dict[str, Any]) -> list[Any]:
    return [A.Normalize(mean=data_config["mean"], std=data_config["std"]), A.ToTensorV2()]
