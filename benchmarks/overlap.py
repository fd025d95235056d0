"""Pictures per second of scoring, beside the best that network and decoding allow together.

    python benchmarks/overlap.py --pictures VOCdevkit/VOC2007/JPEGImages
    python benchmarks/overlap.py --pictures FOLDER --backbone resnet50 --number 256

In each round the network alone scores pictures that are in memory, all threads read the pictures
without a network, and the network scores pictures as they are read ahead, as `predict` does. Both
together can at best do 1 / (1 / network + 1 / decoding) pictures a second where they need the same
cores. The ratio is that of the rate of both together to this bound, the median over the rounds.
Times are wall time: other work on the machine disturbs single rounds.
"""

import argparse
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # as the command sets it, before torch

import torch

from pumlc.tables import table
from pumlc.vision import create_classifier
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.read_ahead import read_ahead, reading_threads
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.scoring import to_device


def rates(work: Callable[[], object], number: int) -> tuple[float, float]:
    """Pictures a second by the clock and a processor second."""
    start, used = time.perf_counter(), time.process_time()
    work()
    return number / (time.perf_counter() - start), number / (time.process_time() - used)


def ratio(network: float, decoding: float, both: float) -> float:
    """Of what is reached to what is possible."""
    return both * (1 / network + 1 / decoding)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pictures", type=Path, required=True, help="folder of .jpg")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0", help="timm name")
    parser.add_argument("--number", type=int, default=128)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    paths = sorted(options.pictures.rglob("*.jpg"))[: options.number]
    model = create_classifier(options.backbone, 20, local_global=False, head="linear", weights=None)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model.eval().to(device).to(memory_format=torch.channels_last)
    transform = evaluation_transform(model.data_config)

    def read(path: Path) -> torch.Tensor:
        return transform.pixels(load_image(path, at_least=transform.decoded_size))

    def score(pictures: list[torch.Tensor]) -> None:
        with torch.inference_mode():
            batch = torch.stack(pictures)
            model(to_device(batch, device, model.data_config)).cpu()

    def network() -> None:
        for start in range(0, len(in_memory), options.batch):
            score(in_memory[start : start + options.batch])

    def decoding() -> None:
        list(read_ahead(read, paths, threads=reading_threads(), ahead=2 * options.batch))

    def both() -> None:
        pictures: list[torch.Tensor] = []
        threads = reading_threads()
        for picture in read_ahead(read, paths, threads=threads, ahead=2 * options.batch):
            pictures.append(picture)
            if len(pictures) == options.batch:
                score(pictures)
                pictures.clear()
        if pictures:
            score(pictures)

    in_memory = [read(path) for path in paths]
    score(in_memory[: options.batch])  # warms up
    rounds = [
        [rates(work, len(paths)) for work in (network, decoding, both)]
        for _ in range(options.rounds)
    ]
    clock, processor = (
        [[found[kind] for found in measured] for measured in rounds] for kind in (0, 1)
    )
    medians = [f"{statistics.median(column):.0f}" for column in zip(*clock, strict=True)]
    ratios = [
        f"{statistics.median(ratio(*each) for each in kind):.2f}" for kind in (clock, processor)
    ]
    heads = ["backbone", "network", "decoding", "both", "both / possible", "in processor time"]
    print(table(heads, [[options.backbone, *medians, *ratios]]))


if __name__ == "__main__":
    main()
