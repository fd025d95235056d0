"""How a step grows with the number of processes, and what it exchanges.

    python experiments/scaling_processes.py steps       1, 10 and 100 processes of this machine
    python experiments/scaling_processes.py exchange    bytes that the processes of a step exchange

All data are generated. `steps` starts the processes at once. Their seconds are those of the
processor, not of the clock; memory is what a process shares with no other, above that before the
first step. `exchange` counts what is given to the exchanges of a group of one process.
docs/scaling.md has the tables.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from scaling import CLASSES, ROWS, WIDTH, Work, exponent
from torch import nn

from pumlc.tables import table


def show_processes(sizes: tuple[int, ...] = (1, 10, 100)) -> None:
    """Processor seconds and MiB of one process of many, for steps that exchange."""
    rows: list[list[object]] = []
    for name, work in STEPS.items():
        seconds = []
        for size in sizes:
            found = figures_of_processes(work, size)
            seconds.append(statistics.median(each["seconds"] for each in found))
            memory = statistics.median(each["mebibytes"] for each in found)
            rows.append([name, size, f"{1000 * seconds[-1]:.2f}", f"{memory:.0f}", None])
        slope = exponent(sizes, seconds)
        rows[-1][-1] = "" if slope is None else f"{slope:.2f}"
    heads = ["step", "processes", "processor ms, each", "MiB, each", "exponent"]
    print(table(heads, rows))


def figures_of_processes(work: Callable[[int, int], Work], size: int) -> list[dict[str, float]]:
    """What each of some processes measures; forked, so that torch is imported once."""
    context = multiprocessing.get_context("fork")
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / str(rank) for rank in range(size)]
        started = [
            context.Process(target=one_process, args=(work, rank, size, folder, files[rank]))
            for rank in range(size)
        ]
        for process in started:
            process.start()
        for process in started:
            process.join()
        return [json.loads(file.read_text()) for file in files]


def one_process(
    work: Callable[[int, int], Work], rank: int, size: int, folder: str, file: Path
) -> None:
    torch.manual_seed(rank)
    warnings.simplefilter("ignore")  # torch says in each process that sparse tensors are new
    dist.init_process_group("gloo", f"file://{folder}/group", rank=rank, world_size=size)
    step, before = work(rank, size), private_mebibytes()
    step()
    start = time.process_time()
    for _ in range(STEPS_TIMED):
        step()
    seconds = (time.process_time() - start) / STEPS_TIMED
    file.write_text(json.dumps({"seconds": seconds, "mebibytes": private_mebibytes() - before}))
    dist.barrier()
    # a group whose threads outlive it now and then aborts a process in its teardown
    os._exit(0)


def private_mebibytes() -> float:
    """Memory that this process shares with no other."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    sizes = {line.split(":")[0]: line.split()[1] for line in lines[1:]}
    return (int(sizes["Private_Dirty"]) + int(sizes["Private_Clean"])) / 2**10


def pu_step(rank: int, size: int) -> Work:
    """A linear head on ROWS rows of each process; statistics of all rows, gradients added up."""
    from pumlc.losses import pu_loss
    from pumlc.text.training.sharding import sum_gradients

    head, features = nn.Linear(1280, CLASSES), torch.randn(ROWS, 1280)
    targets = (torch.rand(ROWS, CLASSES) < 0.04).to(torch.int8)

    def step() -> None:
        head.zero_grad()
        group = dist.group.WORLD
        pu_loss(head(features), targets, gamma=0.55, alpha=1.0, process_group=group).backward()
        sum_gradients(head.parameters(), group)

    return step


def text_step(rank: int, size: int) -> Work:
    """Embeddings of 1,000 documents against 100,000 labels, both divided over the processes."""
    from pumlc.losses import chunked_decoupled_softmax_loss
    from pumlc.text.training.sharding import gather_embeddings, shard_of

    documents, labels = (shard_of(count, rank, size) for count in (1000, 100_000))
    own = torch.randn(documents.stop - documents.start, WIDTH, requires_grad=True)
    vectors = torch.randn(labels.stop - labels.start, WIDTH, requires_grad=True)
    rows = torch.arange(1000)
    positives = torch.sparse_coo_tensor(
        torch.stack([rows, rows % len(vectors)]),
        torch.ones(1000, dtype=torch.bool),
        (1000, len(vectors)),
    ).to_sparse_csr()

    def step() -> None:
        own.grad = vectors.grad = None
        embedded = gather_embeddings(own, documents, 1000, dist.group.WORLD)
        chunked_decoupled_softmax_loss(
            embedded,
            vectors,
            positives,
            temperature=0.05,
            chunk_size=4096,
            process_group=dist.group.WORLD,
        ).backward()

    return step


STEPS: dict[str, Callable[[int, int], Work]] = {
    f"PU loss, {ROWS} pictures of each process": pu_step,
    "decoupled softmax, 1,000 documents and 100,000 labels, divided": text_step,
}
STEPS_TIMED = 5


def show_exchange() -> None:
    """What is given to the exchanges of a step, by a group of one process."""
    with tempfile.TemporaryDirectory() as folder:
        address = f"file://{folder}/group"
        dist.init_process_group("gloo", init_method=address, rank=0, world_size=1)
        rows = [[name, f"{exchanged(work):,}"] for name, work in _exchanging().items()]
        dist.destroy_process_group()
    print(table(["step", "bytes given to exchanges, forward and backward"], rows))


def _exchanging() -> dict[str, Work]:
    from pumlc.losses import chunked_decoupled_softmax_loss, pu_loss
    from pumlc.text.training.sharding import gather_embeddings

    group = dist.group.WORLD
    logits = torch.randn(ROWS, CLASSES, requires_grad=True)
    targets = (torch.rand(ROWS, CLASSES) < 0.04).to(torch.int8)
    own = torch.randn(ROWS, WIDTH, requires_grad=True)
    labels = torch.randn(10_000, WIDTH, requires_grad=True)
    positives = torch.zeros(ROWS, len(labels), dtype=torch.bool)
    positives[:, 0] = True

    def pu() -> None:
        pu_loss(logits, targets, gamma=0.55, alpha=1.0, process_group=group).backward()

    def texts() -> None:
        embedded = gather_embeddings(own, slice(0, ROWS), ROWS, group)
        chunked_decoupled_softmax_loss(
            embedded, labels, positives, temperature=0.05, chunk_size=4096, process_group=group
        ).backward()

    return {
        f"PU loss with statistics of all processes, {ROWS} x {CLASSES}": pu,
        f"embeddings and decoupled softmax, {ROWS} x {len(labels):,} labels, width {WIDTH}": texts,
    }


def exchanged(work: Work) -> int:
    """Bytes given to all_reduce and all_gather while ``work`` runs."""
    total, originals = 0, {name: getattr(dist, name) for name in ("all_reduce", "all_gather")}

    def counting(name: str) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            nonlocal total
            given = arguments[0] if name == "all_reduce" else arguments[1]
            total += given.numel() * given.element_size()
            return originals[name](*arguments, **options)

        return call

    for name in originals:
        setattr(dist, name, counting(name))
    try:
        work()
    finally:
        for name, original in originals.items():
            setattr(dist, name, original)
    return total


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("part", choices=["steps", "exchange"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    show_processes() if options.part == "steps" else show_exchange()


if __name__ == "__main__":
    main()
