"""Memory and time of opening a large data set, before anything is trained.

    python benchmarks/memory.py                  1,000,000 pictures x 500 labels, some minutes
    python benchmarks/memory.py --rows 100000

It writes a CSV file with about three labels per row, and an empty picture file for each row, into a
temporary folder. Two new processes open it: the first reads the split alone, the second reads it as
a training run does (10 % of the labels known, a tenth of the pictures held out, label manifest).
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from pumlc.labels import write_manifest
from pumlc.tables import table
from pumlc.vision.config import DataConfig
from pumlc.vision.data.split import read_split, training_data

PICTURES_PER_FOLDER = 10_000


def generate(root: Path, rows: int, classes: int) -> None:
    random = np.random.default_rng(0)
    names = np.array([f"label{index:03d}" for index in range(classes)])
    with (root / "labels.csv").open("w") as file:
        file.write("split,image,labels\n")
        for row in range(rows):
            folder = root / f"{row // PICTURES_PER_FOLDER:04d}"
            if row % PICTURES_PER_FOLDER == 0:
                folder.mkdir()
            picture = folder / f"{row:07d}.jpg"
            picture.touch()
            present = random.choice(names, random.integers(1, 6))
            file.write(f"train,{folder.name}/{picture.name},{'|'.join(present)}\n")


def peak_mebibytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def open_data(root: Path, part: str) -> None:
    """Open the generated data; print pictures, labels, MiB after imports, peak MiB, seconds."""
    imports, start = peak_mebibytes(), time.perf_counter()
    config = DataConfig(
        name="csv",
        csv=str(root / "labels.csv"),
        root=str(root),
        unlisted="negative",
        known=0.1,
        validation=0.1,
    )
    if part == "split":
        images = read_split(config, "train")
    else:
        data = training_data(config, seed=0)
        write_manifest(root / "label_manifest.npz", data.manifest)
        images = data.train
    count = sum(images.counts().values())
    print(len(images), count, imports, peak_mebibytes(), time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description="memory and time of opening a large data set")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=500)
    parser.add_argument("--open", nargs=2, help=argparse.SUPPRESS)  # the new process
    options = parser.parse_args()
    if options.open:
        open_data(Path(options.open[0]), options.open[1])
    else:
        compare(options.rows, options.classes)


def compare(rows: int, classes: int) -> None:
    lines = []
    with tempfile.TemporaryDirectory() as root:
        generate(Path(root), rows, classes)
        for part in ("split", "training"):
            command = [sys.executable, __file__, "--open", root, part]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            pictures, labels, *figures = done.stdout.split()
            lines.append([part, pictures, labels, *(round(float(figure)) for figure in figures)])
    header = ["opened as", "pictures", "labels", "imports, MiB", "peak, MiB", "seconds"]
    print(table(header, lines))


if __name__ == "__main__":
    main()
