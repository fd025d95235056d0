"""Open Images at full size: read, hidden, split and trained; peak memory after each step.

python benchmarks/open_images.py FOLDER [--pictures 9000000] [--classes 9605] [--labels 6.67]

FOLDER gets a generated file in the layout of the human-verified labels of Open Images (one line a
label; classes as skewed as 1 / (rank + 10), 45 % of the labels present; without --labels of 6.67 a
picture, 60 million), and a file of 48 x 48 pixels for each picture: hard links to 150 different
ones. Then a process of its own runs what `pumlc train` runs: half of the labels are hidden, 500
pictures are held out, and a tiny network is trained for five steps of 64 pictures. FOLDER stays.

"beyond the file" is the most memory that the process has held until then, less the size of the
file. Reading is one process on one core.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from pumlc.tables import table as as_table

_STEPS, _LINKS = 5, 60_000


def name_of(row: int) -> str:
    """16 hex digits in no order, as the names of Open Images."""
    return f"{row * 2654435761 % 2**32:08x}{row:08x}"


def write_labels(file: Path, pictures: int, classes: int, labels: float) -> None:
    """A line for each label, picture by picture."""
    random = np.random.RandomState(0)
    share = np.cumsum(1 / (np.arange(classes) + 10))
    with file.open("w") as stream:
        stream.write("ImageID,Source,LabelName,Confidence\n")
        for first in range(0, pictures, 50_000):
            count = 1 + random.poisson(labels - 1, min(50_000, pictures - first))
            columns = np.searchsorted(share, random.rand(count.sum()) * share[-1])
            present = random.rand(count.sum()) < 0.45
            rows = np.repeat(np.arange(first, first + len(count)), count)
            values = zip(rows.tolist(), columns.tolist(), present.tolist(), strict=True)
            stream.writelines(
                f"{name_of(row)},verification,/m/0{column:05x},{int(known)}\n"
                for row, column, known in values
            )


def link_pictures(folder: Path, pictures: int) -> None:
    """A file for each picture; those that are there stay."""
    folder.mkdir(exist_ok=True)
    source = folder
    for row in range(pictures):
        file = folder / f"{name_of(row)}.jpg"
        if row % _LINKS == 0:
            source = file
            pixels = np.random.RandomState(row).randint(0, 255, (48, 48, 3), np.uint8)
            if not file.exists():
                Image.fromarray(pixels).save(file)
        elif not os.path.lexists(file):
            os.link(source, file)


def peak_bytes() -> int:
    """The most memory that this process has held; ru_maxrss also counts that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def run(labels: Path, root: Path, out: Path, unknown: str = "ignore", **options: Any) -> None:
    """What `pumlc train` does; prints JSON. In a process of its own.

    Args:
        labels, root, out: label file, pictures and run folder.
        unknown: what the loss makes of unknown labels.
        options: further settings of the data.
    """
    steps: list[dict[str, object]] = []

    def note(what: str) -> None:
        steps.append({"step": what, "seconds": time.process_time(), "peak": peak_bytes()})
        print(json.dumps(steps[-1]), flush=True)

    from pumlc.engine.config import TrainConfig
    from pumlc.engine.run import RunFolder
    from pumlc.engine.training import train_run
    from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
    from pumlc.vision.task import VisionTask

    class Stopped(Exception):
        pass

    class FirstSteps(VisionTask):
        """Ends after some steps."""

        def write_files(self, folder: Path) -> None:
            note("read, hidden, split, network built")
            super().write_files(folder)
            note("run folder written")

        def training_step(self, network, batch, accelerator, step):
            if step == _STEPS:
                raise Stopped
            return super().training_step(network, batch, accelerator, step)

    note("imports")
    data = DataConfig(
        labels=str(labels),
        root=str(root),
        known=0.5,
        validation=500 / 9e6,
        image_size=32,
        **options,
    )
    config = VisionConfig(
        data=data,
        model=ModelConfig(backbone="test_resnet"),
        loss=LossConfig(name="bce", parameters={"unknown": unknown}),
        train=TrainConfig(epochs=1, batch_size=64, learning_rate=1e-3, workers=2),
    )
    try:
        train_run(config, FirstSteps, RunFolder(out))
    except Stopped:
        note(f"trained for {_STEPS} steps of 64 pictures")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=9_000_000)
    parser.add_argument("--classes", type=int, default=9_605)
    parser.add_argument("--labels", type=float, default=6.67)
    parser.add_argument("--run", action="store_true")
    options = parser.parse_args()
    file, root = options.folder / "train-imagelabels.csv", options.folder / "pictures"
    if options.run:
        run(file, root, options.folder / f"run-{os.getpid()}")
        return
    options.folder.mkdir(exist_ok=True)
    if not file.exists():
        write_labels(file, options.pictures, options.classes, options.labels)
    link_pictures(root, options.pictures)
    report(file, [sys.executable, __file__, str(options.folder), "--run"])


def report(file: Path, command: list[str]) -> None:
    """Run the process and print what it took.

    Args:
        file: the label file.
        command: calls `run`.
    """
    size = file.stat().st_size
    print(f"{file}: {size / 1e6:,.0f} MB")
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    rows = [
        [each["step"], each["seconds"], each["peak"] / 1e6, (each["peak"] - size) / 1e6]
        for each in lines
    ]
    print(as_table(["step", "seconds", "peak, MB", "beyond the file, MB"], rows))


if __name__ == "__main__":
    main()
