"""A trained classifier, ready to score pictures."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn

from pumlc.engine.config import from_plain
from pumlc.engine.device import choose_device
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.estimators.logit_curve import STRAIGHT, LogitCurve
from pumlc.plain_numbers import is_finite_number
from pumlc.vision.class_texts import read_class_texts
from pumlc.vision.config import VisionConfig
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.read_ahead import read_ahead, reading_threads
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.models.build import build_trained
from pumlc.vision.models.kernel_head import POOLED_HEADS, chosen_classes, set_linear
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


class _Trained(NamedTuple):
    """What a run was trained for: classes, head, (thresholds, slope, bias), shared thresholds."""

    labels: tuple[str, ...]
    head: nn.Module
    decisions: tuple[np.ndarray, np.ndarray, np.ndarray]
    global_in: tuple[str, ...]


class VisionPredictor:
    """The classifier of a run folder.

    Args:
        run_dir: the run folder.
        weights: name of saved weights ("last", "best", "last-ema", "best-ema", "mean"); by default
            those that the run selects (`RunFolder.preferred_weights`).
        device: where it runs; by default a GPU if there is one.

    Attributes:
        labels: C class names.
        thresholds: [C] probabilities, fitted on the validation part, or for heads on features on
            leave-one-out scores; without either, all 0.5.
        fitted: whether they were fitted.
        fitted_on: what they were fitted on, such as ``validation`` or ``leave-one-out``.
        calibrated_on: ``validation``, or ``leave-one-out`` for example; empty: probabilities are
            the sigmoid of the logits. Heads on features have slope and bias in their weights.
        slope, bias: [C]; sigmoid(curve(slope * logit + bias)) is the probability.
        curve: the same for all classes; it keeps the order of the logits.
        new_labels: numbers of the classes that are found by their names, see `use_labels`.
        global_in: classes that have the common threshold of all classes, since too few pictures
            for fitting are known to show them.
        model: the torch module: pictures [N, 3, H, W] -> logits [N, C].

    Raises:
        UserError: it is not a run folder, the weights are missing or those of another model, or
            there is no such device.
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
        self.thresholds, self.global_threshold = np.full(len(self.labels), 0.5), 0.5
        self.global_in: tuple[str, ...] = ()
        self.fitted_on = ""
        if self.fitted:
            where = f"{self.run.weights / 'index.json'}: thresholds of {self.weights!r}"
            stored = extras["thresholds"]
            self.thresholds, self.global_threshold = _thresholds(stored, len(self.labels), where)
            self.fitted_on = stored.get("fitted_on", "validation")
            self.global_in = _named(stored.get("global_in", []), self.labels, where)
        self.calibrated_on = ""
        self.slope, self.bias = np.ones(len(self.labels)), np.zeros(len(self.labels))
        self.curve = STRAIGHT
        if "calibration" in extras:
            where = f"{self.run.weights / 'index.json'}: calibration of {self.weights!r}"
            stored = extras["calibration"]
            self.slope, self.bias = _calibration(stored, len(self.labels), where)
            self.curve = _curve(stored.get("curve"), where)
            self.calibrated_on = self.fitted_on or "validation"
        self.new_labels = np.empty(0, np.int64)
        self._trained = _Trained(
            self.labels, self.model.head, (self.thresholds, self.slope, self.bias), self.global_in
        )

    def use_labels(self, labels: Sequence[str], *, label_vectors: str | None = None) -> int:
        """Choose among these classes instead of those of the run.

        A class of the run, spelled as there, keeps its head and its threshold. Another one is found
        by its name, in a run with heads open_vocabulary. Its threshold was fitted on classes that
        had been withheld from the map. Probabilities of both kinds are calibrated, so that they may
        be in one ranking.

        Args:
            labels: names of classes, each once.
            label_vectors: where the encoder of names is now; None: where it was in training.

        Returns:
            how many of them are new.

        Raises:
            UserError: the classes of the run are fixed, the encoder is missing or another one, or a
                name is blank or given twice.
        """
        named, trained = _checked_labels(labels), self._trained
        places = {name: place for place, name in enumerate(trained.labels)}
        own = np.array([places.get(name, -1) for name in named])
        new, head = np.flatnonzero(own < 0), trained.head
        if not isinstance(head, POOLED_HEADS):
            raise UserError(
                f"the classes of {self.run.path} are fixed: its head computes them together"
            )
        chosen = chosen_classes(head, own.tolist())
        rows = [each[own] for each in trained.decisions]  # of new ones still another class's
        if len(new):
            texts = read_class_texts(self.run.path, head.in_features)
            coefficients, constants = texts.heads([named[i] for i in new], label_vectors)
            for row, own_head, constant in zip(new, coefficients.T, constants, strict=True):
                set_linear(chosen, int(row), torch.from_numpy(own_head), float(constant))
            for each, value in zip(rows, (texts.threshold, 1.0, 0.0), strict=True):
                each[new] = value
        self.model.head = chosen.to(self.device).eval()
        self.thresholds, self.slope, self.bias = rows
        self.global_in = tuple(name for name in trained.global_in if name in named)
        self.labels, self.new_labels = named, new
        return len(new)

    def probabilities(self, logits: Any) -> Any:
        """Calibrated probabilities, [N, C] float64, of the model's logits; of CSR as CSR."""
        found = probabilities_of(logits, self.slope, self.bias, self.curve)
        new = self.new_labels
        if len(new):  # the curve is that of the classes of the run
            found[:, new] = probabilities_of(logits[:, new], self.slope[new], self.bias[new])
        return found

    def read(self, picture: Picture) -> np.ndarray:
        """Decode a picture as `predict` does; a large file is decoded at a reduced size.

        Returns:
            [H, W, 3] uint8.

        Raises:
            UserError: It is missing or cannot be decoded.
        """
        limit = self.config.data.max_pixels
        return load_image(picture, at_least=self.transform.decoded_size, max_pixels=limit)

    def predict(
        self, images: Iterable[Picture], *, batch_size: int = 32, workers: int | None = None
    ) -> Prediction:
        """The probabilities of pictures.

        Args:
            images: files, PIL images or RGB arrays [H, W, 3] of uint8.
            batch_size: pictures per batch.
            workers: threads that read pictures; 0: only this one; None: one per core.

        Raises:
            UserError: A picture is missing or cannot be decoded, or its logits are not finite.
            ValueError: ``images`` is a single picture, or ``batch_size`` is below 1.
        """
        rows = [np.empty((0, len(self.labels)), np.float32)]
        for scored in self.predict_each(images, batch_size=batch_size, workers=workers):
            if isinstance(scored, UserError):
                raise scored
            rows.append(scored[None])
        return Prediction(np.concatenate(rows), self.labels)

    def predict_each(
        self, images: Iterable[Picture], *, batch_size: int = 32, workers: int | None = None
    ) -> Iterator[np.ndarray | UserError]:
        """The probabilities of pictures, one by one; a picture that cannot be read is no end.

        Pictures are read ahead while the network works; ``images`` may be endless.

        Args:
            images: as for `predict`.
            batch_size: as for `predict`.
            workers: as for `predict`.

        Returns:
            For each picture, in order, its probabilities [C] float32, or the error that says why it
            has none.

        Raises:
            UserError: logits are not finite.
            ValueError: as for `predict`, raised at once.
        """
        _refuse_single(images)
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        threads = reading_threads() if workers is None else workers
        read = read_ahead(self._pixels, images, threads=threads, ahead=2 * batch_size)
        return self._scored(read, batch_size)

    def _pixels(self, picture: Picture) -> torch.Tensor | UserError:
        try:
            return self.transform.pixels(self.read(picture))
        except UserError as error:
            return error

    def _scored(
        self, read: Iterator[torch.Tensor | UserError], batch_size: int
    ) -> Iterator[np.ndarray | UserError]:
        while batch := list(islice(read, batch_size)):
            pixels = [each for each in batch if not isinstance(each, UserError)]
            rows = iter(self._probabilities(torch.stack(pixels)) if pixels else ())
            for each in batch:
                yield each if isinstance(each, UserError) else next(rows)

    def _probabilities(self, pixels: torch.Tensor) -> np.ndarray:
        with torch.inference_mode():
            logits = self.model(to_device(pixels, self.device, self.model.data_config)).float()
        if not torch.isfinite(logits).all():
            raise UserError(
                f"{self.run.path}: weights {self.weights!r} give logits that are not finite: "
                "the training has diverged"
            )
        return self.probabilities(logits.cpu().numpy()).astype(np.float32)


