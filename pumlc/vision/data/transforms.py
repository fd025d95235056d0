"""Turn the pixels of a picture into the tensor that a backbone takes.

Pixels are augmented and resized as bytes in the process that decodes the picture. The last step
normalises a whole batch on the device of the network. So a quarter of the bytes is copied, and with
a GPU the processor has no normalisation to do.
"""

import random
from collections.abc import Sequence
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

Augmentation = Literal["multi-scale-crop", "flip", "none"]

_SEVENTHS = (8, 7, 6, 5, 4)
"""Sides of the crops, in sevenths of the input size; the first is the size before the crop."""


class PictureTransform:
    """Augments and resizes a picture; a callable with the interface of albumentations.

    ``transform(image=pixels)["image"]`` is the input of a backbone, [3, H, W] float32 normalised.
    `pixels` gives the same picture before normalisation.

    Args:
        data_config: timm's ``input_size``, ``mean``, ``std`` of the weights.
        augmentation: "multi-scale-crop", "flip" or "none".

    Attributes:
        size: (H, W) of the result.
        decoded_size: (H, W) that the decoded picture should at least have. It is the size before
            the published crop for every augmentation, so that training, evaluation and prediction
            decode the same pixels.
    """

    def __init__(self, data_config: dict[str, Any], augmentation: Augmentation = "none") -> None:
        self.size: tuple[int, int] = tuple(data_config["input_size"][-2:])
        self.mean, self.std = tuple(data_config["mean"]), tuple(data_config["std"])
        self.augmentation = augmentation
        self._crops = [
            (round(self.size[0] * part / 7), round(self.size[1] * part / 7)) for part in _SEVENTHS
        ]
        self.decoded_size = self._crops[0]
        self.set_random_seed(None)

    def set_random_seed(self, seed: int | None) -> None:
        """Make the augmentation of the next picture depend on ``seed``; None: make it random."""
        self._choice = np.random.default_rng(seed)
        self._place = random.Random(seed)  # noqa: S311 - no secret

    def __call__(self, *, image: np.ndarray) -> dict[str, Tensor]:
        return {"image": normalised(self.pixels(image)[None], self.mean, self.std)[0].contiguous()}

    def pixels(self, image: np.ndarray) -> Tensor:
        """The picture, augmented and resized.

        Args:
            image: [H, W, 3] uint8, of any size.

        Returns:
            [H, W, 3] uint8.
        """
        flipped = False
        if self.augmentation != "none":
            # One number decides the row of a crop and the flip, as in every run so far: two draws
            # would change all published figures.
            down, right = self._place.random(), self._place.random()
            flipped = down < 0.5
            if self.augmentation == "multi-scale-crop":
                image = resized(image, self._crops[0])
                height, width = self._crops[int(self._choice.random() * len(self._crops))]
                top = int((image.shape[0] - height + 1) * down)
                left = int((image.shape[1] - width + 1) * right)
                image = image[top : top + height, left : left + width]
        image = resized(image, self.size)
        if flipped:
            image = image[:, ::-1]
        # copies a view, and Pillow's own memory, which may not be written
        return torch.from_numpy(np.require(image, requirements=["C_CONTIGUOUS", "WRITEABLE"]))


def training_transform(data_config: dict[str, Any], augmentation: Augmentation) -> PictureTransform:
    """Augmentation, size and normalisation for training.

    ``multi-scale-crop`` is the published augmentation: squash to 8/7 of the size S (512 at 448),
    crop a random part of 8/7, 1, 6/7, 5/7 or 4/7 S (512, 448, 384, 320 or 256), resize to S, and
    flip half of the time. For a size that is not square, both sides have these proportions.

    Args:
        data_config: timm's ``input_size``, ``mean``, ``std`` of the weights.
        augmentation: one of the three.
    """
    return PictureTransform(data_config, augmentation)


def evaluation_transform(data_config: dict[str, Any]) -> PictureTransform:
    """Resizing (squashed, as published) and normalisation, with nothing random.

    Args:
        data_config: timm's ``input_size``, ``mean``, ``std`` of the weights.
    """
    return PictureTransform(data_config)


def resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """A picture squashed to (H, W): area interpolation to a smaller size, bilinear to a larger.

    If the new size is smaller in one direction, area interpolation is used in both.

    Args:
        image: [h, w, 3] uint8.
        size: (H, W) in pixels.

    Returns:
        [H, W, 3] uint8; the same array if it has this size already.
    """
    height, width = image.shape[:2]
    if (height, width) == size:
        return image
    smaller = size[0] < height or size[1] < width
    interpolation = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return cv2.resize(image, (size[1], size[0]), interpolation=interpolation)


def normalised(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Normalise bytes for a backbone: (pixel / 255 - mean) / std.

    Args:
        pixels: [B, H, W, 3] uint8.
        mean: mean of each colour, for values in [0, 1].
        std: standard deviation of each colour, for values in [0, 1].

    Returns:
        [B, 3, H, W] float32 on the device of ``pixels``, in the layout channels_last.

    Example:
        >>> white = torch.full((1, 2, 2, 3), 255, dtype=torch.uint8)
        >>> normalised(white, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)).unique()
        tensor([1.])
    """
    shift, scale = _shift_and_scale(tuple(mean), tuple(std), pixels.device)
    return pixels.float().sub_(shift).mul_(scale).permute(0, 3, 1, 2)


@cache  # copying to the device each time would wait for the work that is queued there
def _shift_and_scale(
    mean: tuple[float, ...], std: tuple[float, ...], device: torch.device
) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # training uses the same tensors
        shift = np.array(mean, np.float32) * 255
        scale = np.reciprocal(np.array(std, np.float32) * 255)
        return torch.from_numpy(shift).to(device), torch.from_numpy(scale).to(device)
