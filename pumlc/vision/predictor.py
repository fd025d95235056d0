"""A trained classifier, ready to score pictures."""

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image

from pumlc.engine.config import from_plain
from pumlc.engine.device import choose_device
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.vision.config import VisionConfig
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.models.build import build_trained
from pumlc.vision.scoring import probabilities_of, to_device

Picture = Path | str | Image.Image | np.ndarray


class Prediction(NamedTuple):
    """What `VisionPredictor.predict` returns.

    Attributes:
        probabilities: [N, C] float32.
        labels: C class names, the columns of ``probabilities``.
    """

    probabilities: np.ndarray
    labels: tuple[str, ...]

    @property
    def scores(self) -> np.ndarray:
        """The probabilities, under the name that predictions of texts have too."""
        return self.probabilities


class VisionPredictor:
    """The classifier of a run folder.

    Args:
        run_dir: the run folder.
        weights: name of saved weights ("last", "best", "last-ema", "best-ema"); by default those
            with the best validation score, without validation the last ones (averaged if there is
            an average).
        device: where it runs; by default a GPU if there is one.

    Attributes:
        labels: the class names.
        thresholds: per class, fitted on the validation part; 0.5 for all where there was none.
        model: the torch module: pictures [N, 3, H, W] -> logits [N, C].

    Raises:
        UserError: not a run folder, no such weights, weights of another model, or no such device.
    """

    def __init__(
        self, run_dir: Path | str, weights: str | None = None, device: str | None = None
    ) -> None:
        self.run = RunFolder(run_dir)
        content = self.run.read()
        self.labels = _class_names(content.get("classes"), run_dir)
        self.config = from_plain(VisionConfig, content["config"])
        self.weights = weights or self.run.preferred_weights()
        self.device = choose_device(device)
        self.model = build_trained(
            self.config, len(self.labels), self.run.weights_file(self.weights)
        )
        self.model.to(self.device).eval()
        self.transform = evaluation_transform(self.model.data_config)
        extras = self.run.index().get(self.weights, {}).get("extras", {})
        self.fitted = "thresholds" in extras
        self.thresholds = np.array(
            extras["thresholds"]["per_class"] if self.fitted else [0.5] * len(self.labels)
        )
        self.global_threshold = extras["thresholds"]["global"] if self.fitted else 0.5

    def read(self, picture: Picture) -> np.ndarray:
        """Decode a picture as `predict` does: a large file at no larger a size than is needed.

        Returns:
            [H, W, 3] uint8.

        Raises:
            UserError: it is missing or does not decode.
        """
        limit = self.config.data.max_pixels
        return load_image(picture, at_least=self.transform.decoded_size, max_pixels=limit)

    def predict(self, images: Iterable[Picture], *, batch_size: int = 32) -> Prediction:
        """Score pictures.

        Args:
            images: files, PIL images or RGB arrays [H, W, 3] of uint8.
            batch_size: pictures at a time.

        Raises:
            UserError: a picture is missing or does not decode, or its logits are not finite.
            ValueError: one picture in the place of several, or ``batch_size`` is below 1.
        """
        _refuse_single(images)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        parts = [np.empty((0, len(self.labels)), np.float32)]
        pictures = iter(images)
        while batch := [
            self.transform.pixels(self.read(picture)) for picture in islice(pictures, batch_size)
        ]:
            with torch.inference_mode():
                pixels = to_device(torch.stack(batch), self.device, self.model.data_config)
                logits = self.model(pixels).float()
            if not torch.isfinite(logits).all():
                raise UserError(
                    f"{self.run.path}: weights {self.weights!r} give logits that are not finite: "
                    "the training has diverged"
                )
            parts.append(probabilities_of(logits.cpu().numpy()).astype(np.float32))
        return Prediction(np.concatenate(parts), self.labels)


def _class_names(classes: Any, run_dir: Path | str) -> tuple[str, ...]:
    """The classes of a run.json, which may come from anyone."""
    if (
        not isinstance(classes, list)
        or not classes
        or not all(isinstance(name, str) for name in classes)
        or len(set(classes)) < len(classes)
    ):
        raise UserError(
            f"{Path(run_dir) / 'run.json'}: classes must be a list of different names, got "
            f"{classes!r:.200}"
        )
    return tuple(classes)


def _refuse_single(images: Iterable[Picture]) -> None:
    """One picture iterates too: a string over its characters, an array over its rows."""
    array = isinstance(images, np.ndarray)
    if isinstance(images, Path | str | Image.Image) or (array and images.ndim == 3):
        got = f"an array {list(images.shape)}" if array else repr(images)
        raise ValueError(f"images must be a list of pictures, for one [picture], got {got}")
