"""Small JPEG copies of pictures."""

import io

import numpy as np
from PIL import Image

SIDE = 320
QUALITY = 75


def thumbnail(picture: np.ndarray, *, side: int = SIDE, quality: int = QUALITY) -> bytes:
    """A picture as a JPEG file whose longer side has at most ``side`` pixels.

    Args:
        picture: RGB, [H, W, 3] uint8. A smaller picture keeps its size.
        side: pixels.
        quality: of the JPEG file, 1 to 95.

    Returns:
        the bytes of the file.

    Example:
        >>> small = thumbnail(np.zeros((600, 300, 3), np.uint8))
        >>> Image.open(io.BytesIO(small)).size
        (160, 320)
    """
    image = Image.fromarray(picture)
    image.thumbnail((side, side), Image.Resampling.BILINEAR, reducing_gap=2.0)
    content = io.BytesIO()
    image.save(content, "JPEG", quality=quality)
    return content.getvalue()
