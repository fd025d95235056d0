"""Memory of heads, evaluation and audit of very many labels: it grows with those that are known.

python benchmarks/known_labels.py FOLDER [--sizes 1000000:9605:6.67 ...]

A size is pictures:classes:labels of a picture. Files and pictures are those of `open_images.py`, in
FOLDER, which stays. For each size a process of its own fits least-squares heads (half of the labels
hidden), another one evaluates them by all labels of the file, and a third one audits them. They do
what `pumlc train`, `pumlc evaluate --split train` and `pumlc audit` do, but for the network: its
features [N, 64] are drawn, since they would take the time and the same memory for any labels.

"peak" is the most memory that the process has held; "beyond the file" is the rest when the file's
size is taken off, and "beyond imports" when the libraries are taken off too.
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
from open_images import link_pictures, peak_bytes, write_labels

from pumlc.tables import table as as_table

STEPS = ("heads", "evaluate", "audit")


def drawn(extractor: Any, images: Any, rows: Any, **_: Any) -> np.ndarray:
    """What stands for features of pictures."""
    generator = np.random.default_rng(0)
    return generator.standard_normal((len(rows), extractor.width), np.float32)


def run(step: str, labels: Path, root: Path, out: Path) -> None:
    """One command; prints JSON. In a process of its own."""
    from pumlc.vision.frozen.extraction import Extractor

    with mock.patch.object(Extractor, "features", drawn):
        run_step(step, labels, root, out)


def run_step(step: str, labels: Path, root: Path, out: Path) -> None:
    """The same with the features that the package gives."""
    from pumlc.engine.config import TrainConfig
    from pumlc.engine.processes import create_accelerator
    from pumlc.engine.run import RunFolder
    from pumlc.engine.training import train_run
    from pumlc.vision.audit.run import audit_run
    from pumlc.vision.config import (
        DataConfig,
        FeaturesConfig,
        LossConfig,
        ModelConfig,
        VisionConfig,
    )
    from pumlc.vision.evaluation import evaluate_run
    from pumlc.vision.frozen.task import FrozenTask

    imports = peak_bytes()
    if step == "heads":
        config = VisionConfig(
            data=DataConfig(labels=str(labels), root=str(root), known=0.5, validation=0.01),
            model=ModelConfig(backbone="test_vit", weights=None),
            features=FeaturesConfig(cache=str(out.parent / "features")),
            loss=LossConfig(name="least_squares"),
            heads="least_squares",
            train=TrainConfig(epochs=1, batch_size=64, learning_rate=1e-3),
        )
        train_run(config, FrozenTask, RunFolder(out))
    elif step == "evaluate":
        evaluate_run(out, create_accelerator(), split="train")
    else:
        audit_run(out, create_accelerator())
    peak = peak_bytes()
    print(json.dumps({"seconds": time.process_time(), "peak": peak, "imports": imports}))


def measure(folder: Path, pictures: int, classes: int, labels: float) -> list[list[object]]:
    """Rows of the table."""
    name = f"{pictures}-{classes}-{labels}"
    file, root, out = folder / f"{name}.csv", folder / "pictures", folder / f"run-{name}"
    if not file.exists():
        write_labels(file, pictures, classes, labels)
    link_pictures(root, pictures)
    size = file.stat().st_size
    with file.open("rb") as stream:
        known = sum(1 for _ in stream) - 1
    rows = []
    for step in STEPS:
        if step == "heads" and (out / "weights" / "last.safetensors").exists():
            continue
        command = [sys.executable, __file__, str(folder), "--run", step, "--name", name]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        beyond = (found["peak"] - size) / 1e6
        own = beyond - found["imports"] / 1e6
        figures = [found["seconds"], found["peak"] / 1e6, beyond, own]
        rows.append([pictures, classes, known / 1e6, size / 1e6, step, *figures])
        print(rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sizes", nargs="+", default=["1000000:9605:6.67"])
    parser.add_argument("--run", choices=STEPS)
    parser.add_argument("--name")
    options = parser.parse_args()
    if options.run:
        file, out = (options.folder / f"{options.name}.csv", options.folder / f"run-{options.name}")
        run(options.run, file, options.folder / "pictures", out)
        return
    options.folder.mkdir(exist_ok=True)
    rows: list[list[object]] = []
    for size in options.sizes:
        pictures, classes, labels = size.split(":")
        rows += measure(options.folder, int(pictures), int(classes), float(labels))
    header = ["pictures", "classes", "labels, M", "file, MB", "step", "CPU s", "peak, MB"]
    print(as_table([*header, "beyond the file, MB", "beyond imports, MB"], rows))


if __name__ == "__main__":
    main()
