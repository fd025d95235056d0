"""Export of a classifier as an ONNX file with its classes and its preprocessing."""

import copy
import json
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pumlc.engine.extras import import_extra
from pumlc.engine.foreign_code import why_unreadable
from pumlc.errors import UserError
from pumlc.estimators.logit_curve import STRAIGHT, LogitCurve
from pumlc.files import complete_file
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.models.classifier import Classifier
from pumlc.vision.models.conversion import fold_local_global


def export_onnx(
    classifier: Classifier,
    path: Path | str,
    *,
    class_names: Sequence[str],
    thresholds: Sequence[float] | None = None,
    calibration: tuple[Sequence[float], Sequence[float]] | None = None,
    curve: LogitCurve = STRAIGHT,
    straight: Sequence[int] = (),
) -> None:
    """Write the inference form of a classifier, LG-conv folded, for any batch size.

    The graph takes ``images`` [B,3,H,W] float32 of the size in ``classifier.data_config`` and
    gives ``logits`` [B,C] and ``probabilities`` [B,C]. Each entry of its metadata is a JSON text:

    classes         the names, in the order of the columns
    preprocessing   decoded size, colours, scale, size, how to resize, mean and std, in this order
    thresholds      the probability from which each class is present, if they are given

    The classifier itself stays as it is. The file appears when it is complete.

    Args:
        classifier: in any mode.
        path: the file to write.
        class_names: C names.
        thresholds: C numbers in [0, 1].
        calibration: C slopes and C biases: probabilities are sigmoid(slope * logits + bias); None:
            sigmoid(logits).
        curve: what is done to all classes before the sigmoid.
        straight: numbers of classes that it is not done to.

    Raises:
        UserError: the extra [export] is not installed, or torch cannot export the network.
        ValueError: the number of names, thresholds, slopes or biases is not C.
    """
    onnx = import_extra("onnx", "export", what="exporting")
    import_extra("onnxscript", "export", what="exporting")
    height, width = classifier.data_config["input_size"][-2:]
    model = fold_local_global(copy.deepcopy(classifier).cpu().float().eval())
    images = torch.zeros(2, 3, height, width)
    with torch.no_grad():
        classes = model(images).shape[1]
    slope, bias = calibration or ([1.0] * classes, [0.0] * classes)
    _check_lengths(
        classes, class_names=class_names, thresholds=thresholds, slopes=slope, biases=bias
    )
    proto = _graph(_WithProbabilities(model, slope, bias, curve, straight), images)
    metadata = {"classes": list(class_names), "preprocessing": _preprocessing(classifier)}
    if thresholds is not None:
        metadata["thresholds"] = [float(threshold) for threshold in thresholds]
    onnx.helper.set_model_props(proto, {key: json.dumps(value) for key, value in metadata.items()})
    with complete_file(path, binary=True) as file:
        file.write(proto.SerializeToString())


def _graph(module: torch.nn.Module, images: Tensor) -> Any:
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter warns about its own code
        try:
            program = torch.onnx.export(
                module,
                (images,),
                dynamo=True,
                input_names=["images"],
                output_names=["logits", "probabilities"],
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                verbose=False,
            )
        except torch.onnx.errors.OnnxExporterError as error:
            reason = why_unreadable(
                error.__cause__ if isinstance(error.__cause__, Exception) else error
            )
            raise UserError(
                f"torch {torch.__version__} cannot write this network as ONNX: {reason:.200}; try "
                "a newer torch, or another model.backbone or model.pooling"
            ) from error
    assert program is not None
    return program.model_proto


def _check_lengths(classes: int, **arguments: Sequence[Any] | None) -> None:
    for name, given in arguments.items():
        if given is not None and len(given) != classes:
            raise ValueError(f"{len(given)} {name} for a classifier of {classes} classes")


class _WithProbabilities(torch.nn.Module):
    """Logits and what is made of them, in one graph."""

    at: Tensor
    changes: Tensor
    of_class: Tensor

    def __init__(
        self,
        model: torch.nn.Module,
        slope: Sequence[float],
        bias: Sequence[float],
        curve: LogitCurve,
        straight: Sequence[int],
    ):
        super().__init__()
        self.model = model
        self.register_buffer("slope", torch.tensor(slope, dtype=torch.float32))
        self.register_buffer("bias", torch.tensor(bias, dtype=torch.float32))
        self.bent = len(curve.at) > 0
        if self.bent:
            self.offset, changes = curve.bends()
            self.register_buffer("at", torch.tensor(curve.at, dtype=torch.float32))
            self.register_buffer("changes", torch.tensor(changes, dtype=torch.float32))
            bent = torch.ones(len(slope), dtype=torch.float32)
            bent[list(straight)] = 0
            self.register_buffer("of_class", bent)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logits = self.model(images)
        calibrated = self.slope * logits + self.bias
        if self.bent:
            beyond = torch.relu(calibrated[..., None] - self.at)
            change = self.offset + (beyond * self.changes).sum(-1)
            calibrated = calibrated + self.of_class * change
        return logits, torch.sigmoid(calibrated)


def largest_difference(path: Path | str, classifier: Classifier, images: Tensor) -> float:
    """Largest absolute difference between the logits of onnxruntime and those of the classifier.

    Args:
        path: the exported file.
        classifier: in any mode; it is compared in eval mode.
        images: [B,3,H,W] float32, prepared as ``classifier.data_config`` says.

    Raises:
        UserError: the extra [export] is not installed.
    """
    session = import_extra("onnxruntime", "export", what="exporting").InferenceSession(str(path))
    (logits,) = session.run(["logits"], {"images": images.numpy()})
    model = copy.deepcopy(classifier).cpu().float().eval()
    with torch.inference_mode():
        expected = model(images).numpy()
    return float(np.abs(logits - expected).max())


def _preprocessing(classifier: Classifier) -> dict[str, object]:
    config = classifier.data_config
    return {
        "decoded_size": list(evaluation_transform(config).decoded_size),
        "colours": "RGB",
        "scale": 1 / 255,
        "size": list(config["input_size"][-2:]),
        "resize": "squash; area interpolation to a smaller size, bilinear to a larger",
        "mean": list(config["mean"]),
        "std": list(config["std"]),
    }
