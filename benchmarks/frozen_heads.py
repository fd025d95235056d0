"""Time and memory of the closed-form heads.

    python benchmarks/frozen_heads.py                 # 82,783 x 1,280 x 80, complete, 13 penalties
    python benchmarks/frozen_heads.py --known 0.5 --classes 8
    python benchmarks/frozen_heads.py --rows 1000000 --classes 100 --memory-map features.npy
    python benchmarks/frozen_heads.py --rows 20000 --kernel both

Features are random numbers: time and memory do not depend on them. With a memory map the features
are written there first, in blocks. Memory is that of the process without the pages of mapped files,
which the system takes back when it needs them (Linux). The labels and the left-out scores, which
the fit takes and gives, are said beside it.
"""

import argparse
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pumlc.estimators import fit_kernel_heads


class Memory:
    """The highest memory of this process, in GiB, seen by a thread that looks often."""

    def __init__(self) -> None:
        self.highest = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Look until the block ends."""
        over = threading.Event()

        def look() -> None:
            while not over.wait(0.02):
                self.highest = max(self.highest, memory())

        thread = threading.Thread(target=look)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()


def memory() -> float:
    """Memory of this process that is not mapped from files, in GiB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (line,) = (line for line in lines if line.startswith("RssAnon"))
    return int(line.split()[1]) / 2**20


def make_features(rows: int, width: int, file: Path | None) -> np.ndarray:
    """Normal float32 numbers [rows, width], in memory or in a file that is mapped."""
    random = np.random.default_rng(0)
    if file is None:
        return random.standard_normal((rows, width), np.float32)
    features = np.lib.format.open_memmap(file, "w+", np.float32, (rows, width))
    block = random.standard_normal((10_000, width), np.float32)
    for start in range(0, rows, len(block)):
        part = features[start : start + len(block)]
        part[:] = block[: len(part)] * np.float32(1 + start / rows)
    features.flush()
    del features
    return np.load(file, mmap_mode="r")


def main() -> None:
    parser = argparse.ArgumentParser(description="Time and memory of the closed-form heads.")
    parser.add_argument("--rows", type=int, default=82_783)
    parser.add_argument("--width", type=int, default=1_280)
    parser.add_argument("--classes", type=int, default=80)
    parser.add_argument("--known", type=float, default=1.0, help="share of known labels")
    parser.add_argument("--kernel", choices=("linear", "both"), default="linear")
    parser.add_argument("--memory-map", type=Path, help="file for the features")
    options = parser.parse_args()
    features = make_features(options.rows, options.width, options.memory_map)
    random = np.random.default_rng(1)
    labels = np.empty((options.rows, options.classes), np.int8)
    for row in labels.T:
        row[:] = np.where(random.random(len(row)) < 0.05, 1, -1)
        row[random.random(len(row)) >= options.known] = 0
    before, watch = memory(), Memory()
    start, processor = time.perf_counter(), time.process_time()
    with watch.watched():
        heads = fit_kernel_heads(features, labels, kernel=options.kernel)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    size = " x ".join(f"{n:,}" for n in (options.rows, options.width, options.classes))
    print(
        f"{size}, {options.known:.0%} known: {seconds:.1f} s, of the processors {processor:.1f} s"
    )
    scores = heads.linear.loo_scores.nbytes / 2**30
    print(
        f"memory: {before:.2f} GiB before the fit (labels {labels.nbytes / 2**30:.2f}), at most "
        f"{watch.highest:.2f} GiB in it (left-out scores of each kernel {scores:.2f}), so "
        f"{watch.highest - before - scores:.2f} GiB besides"
    )


if __name__ == "__main__":
    main()
