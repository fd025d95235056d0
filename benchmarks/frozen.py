"""Time from the command to the metrics with frozen features, and the rate of computing them.

    python benchmarks/frozen.py --root VOCdevkit
    python benchmarks/frozen.py --root VOCdevkit --rates    # pictures a second on one core instead

The first prints the seconds of `pumlc train --config frozen --evaluate`, with an empty cache and
once more, and the share of each part. The second runs each way to compute features on the same
decoded pictures and prints its rate (by processor time) beside that of float32 torch.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch

from pumlc.vision.config import DataConfig
from pumlc.vision.data.split import read_split
from pumlc.vision.frozen import engines
from pumlc.vision.frozen.extraction import Extractor
from pumlc.vision.models.classifier import create_classifier
from pumlc.vision.scoring import to_device

BACKBONE = "tf_efficientnet_lite0"


def command_seconds(*arguments: str) -> float:
    start = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "pumlc", *arguments], check=True, stdout=subprocess.DEVNULL
    )
    return time.perf_counter() - start


def processor_seconds() -> float:
    """Processor time of the commands so far."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def time_commands(root: str, folder: Path) -> None:
    for name in ("cold", "again"):
        run, processor = folder / name, processor_seconds()
        data = ("--data.name", "voc2007", "--data.root", root)
        cache = ("--features.cache", str(folder / "cache"))
        places = (*data, *cache, "--out", str(run))
        seconds = command_seconds("train", "--config", "frozen", *places, "--evaluate")
        row = (run / "metrics.csv").read_text().splitlines()[-1].split(",")
        in_all, features = float(row[1]), float(row[2])
        metrics = json.loads((run / "metrics.json").read_text())
        print(
            f"{name}: {seconds:.1f} s, of the processors {processor_seconds() - processor:.1f} s; "
            f"features of train {features:.1f}, heads and files {in_all - features:.1f}, start, "
            f"data and test split {seconds - in_all:.1f}; N {metrics['N']}, mAP "
            f"{metrics['weights']['last']['mAP']['sklearn']:.2f}"
        )


def time_engines(root: str, folder: Path, count: int) -> None:
    torch.set_num_threads(1)
    classifier = create_classifier(
        BACKBONE, 1, local_global=False, head="linear", weights="auto"
    ).eval()
    classifier = classifier.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    images = read_split(DataConfig(name="voc2007", root=root), "test")
    extractor = Extractor(classifier, folder, "float32", batch_size=count)
    read = next(extractor._batches(images, range(count)))
    pixels = torch.stack([one for one in read.values() if isinstance(one, torch.Tensor)])
    pictures = to_device(pixels, torch.device("cpu"), classifier.data_config)
    rates: dict[str, float] = {}
    for precision in ("float32", "bfloat16"):
        for engine in engines.working_engines(classifier, pictures[:8], precision, 10_000):
            start = time.process_time()  # not disturbed by other work on the machine
            for _ in range(3):
                engine.pooled(pictures)
            rates[engine.name] = 3 * count / (time.process_time() - start)
            print(
                f"{engine.name}: {rates[engine.name]:.1f} pictures a second, "
                f"{rates[engine.name] / rates['torch']:.2f} times torch; largest difference of a "
                f"feature {engine.difference:.1e}"
            )


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed of frozen features.")
    parser.add_argument("--root", required=True, help="VOCdevkit")
    parser.add_argument("--rates", action="store_true", help="pictures a second on one core")
    parser.add_argument("--count", type=int, default=64, help="pictures for the rates")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.rates:
            time_engines(options.root, Path(folder), options.count)
        else:
            time_commands(options.root, Path(folder))


if __name__ == "__main__":
    main()
