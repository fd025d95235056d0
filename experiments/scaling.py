"""How time and memory grow: pictures, classes, labels; and what a published run costs.

    python experiments/scaling.py growth       processor seconds and memory, a factor of 100 each
    python experiments/scaling.py costs        FLOPs and bytes of a step; hours of a COCO run

All data are generated. Each measurement of `growth` is a new process: processor seconds are the
best of three calls, memory is the peak above that before the first call. `costs` counts FLOPs and
saved bytes of networks without memory (device meta): it measures no time. docs/scaling.md has the
tables; scaling_processes.py measures how a step grows with the number of processes.
"""

import argparse
import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

from pumlc.tables import table

CLASSES, ROWS, WIDTH = 80, 64, 128
"""Classes of COCO, rows of a batch, numbers of an embedding."""
PICTURES_OF_COCO, EPOCHS = 82_081, 41
"""Training pictures with a label, and the epochs of the published run."""
PEAK, SHARE = 989e12, 0.35
"""FLOPs a second of an H100 or H200 in bf16 without sparsity (data sheet), and the part of them
that the hours of `costs` assume."""

Work = Callable[[], object]


def work_of_label_file(size: int, folder: Path) -> Work:
    """Reading a CSV file of so many pictures with ten labels each."""
    from pumlc.vision import read_labels

    random = np.random.default_rng(0)
    names = np.array([f"label{index:02d}" for index in range(CLASSES)])
    with (folder / "labels.csv").open("w") as file:
        file.write("image,labels\n")
        for row in range(size):
            file.write(f"{row:07d}.jpg,{'|'.join(random.choice(names, 10, replace=False))}\n")
    return lambda: read_labels(folder / "labels.csv", sparse=True)


def work_of_hiding(size: int, folder: Path) -> Work:
    """Hiding nine of ten labels."""
    from pumlc.labels import keep_proportion

    labels = np.where(np.random.default_rng(0).random((size, CLASSES)) < 0.04, 1, -1)
    labels = labels.astype(np.int8)
    return lambda: keep_proportion(labels, 0.1)


def work_of_metrics(size: int, folder: Path) -> Work:
    """mAP of so many pictures."""
    from pumlc.metrics import mean_average_precision

    random = np.random.default_rng(0)
    labels = np.where(random.random((size, CLASSES)) < 0.04, 1, -1).astype(np.int8)
    scores = random.random((size, CLASSES), np.float32)
    return lambda: mean_average_precision(scores, labels, definition="sklearn")


def work_of_pu_loss(size: int, folder: Path) -> Work:
    """Loss and gradient of a batch with so many classes."""
    from pumlc.losses import pu_loss

    logits = torch.randn(ROWS, size, requires_grad=True)
    targets = (torch.rand(ROWS, size) < 0.04).to(torch.int8)
    return lambda: torch.autograd.grad(pu_loss(logits, targets, gamma=0.55, alpha=1.0), logits)


