"""The classifier of a run as a folder that timm and transformers load: config.json and weights."""

from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
from scipy.special import expit, logit
from torch import nn

from pumlc.errors import UserError
from pumlc.files import complete_file, complete_folder, write_json, write_text
from pumlc.version import __version__
from pumlc.vision.models.classifier import Classifier
from pumlc.vision.models.kernel_head import KernelHead
from pumlc.vision.models.tower import Tower
from pumlc.vision.predictor import VisionPredictor

TOLERANCE = 1e-4
"""The largest difference of a logit between the network of timm and that of the run."""


def write_timm_folder(
    predictor: VisionPredictor, folder: Path | str, *, card: str, calibrated: bool = False
) -> float:
    """Write ``README.md``, ``config.json`` and ``model.safetensors``; the folder appears complete.

    ``timm.create_model("local-dir:FOLDER", pretrained=True)`` and transformers' pipeline
    ``image-classification`` load it. The names of the classes are its ``label_names``. Under
    ``pumlc`` it has the thresholds, for the sigmoid of its logits.

    Args:
        predictor: of a run, on the processor.
        folder: a new one.
        card: the text of README.md.
        calibrated: put slope and bias of each class into the last layer, so that the sigmoid of a
            logit is the probability of `VisionPredictor.predict`, but for the run's curve: no layer
            of timm has that. The thresholds are those of this sigmoid.

    Returns:
        The largest difference between its logits and those of the run, on noise.

    Raises:
        UserError: the folder is there already, or timm has no such network (`timm_network`).
    """
    network, arguments = timm_network(
        predictor.model, predictor.config.model.backbone, len(predictor.labels)
    )
    difference = _difference(network, predictor.model)
    if not difference <= TOLERANCE:
        raise UserError(
            f"{predictor.run.path}: the network {predictor.config.model.backbone} of timm gives "
            f"other logits than the run (by {difference:.1e}); pumlc export writes it as ONNX"
        )
    if calibrated:
        _calibrate(network, predictor.slope, predictor.bias)
    state = {name: value.contiguous() for name, value in network.state_dict().items()}
    with complete_folder(folder) as building:
        write_json(building / "config.json", _config(predictor, network, arguments, calibrated))
        with complete_file(building / "model.safetensors", binary=True) as file:
            file.write(safetensors.torch.save(state, metadata={"format": "pt"}))
        write_text(building / "README.md", card)
    return difference


def timm_network(
    classifier: Classifier, backbone: str, num_classes: int
) -> tuple[nn.Module, dict[str, Any]]:
    """The same classifier as a network of timm alone, in eval mode.

    Args:
        classifier: stays as it is.
        backbone: its name in timm.
        num_classes: C.

    Returns:
        The network, and the arguments that ``timm.create_model`` needs beside name and classes.

    Raises:
        UserError: the classifier has local-global branches, a head that is not one linear layer, or
            a backbone whose layer for classes has more than weight and bias.
    """
    check_for_timm(classifier)
    size = [int(side) for side in classifier.data_config["input_size"][-2:]]
    usual = [int(side) for side in classifier.backbone.pretrained_cfg["input_size"][-2:]]
    # networks with positions or windows are built for a size; others take any
    fixed = size != usual and hasattr(classifier.backbone, "set_input_size")
    arguments: dict[str, Any] = {"img_size": size} if fixed else {}
    if classifier.pooling is not None:
        arguments["global_pool"] = classifier.pooling
    network = timm.create_model(backbone, pretrained=False, num_classes=num_classes, **arguments)
    missing, unexpected = network.load_state_dict(classifier.backbone.state_dict(), strict=False)
    layers = class_layers(network)
    own = [f"{layer}.{name}" for layer in layers for name in ("weight", "bias")]
    if unexpected or not layers or sorted(missing) != sorted(own):
        raise UserError(
            f"model.backbone {backbone}: its layer for classes in timm is no single linear layer "
            f"(it has {', '.join(missing) or 'none'}), so timm cannot load the head of this run; "
            "pumlc export writes it as ONNX"
        )
    with torch.no_grad():
        for layer in layers:
            module = network.get_submodule(layer)
            module.weight.copy_(classifier.head.weight.view_as(module.weight))  # pyright: ignore
            module.bias.copy_(classifier.head.bias)  # pyright: ignore
    return network.eval(), arguments


