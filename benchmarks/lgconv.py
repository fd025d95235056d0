"""Time and operations of LG-conv: plain backbone, published composition, ours.

    python benchmarks/lgconv.py                                  ResNet-50 and -101 at 224 and 448
    python benchmarks/lgconv.py --models resnet50 --sizes 224 --rounds 9

Ratios are medians over rounds of (this form / plain backbone) measured one right after the other in
one process. Times are processor seconds of one thread, which other processes disturb least. The
training step is forward and backward with every BatchNorm frozen, as published; "train mode" is
the same with the BatchNorms in train mode.
"""

import argparse
import copy
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from pumlc.tables import table
from pumlc.vision import add_local_global, fold_local_global
from pumlc.vision.models.lgconv import LocalGlobalConv

sys.path.insert(0, str(Path(__file__).parent.parent / "tests" / "vision"))
from plain_local_global import PlainLocalGlobalConv  # noqa: E402


def with_published_composition(model: nn.Module) -> nn.Module:
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, LocalGlobalConv):
                setattr(module, name, PlainLocalGlobalConv(child))
    return model


def infer(model: nn.Module, images: Tensor) -> None:
    with torch.inference_mode():
        model(images)


def train(model: nn.Module, images: Tensor) -> None:
    model.zero_grad()
    model(images).square().mean().backward()


def ratios(
    step: Callable[[nn.Module, Tensor], None],
    models: dict[str, nn.Module],
    images: Tensor,
    rounds: int,
) -> tuple[float, dict[str, float]]:
    """Median seconds of the first model, and the median ratio of every other model to it."""
    seconds: dict[str, list[float]] = {name: [] for name in models}
    for round_ in range(rounds + 1):  # the first warms up
        for name, model in models.items():
            start = time.process_time()
            step(model, images)
            if round_:
                seconds[name].append(time.process_time() - start)
    first, *others = seconds
    pairs = {
        name: [a / b for a, b in zip(seconds[name], seconds[first], strict=True)] for name in others
    }
    return statistics.median(seconds[first]), {n: statistics.median(p) for n, p in pairs.items()}


def flops(model: nn.Module, images: Tensor) -> float:
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model(images)
    return counter.get_total_flops()


def measure(name: str, size: int, layout: str, batch: int, rounds: int) -> list[list[object]]:
    """Rows of the table: network, quantity, plain network, published and ours as ratios to it."""
    torch.manual_seed(0)
    plain = timm.create_model(name, num_classes=80)
    ours = copy.deepcopy(plain)
    add_local_global(ours)
    published = with_published_composition(copy.deepcopy(ours))
    memory_format = torch.channels_last if layout == "channels_last" else torch.contiguous_format
    images = torch.randn(batch, 3, size, size).contiguous(memory_format=memory_format)
    forms = [m.to(memory_format=memory_format).eval() for m in (plain, published, ours)]
    models = dict(zip(("plain", "published", "ours"), forms, strict=True))
    folded = {**models, "ours": fold_local_global(copy.deepcopy(ours))}
    case = f"{name} {size} {layout}"
    counts = {n: flops(model, images) for n, model in folded.items()}
    rows: list[list[object]] = [
        [case, "inference GFLOP", counts["plain"] / batch / 1e9]
        + [counts[n] / counts["plain"] for n in ("published", "ours")]
    ]

    def add(measured: str, step: Callable[[nn.Module, Tensor], None], chosen: dict) -> None:
        seconds, others = ratios(step, chosen, images, rounds)
        rows.append([case, measured, 1e3 * seconds, others["published"], others["ours"]])

    add("inference ms", infer, folded)
    add("training step ms", train, models)
    for model in models.values():
        model.train()
    add("training step, train mode ms", train, models)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--models", nargs="+", default=["resnet50", "resnet101"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[224, 448])
    parser.add_argument(
        "--layouts", nargs="+", default=["contiguous"], choices=["contiguous", "channels_last"]
    )
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[list[object]] = []
    for name in options.models:
        for size in options.sizes:
            for layout in options.layouts:
                rows += measure(name, size, layout, options.batch, options.rounds)
                print(f"{name} {size} {layout}: done", file=sys.stderr)
    print(table(["network", "", "plain", "published / plain", "ours / plain"], rows))


if __name__ == "__main__":
    main()