def work_of_decoupled_softmax(size: int, folder: Path) -> Work:
    """Loss and gradient of a batch of embeddings and so many embedded labels, in chunks."""
    from pumlc.losses import chunked_decoupled_softmax_loss

    queries = torch.randn(ROWS, WIDTH, requires_grad=True)
    labels = torch.randn(size, WIDTH, requires_grad=True)
    rows = torch.arange(ROWS)
    indices = torch.stack([rows, rows * (size // ROWS)])
    ones = torch.ones(ROWS, dtype=torch.bool)
    positives = torch.sparse_coo_tensor(indices, ones, (ROWS, size)).to_sparse_csr()
    return lambda: torch.autograd.grad(
        chunked_decoupled_softmax_loss(
            queries, labels, positives, temperature=0.05, chunk_size=4096
        ),
        (queries, labels),
    )


def work_of_search(size: int, folder: Path) -> Work:
    """The best 100 of so many labels for a thousand texts."""
    from pumlc.text.retrieval.search import search

    queries, labels = torch.randn(1000, WIDTH), torch.randn(size, WIDTH)
    return lambda: search(queries, labels, 100)


GROWTH: dict[str, tuple[Callable[[int, Path], Work], str, tuple[int, ...]]] = {
    "a label file is read": (work_of_label_file, "pictures", (1_000, 10_000, 100_000)),
    "labels are hidden": (work_of_hiding, "pictures", (1_000, 10_000, 100_000)),
    "mAP": (work_of_metrics, "pictures", (1_000, 10_000, 100_000)),
    "PU loss and gradient": (work_of_pu_loss, "classes", (100, 1_000, 10_000)),
    "decoupled softmax and gradient": (
        work_of_decoupled_softmax,
        "labels",
        (10_000, 100_000, 1_000_000),
    ),
    "search, 1,000 texts": (work_of_search, "labels", (10_000, 100_000, 1_000_000)),
}


def peak_mebibytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def measured(name: str, size: int) -> dict[str, float]:
    """Processor seconds and MiB of one size, in this process."""
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        work = GROWTH[name][0](size, Path(folder))
        before, seconds = peak_mebibytes(), math.inf
        for _ in range(3):
            start = time.process_time()
            work()
            seconds = min(seconds, time.process_time() - start)
        return {"seconds": seconds, "mebibytes": peak_mebibytes() - before}


def exponent(sizes: tuple[int, ...], values: list[float]) -> float | None:
    """Slope between the two largest sizes on logarithmic axes: 1 is proportional growth.

    >>> exponent((10, 100, 1000), [5.0, 1.0, 10.0])
    1.0
    """
    if min(values[-2:]) <= 0:
        return None
    return math.log(values[-1] / values[-2]) / math.log(sizes[-1] / sizes[-2])


def show_growth(scale: int = 1) -> None:
    rows: list[list[object]] = []
    for name, (_, unit, sizes) in GROWTH.items():
        sizes = tuple(max(ROWS, size // scale) for size in sizes)
        found = []
        for size in sizes:
            command = [sys.executable, __file__, "one", "--name", name, "--size", str(size)]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            found.append(json.loads(done.stdout.splitlines()[-1]))
        for size, figures in zip(sizes, found, strict=True):
            cells = [f"{figures['seconds']:.3g}", f"{figures['mebibytes']:.0f}"]
            rows.append([name, f"{size:,} {unit}", *cells, None])
        slope = exponent(sizes, [figures["seconds"] for figures in found])
        rows[-1][-1] = "" if slope is None else f"{slope:.2f}"
    print(table(["work", "size", "processor seconds", "MiB", "exponent"], rows))


def show_costs() -> None:
    """FLOPs of a training step by network, and hours of the published COCO run by GPUs."""
    rows, batch = [], 4
    for backbone, local_global in (
        ("resnet50", False),
        ("resnet101", False),
        ("resnet101", True),
    ):
        parameters, flops, saved = step_costs(backbone, local_global, batch, 448)
        # a picture of a step, and half a mixture of two
        run = flops / batch * 1.5 * PICTURES_OF_COCO * EPOCHS
        hours = run / (PEAK * SHARE) / 3600
        name = f"{backbone}{' + LG-conv' if local_global else ''}"
        cells = [f"{parameters / 1e6:.1f}", f"{flops / batch / 1e9:.1f}"]
        cells += [f"{saved / batch / 2**20:.0f}", f"{4 * parameters / 2**20:.0f}", f"{run:.2e}"]
        rate = PICTURES_OF_COCO * EPOCHS / hours / 3600
        rows.append([name, *cells, *(f"{hours / gpus:.2f}" for gpus in (1, 2, 8)), f"{rate:.0f}"])
    heads = ["network", "trained, millions", "GFLOPs a picture", "saved MiB a picture"]
    heads += ["gradients, MiB", "FLOPs of a run", "hours, 1 GPU", "2", "8", "pictures/s a GPU"]
    print(table(heads, rows))


def step_costs(backbone: str, local_global: bool, batch: int, size: int) -> tuple[int, int, int]:
    """Trained parameters, FLOPs and saved bytes of forward and backward of a batch in float32.

    The last stage, the branches of all stages and the head are trained, as published.
    """
    from torch.utils.flop_counter import FlopCounterMode

    from pumlc.vision import create_classifier
    from pumlc.vision.models.trained_part import train_last_stages

    with torch.device("meta"):
        model = create_classifier(
            backbone,
            CLASSES,
            local_global=local_global,
            head="linear",
            weights=None,
            image_size=size,
            batch_norm="frozen",
        )
        images = torch.empty(batch, 3, size, size)
    train_last_stages(model, 1, None)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    saved: dict[int, int] = {}

    def keep(value: torch.Tensor) -> torch.Tensor:
        if not isinstance(value, nn.Parameter):  # once each, whatever keeps it
            storage = value.untyped_storage()
            saved[storage._cdata] = storage.nbytes()
        return value

    with FlopCounterMode(display=False) as counter:
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
            total = model(images).sum()
        total.backward()
    return trained, counter.get_total_flops(), sum(saved.values())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", choices=["growth", "costs", "one"])
    parser.add_argument("--smaller", type=int, default=1, help="divides the sizes of growth")
    parser.add_argument("--name", help=argparse.SUPPRESS)  # of the new process
    parser.add_argument("--size", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.part == "one":
        print(json.dumps(measured(options.name, options.size)))
    elif options.part == "growth":
        show_growth(options.smaller)
    else:
        show_costs()


if __name__ == "__main__":
    main()
