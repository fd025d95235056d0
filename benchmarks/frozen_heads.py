"""Time and memory of the closed-form heads.

    python benchmarks/frozen_heads.py                 # 82,783 x 1,280 x 80, complete, 13 penalties
    python benchmarks/frozen_heads.py --known 0.5 --classes 8
    python benchmarks/frozen_heads.py --rows 1000000 --classes 100 --memory-map features.npy

Features are random numbers: time and memory do not depend on them. With a memory map the features
are written there first, in blocks, so that the highest memory is that of the fit.
"""

import argparse
import resource
import time
from pathlib import Path

import numpy as np

from pumlc.estimators import fit_least_squares


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
    parser.add_argument("--memory-map", type=Path, help="file for the features")
    options = parser.parse_args()
    features = make_features(options.rows, options.width, options.memory_map)
    random = np.random.default_rng(1)
    labels = np.where(random.random((options.rows, options.classes)) < 0.05, 1, -1).astype(np.int8)
    if options.known < 1:
        labels[random.random(labels.shape) >= options.known] = 0
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    start, processor = time.perf_counter(), time.process_time()
    fit_least_squares(features, labels)
    seconds, processor = time.perf_counter() - start, time.process_time() - processor
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    size = " x ".join(f"{n:,}" for n in (options.rows, options.width, options.classes))
    print(
        f"{size}, {options.known:.0%} known: {seconds:.1f} s, of the processors {processor:.1f} s"
    )
    print(f"highest memory: {before:.2f} GiB before the fit, {after:.2f} GiB after")


if __name__ == "__main__":
    main()
