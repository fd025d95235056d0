"""What a head with a Gaussian kernel adds to a network: bytes, and time a picture.

    python benchmarks/kernel_head.py
    python benchmarks/kernel_head.py --classes 374 --landmarks 2000 --width 1280

Its numbers are random: neither depends on them. The time is processor time of one thread, in
batches of 64 and for one picture alone, of this head minus that of a linear one: the median of
interleaved rounds.
"""

import argparse
import statistics
import time

import torch
from torch import nn

from pumlc.tables import table
from pumlc.vision.models.kernel_head import KernelHead


def megabytes(head: nn.Module) -> float:
    return sum(value.numel() * value.element_size() for value in head.state_dict().values()) / 1e6


def milliseconds(head: nn.Module, rows: torch.Tensor, calls: int = 20) -> float:
    """A picture."""
    start = time.process_time()
    with torch.inference_mode():
        for _ in range(calls):
            head(rows)
    return 1000 * (time.process_time() - start) / calls / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--width", type=int, default=1_280, help="features")
    parser.add_argument("--classes", type=int, default=374)
    parser.add_argument("--landmarks", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(1)
    linear = nn.Linear(options.width, options.classes)
    kernel = KernelHead(options.width, options.classes, options.landmarks)
    for value in kernel.state_dict().values():
        value.copy_(torch.randn_like(value))
    added = {}
    for batch in (64, 1):
        rows = torch.randn(batch, options.width)
        for head in (kernel, linear):
            milliseconds(head, rows)  # warms up
        rounds = [
            milliseconds(kernel, rows) - milliseconds(linear, rows) for _ in range(options.rounds)
        ]
        added[batch] = f"{statistics.median(rounds):.3f}"
    print(
        table(
            ["linear, MB", "with the kernel, MB", *(f"ms more, batch {b}" for b in added)],
            [[megabytes(linear), megabytes(kernel), *added.values()]],
        )
    )


if __name__ == "__main__":
    main()
