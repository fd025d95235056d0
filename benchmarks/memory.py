"""Memory and time of opening a large data set, before anything is trained.

    python benchmarks/memory.py                  1,000,000 pictures x 500 labels, some minutes
    python benchmarks/memory.py --rows 100000

Generates a CSV file of about three labels a row and as many empty picture files in a temporary
folder, and opens it in a new process each time: the split alone; then as a training run does, 10 %
of the labels known and a tenth of the pictures held out, with the label manifest and the counts.
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
from pumlc.vision.config import DataConfig
from pumlc.vision.data.split import read_split, training_data

IN_A_FOLDER = 10_000


def generate(root: Path, rows: int, classes: int) -> None:
    random = np.random.default_rng(0)
    names = np.array([f"label{index:03d}" for index in range(classes)])
    with (root / "labels.csv").open("w") as file:
        file.write("split,image,labels\n")
        for row in range(rows):
            folder = root / f"{row // IN_A_FOLDER:04d}"
            if row % IN_A_FOLDER == 0:
                folder.mkdir()
            picture = folder / f"{row:07d}.jpg"
            picture.touch()
            present = random.choice(names, random.integers(1, 6))
            file.write(f"train,{folder.name}/{picture.name},{'|'.join(present)}\n")


def peak_mebibytes() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**20 if sys.platform == "darwin" else peak / 2**10


def opened(root: Path, how: str) -> None:
    """Open the generated data and print imports' peak, peak and seconds."""
    imports, start = peak_mebibytes(), time.perf_counter()
    config = DataConfig(
        name="csv",
        csv=str(root / "labels.csv"),
        root=str(root),
        unlisted="negative",
        known=0.1,
        validation=0.1,
    )
    if how == "split":
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
    parser.add_argument("--opened", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.opened:
        opened(Path(options.opened[0]), options.opened[1])
    else:
        compare(options.rows, options.classes)


def compare(rows: int, classes: int) -> None:
    table = []
    with tempfile.TemporaryDirectory() as root:
        generate(Path(root), rows, classes)
        for how in ("split", "training"):
            command = [sys.executable, __file__, "--opened", root, how]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            pictures, labels, *figures = done.stdout.split()
            table.append([how, pictures, labels, *(round(float(figure)) for figure in figures)])
    header = ["opened", "pictures", "labels", "imports, MiB", "peak, MiB", "seconds"]
    print(table(header, table))


if __name__ == "__main__":
    main()