def check_for_timm(classifier: Classifier) -> None:
    """Refuse what no network of timm is.

    Raises:
        UserError: see `timm_network`.
    """
    if classifier.converted:
        raise UserError(
            f"{len(classifier.converted)} convolutions of this run have a local-global branch "
            "(model.local_global), whose attention depends on the picture: no layer of timm is the "
            "same. pumlc export writes the run as ONNX, and pumlc card without a folder its card; "
            "a run with model.local_global false, or with heads on a frozen network, can be "
            "written for timm"
        )
    if isinstance(classifier.head, KernelHead):
        raise UserError(
            "the heads of this run have a Gaussian kernel beside the linear ones, which timm does "
            "not have. pumlc export writes the run as ONNX, and pumlc card without a folder its "
            "card; a run with heads least_squares, which takes the same features from the cache, "
            "can be written for timm"
        )
    if not isinstance(classifier.head, nn.Linear):
        raise UserError(
            f"the head of this run is {type(classifier.head).__name__} (model.head), which timm "
            "does not have. pumlc export writes the run as ONNX, and pumlc card without a folder "
            "its card; a run with model.head linear can be written for timm"
        )
    _refuse_other_features(classifier)


def _refuse_other_features(classifier: Classifier) -> None:
    if classifier.mirror or isinstance(classifier.backbone, Tower):
        reason = (
            "averages the features of two pictures (model.mirror)"
            if classifier.mirror
            else "is a model of transformers (model.backbone)"
        )
        raise UserError(
            f"the network of this run {reason}, which timm does not have. pumlc export writes the "
            "run as ONNX, and pumlc card without a folder its card"
        )


def class_layers(network: nn.Module) -> list[str]:
    """Names of the layers that give the logits; a distilled network has two."""
    named: Any = network.pretrained_cfg.get("classifier") or ()  # pyright: ignore
    names = [named] if isinstance(named, str) else list(named)
    modules = dict(network.named_modules())
    return [name for name in names if isinstance(modules.get(name), nn.Linear | nn.Conv2d)]


def _difference(network: nn.Module, classifier: Classifier) -> float:
    shape = (2, *classifier.data_config["input_size"])
    images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        return float((network(images) - classifier(images)).abs().max())


def _calibrate(network: nn.Module, slope: np.ndarray, bias: np.ndarray) -> None:
    scale, shift = (torch.from_numpy(each).float() for each in (slope, bias))
    with torch.no_grad():
        for layer in class_layers(network):
            module = network.get_submodule(layer)
            weight: Any = module.weight
            weight.mul_(scale.view(-1, *[1] * (weight.dim() - 1)))
            module.bias.mul_(scale).add_(shift)  # pyright: ignore


def thresholds_of_logits(predictor: VisionPredictor, *, calibrated: bool = False) -> np.ndarray:
    """[C]: the thresholds of a run, for the sigmoid of its logits as they are.

    Args:
        predictor: of the run.
        calibrated: for the sigmoid of slope * logits + bias instead.
    """
    straight = predictor.curve.inverse()(logit(predictor.thresholds))
    return expit(straight if calibrated else (straight - predictor.bias) / predictor.slope)


def _config(
    predictor: VisionPredictor, network: Any, arguments: dict[str, Any], calibrated: bool
) -> dict[str, Any]:
    """The content of config.json: timm's keys, what transformers reads, and ``pumlc``."""
    data, source = predictor.model.data_config, network.pretrained_cfg
    thresholds = thresholds_of_logits(predictor, calibrated=calibrated)
    return {
        "architecture": predictor.config.model.backbone.partition(".")[0],
        "num_classes": len(predictor.labels),
        "num_features": network.num_features,
        "label_names": list(predictor.labels),
        "problem_type": "multi_label_classification",  # transformers: a sigmoid, no softmax
        **({"model_args": arguments} if arguments else {}),
        "pretrained_cfg": {
            "num_classes": len(predictor.labels),
            "input_size": list(data["input_size"]),
            "fixed_input_size": bool(source.get("fixed_input_size", False)),
            # of what timm offers, the closest to the pixels of this package (docs/export.md)
            "interpolation": "bilinear",
            "crop_mode": "squash",
            "crop_pct": 1.0,
            "mean": list(data["mean"]),
            "std": list(data["std"]),
            "first_conv": source.get("first_conv"),
            "classifier": source.get("classifier"),
        },
        "pumlc": {
            "version": __version__,
            "weights": predictor.weights,
            "calibrated": calibrated or predictor.config.is_frozen,
            "thresholds": thresholds.tolist() if predictor.fitted else None,
        },
    }
