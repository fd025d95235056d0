"""Time and memory of the loss core, as ratios measured in one run.

    python benchmarks/losses.py [--threads 2] [--rounds 7] [--clock wall] [pu] [chunked]

``pu``: forward and backward of ``pu_loss``, whose gradient is written by hand, against its
definition with automatic differentiation, ``pumlc.losses.variational.variational_loss``.
``chunked``: forward and backward of ``chunked_decoupled_softmax_loss`` from embeddings (D = 64,
B = 256, 5 positives a row) against the dense loss where its scores fit in memory.

The two sides of a ratio are run in turn, so that both see the same machine, and the median of the
ratios is shown. On a machine busy with other work ``--clock cpu --threads 1`` says more than wall
time. Memory is the peak of what torch allocates during forward and backward, above what
was there before and, for embeddings, above their gradients.
"""

import argparse
import itertools
import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile

from pumlc.losses import (
    chunked_decoupled_softmax_loss,
    decoupled_softmax_loss,
    pu_loss,
)
from pumlc.losses.variational import variational_loss

PU_SHAPES = [(64, 80), (512, 1_000), (256, 20_000)]
LABEL_COUNTS = [131_073, 501_070, 1_305_265]
DENSE_LIMIT = 131_073  # five copies of [256, 1305265] scores are 6.7 GB
ROWS, WIDTH, CHUNK = 256, 64, 8_192
MIB = 2**20


PU_OPTIONS: dict[str, Any] = {"gamma": 0.55, "alpha": 1.0}
DEFINITION: dict[str, Any] = {"skip_absent": False, "temperature_floor": 0.1, "epsilon": 0.0}


CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def seconds(run: Callable[[], object], clock: str) -> float:
    start = CLOCKS[clock]()
    run()
    return CLOCKS[clock]() - start


def peak_bytes(run: Callable[[], object]) -> int:
    """Largest total of torch's allocations during ``run``, net of what it frees."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        run()
    assert profiled.profiler is not None
    results: Any = profiled.profiler.kineto_results
    allocations = [event for event in results.events() if event.name() == "[memory]"]
    allocations.sort(key=lambda event: event.start_ns())
    return max(itertools.accumulate(event.nbytes() for event in allocations))


def interleaved(
    ours: Callable[[], object], plain: Callable[[], object], rounds: int, clock: str
) -> tuple[float, float, float]:
    """Median seconds of both and the median of their ratios, measured in turn."""
    ours()
    plain()
    pairs = [(seconds(ours, clock), seconds(plain, clock)) for _ in range(rounds)]
    ratios = [mine / theirs for mine, theirs in pairs]
    mine, theirs = zip(*pairs, strict=True)
    return statistics.median(mine), statistics.median(theirs), statistics.median(ratios)


def backward_of(loss: Callable[..., Tensor], leaves: list[Tensor]) -> Callable[[], None]:
    def run() -> None:
        for leaf in leaves:
            leaf.grad = None
        loss(*leaves).backward()

    return run


def benchmark_pu(rounds: int, clock: str) -> None:
    print("| pu_loss | definition ms | by hand ms | time | definition MiB | by hand MiB | memory |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for rows, classes in PU_SHAPES:
        generator = torch.Generator().manual_seed(0)
        logits = 1.5 * torch.randn(rows, classes, generator=generator) - 2.0
        targets = (torch.rand(rows, classes, generator=generator) < 0.03).to(torch.int8)
        leaves = [logits.requires_grad_()]
        ours = backward_of(
            lambda logits, targets=targets: pu_loss(logits, targets, **PU_OPTIONS), leaves
        )
        plain = backward_of(
            lambda logits, targets=targets: variational_loss(
                logits, targets, **PU_OPTIONS, **DEFINITION
            ),
            leaves,
        )
        repeats = rounds * min(40, max(1, 4_000_000 // logits.numel()))
        mine, theirs, ratio = interleaved(ours, plain, repeats, clock)
        logits.grad = None
        my_peak = peak_bytes(ours)
        logits.grad = None
        their_peak = peak_bytes(plain)
        print(
            f"| [{rows}, {classes}] | {1e3 * theirs:.2f} | {1e3 * mine:.2f} | {ratio:.2f} "
            f"| {their_peak / MIB:.2f} | {my_peak / MIB:.2f} | {my_peak / their_peak:.2f} |"
        )


def benchmark_chunked(rounds: int, clock: str) -> None:
    print("| chunked softmax, labels | dense s | ours s | time | scores MiB | ours MiB |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for num_labels in LABEL_COUNTS:
        queries, labels, positives = extreme_problem(num_labels)
        leaves = [queries, labels]
        ours = backward_of(
            lambda q, y, p=positives: chunked_decoupled_softmax_loss(
                q, y, p, temperature=0.05, chunk_size=CHUNK
            ),
            leaves,
        )
        plain = backward_of(
            lambda q, y, p=positives: decoupled_softmax_loss(q @ y.T / 0.05, p), leaves
        )
        if num_labels <= DENSE_LIMIT:
            mine, theirs, ratio = interleaved(ours, plain, rounds, clock)
            dense, times = f"{theirs:.2f}", f"{ratio:.2f}"
        else:
            mine, dense, times = statistics.median(seconds(ours, clock) for _ in range(3)), "-", "-"
        for leaf in leaves:
            leaf.grad = None
        gradients = sum(leaf.numel() * leaf.element_size() for leaf in leaves)
        above = (peak_bytes(ours) - gradients) / MIB
        scores = ROWS * num_labels * 4 / MIB
        print(f"| {num_labels:,} | {dense} | {mine:.2f} | {times} | {scores:.0f} | {above:.1f} |")


def extreme_problem(num_labels: int) -> tuple[Tensor, Tensor, Tensor]:
    """Normalised embeddings, and 5 positives for each row as sparse CSR."""
    generator = torch.Generator().manual_seed(0)
    queries = torch.randn(ROWS, WIDTH, generator=generator)
    labels = torch.randn(num_labels, WIDTH, generator=generator)
    columns = torch.randint(num_labels, (ROWS, 5), generator=generator).sort(1).values
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Sparse")
        positives = torch.sparse_csr_tensor(
            torch.arange(0, 5 * ROWS + 1, 5),
            columns.flatten(),
            torch.ones(5 * ROWS),
            (ROWS, num_labels),
            check_invariants=False,
        )
    for embeddings in (queries, labels):
        embeddings /= embeddings.norm(dim=1, keepdim=True)
    return queries.requires_grad_(), labels.requires_grad_(), positives


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of the loss core.")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall")
    parser.add_argument("parts", nargs="*", default=["pu", "chunked"])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"torch {torch.__version__}, {options.threads} threads, {options.clock} time")
    parts = {"pu": benchmark_pu, "chunked": benchmark_chunked}
    for part in options.parts:
        parts[part](options.rounds, options.clock)


if __name__ == "__main__":
    main()