def _class_names(classes: Any, run_dir: Path | str) -> tuple[str, ...]:
    """The classes in a run.json, checked because the file may come from anyone."""
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


def _checked_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Names to choose among, without the space around them."""
    if isinstance(labels, str):
        raise ValueError(f"labels must be a list of names, got the string {labels[:80]!r} alone")
    named = tuple(label.strip() for label in labels)
    if not named or not all(named):
        raise UserError(f"labels: {'a name is blank' if named else 'no name of a class'}")
    twice = next((name for place, name in enumerate(named) if name in named[:place]), None)
    if twice is not None:
        raise UserError(f"labels: {twice!r} is there twice")
    return named


def _thresholds(stored: Any, num_classes: int, where: str) -> tuple[np.ndarray, float]:
    """The thresholds of the classes, [C], and the common one; the file may come from anyone."""
    if not isinstance(stored, dict) or not isinstance(stored.get("per_class"), list):
        raise UserError(f"{where} must be a mapping of global and per_class, got {stored!r:.80}")
    numbers = [stored.get("global"), *stored["per_class"]]
    for number in numbers:
        if type(number) not in (int, float) or not 0 <= number <= 1:
            raise UserError(f"{where} must be numbers in [0, 1], got {number!r:.80}")
    if len(numbers) != 1 + num_classes:
        raise UserError(f"{where}: {len(numbers) - 1} thresholds for {num_classes} classes")
    return np.array(numbers[1:], np.float64), float(numbers[0])


def _calibration(stored: Any, num_classes: int, where: str) -> tuple[np.ndarray, np.ndarray]:
    """Slope and bias, each [C]; the file may come from anyone."""
    rows = [stored.get(name) if isinstance(stored, dict) else None for name in ("slope", "bias")]
    numbers = [each for each in rows if isinstance(each, list) and len(each) == num_classes]
    if len(numbers) < 2 or not all(is_finite_number(n) for each in numbers for n in each):
        raise UserError(
            f"{where} must be a mapping of slope and bias, {num_classes} numbers each, got "
            f"{stored!r:.80}"
        )
    slope, bias = np.array(numbers, np.float64)
    if not (slope > 0).all():
        raise UserError(f"{where}: slope must be above 0, got {slope.min():g}")
    return slope, bias


def _curve(stored: Any, where: str) -> LogitCurve:
    """The curve; the file may come from anyone. A run of an earlier version has none."""
    if stored is None:
        return STRAIGHT
    rows = [stored.get(name) if isinstance(stored, dict) else None for name in ("at", "to")]
    valid = all(isinstance(row, list) and all(map(is_finite_number, row)) for row in rows)
    at, to = (np.array(row, np.float64) if valid else np.empty(0) for row in rows)
    rising = all((np.diff(row) > 0).all() for row in (at, to))
    if not valid or len(at) != len(to) or not rising:
        raise UserError(
            f"{where}: curve must be a mapping of at and to, as many rising numbers each, got "
            f"{stored!r:.80}"
        )
    return LogitCurve(at, to)


def _named(columns: Any, classes: tuple[str, ...], where: str) -> tuple[str, ...]:
    """The names of the classes whose numbers a file lists; the file may come from anyone."""
    valid = range(len(classes))
    if not isinstance(columns, list) or not all(type(c) is int and c in valid for c in columns):
        raise UserError(f"{where}: global_in must list numbers of classes, got {columns!r:.80}")
    return tuple(classes[column] for column in columns)


def _refuse_single(images: Iterable[Picture]) -> None:
    """Refuse a single picture, which iterates too: a string by character, an array by row."""
    array = isinstance(images, np.ndarray)
    if isinstance(images, Path | str | Image.Image) or (array and images.ndim == 3):
        got = f"an array {list(images.shape)}" if array else repr(images)
        raise ValueError(f"images must be a list of pictures ([picture] for one), got {got}")
