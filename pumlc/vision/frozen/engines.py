"""Ways to run a frozen network that give the same features, of which the fastest is chosen."""

import copy
import io
import logging
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from pumlc.engine.foreign_code import as_user_error
from pumlc.errors import UserError
from pumlc.vision.models.classifier import Classifier, pooled_features

_LOGGER = logging.getLogger(__name__)
Precision = Literal["float32", "bfloat16"]
Pooled = Callable[[Tensor], Tensor]
_TOLERANCE = 1e-3  # share of the largest feature; another order of float32 sums differs by 1e-6
_WORTH_AN_EXPORT = 256  # pictures; building the graph takes as long as about 50 to 100 pictures


class Engine(NamedTuple):
    """A way to compute features.

    Attributes:
        name: what messages call it.
        pooled: maps pictures [B, 3, H, W] on the device of the network to features float32 [B, D].
        difference: the largest difference from plain float32 features, on a few pictures.
    """

    name: str
    pooled: Pooled
    difference: float


class _Features(nn.Module):
    """The features that a linear head sees."""

    def __init__(self, backbone: Any, mirror: bool) -> None:
        super().__init__()
        self.backbone: Any = backbone
        self.mirror = mirror

    def forward(self, images: Tensor) -> Tensor:
        return pooled_features(self.backbone, images, mirror=self.mirror)


def choose_engine(
    classifier: Classifier, sample: Tensor, precision: Precision, num_pictures: int
) -> Engine:
    """The fastest of `working_engines`, measured on a few pictures.

    For the arguments see `working_engines`.
    """
    engines = working_engines(classifier, sample, precision, num_pictures)
    return min(engines, key=lambda engine: _seconds(engine.pooled, sample))


def working_engines(
    classifier: Classifier, sample: Tensor, precision: Precision, num_pictures: int
) -> list[Engine]:
    """The ways that work for this machine and this network.

    In float32 they are torch; torch with every BatchNorm folded into the convolution before it; and
    onnxruntime, if it is installed, on a CPU, for enough pictures. A way whose features differ from
    those of torch on the sample is left out. In bfloat16 there is torch's autocast, with folded
    BatchNorm if this gives the same features.

    Args:
        classifier: in eval mode on its device.
        sample: a few pictures [B, 3, H, W] on that device.
        precision: float32, or bfloat16, whose features differ in the third digit.
        num_pictures: the number of pictures to compute.
    """
    plain = _Features(classifier.backbone, classifier.mirror)
    expected = _in_torch(plain, "float32")(sample)
    networks: dict[str, nn.Module] = {"torch": plain}
    folded = fold_batch_norms(plain)
    if folded is not None and _is_close(_in_torch(folded, "float32")(sample), expected):
        networks["torch, BatchNorm folded"] = folded
    name, fastest = list(networks.items())[-1]
    if precision == "bfloat16":
        ways = {f"{name}, bfloat16": _in_torch(fastest, precision)}
    else:
        ways = {name: _in_torch(network, precision) for name, network in networks.items()}
        if num_pictures >= _WORTH_AN_EXPORT and sample.device.type == "cpu":
            session = _onnxruntime(fastest, sample)
            if session is not None and _is_close(session(sample), expected):
                ways["onnxruntime"] = session
    # one run of each way also warms it up
    return [
        Engine(name, pooled, float((pooled(sample) - expected).abs().max()))
        for name, pooled in ways.items()
    ]


def fold_batch_norms(network: nn.Module) -> nn.Module | None:
    """A copy with each BatchNorm folded into the convolution that stands before it.

    A layer that stands before another need not feed it: compare the outputs before use.

    Args:
        network: in eval mode.

    Returns:
        The copy, or None if nothing could be folded.
    """
    network, folded = copy.deepcopy(network), 0
    for module in network.modules():
        children = list(module.named_children())
        for (name, convolution), (norm_name, norm) in zip(children, children[1:], strict=False):
            if not isinstance(convolution, nn.Conv2d) or not isinstance(norm, nn.BatchNorm2d):
                continue
            if norm.num_features != convolution.out_channels:
                continue
            setattr(module, name, fuse_conv_bn_eval(convolution, norm))
            # timm's BatchNormAct2d also has the activation
            setattr(module, norm_name, getattr(norm, "act", nn.Identity()))
            folded += 1
    return network.to(memory_format=torch.channels_last) if folded else None  # pyright: ignore


def _in_torch(network: nn.Module, precision: Precision) -> Pooled:
    def pooled(images: Tensor) -> Tensor:
        low = precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(images.device.type, torch.bfloat16, low):
            return network(images.contiguous(memory_format=torch.channels_last)).float()

    return pooled


def _onnxruntime(network: nn.Module, sample: Tensor) -> Pooled | None:
    """Features by onnxruntime; None if it is not installed or the network cannot be exported."""
    if find_spec("onnxruntime") is None or find_spec("onnx") is None:
        return None
    import onnxruntime

    try:
        # exporter and runtime have no common type for a network that they do not support
        with as_user_error("onnxruntime cannot run this network"), _quiet(), torch.no_grad():
            graph = _onnx_graph(network, sample)
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = torch.get_num_threads()
            session = onnxruntime.InferenceSession(
                graph, options, providers=["CPUExecutionProvider"]
            )
    except UserError as error:  # it is one way of several
        _LOGGER.info("onnxruntime is not used: %r", error.__cause__)
        return None

    def pooled(images: Tensor) -> Tensor:
        (features,) = session.run(["features"], {"images": images.contiguous().numpy()})
        return torch.from_numpy(features)  # pyright: ignore[reportArgumentType]

    return pooled


def _onnx_graph(network: nn.Module, sample: Tensor) -> bytes:
    """The network as ONNX, for any number of pictures."""
    graph = io.BytesIO()
    torch.onnx.export(  # without dynamo, which takes ten times as long
        copy.deepcopy(network),  # a copy, since the exporter fuses layers in place
        (sample.contiguous(),),
        graph,  # pyright: ignore[reportArgumentType]
        dynamo=False,
        input_names=["images"],
        output_names=["features"],
        dynamic_axes={"images": {0: "batch"}, "features": {0: "batch"}},
    )
    return graph.getvalue()


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter logs and warns about its own code."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _is_close(features: Tensor, expected: Tensor) -> bool:
    return float((features - expected).abs().max()) <= _TOLERANCE * float(expected.abs().max())


def _seconds(pooled: Pooled, sample: Tensor) -> float:
    start = time.perf_counter()
    pooled(sample).sum().item()  # the sum waits for a GPU
    return time.perf_counter() - start
