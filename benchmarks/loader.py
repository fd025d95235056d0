"""Pictures per second of one core, from the file to the network: peers and ours in one run.

    python benchmarks/loader.py --pictures VOCdevkit/VOC2007/JPEGImages
    python benchmarks/loader.py --pictures FOLDER --rounds 5 --number 64

Three sizes are made of the given pictures: as they are; 640 pixels wide; 12 megapixels, as a phone
takes them (the last two are enlarged, with noise that gives their files the size of genuine ones).
Every form prepares the same pictures one after the other in each round; the best round counts, in
processor seconds of one thread, which other processes disturb least. The forms, each with the
published augmentation (squash, random crop at five sizes, resize, flip) where it is training:

PIL             the published pipeline: Pillow and torchvision, normalised
cv2             cv2.imread and albumentations, normalised
bare decode     cv2.imread alone
ours, training  pumlc's, up to the bytes that leave the loader
ours, scoring   the same without augmentation
+ normalised    ours, training, with the bytes made to numbers, as for a network on the CPU
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing it must not ask the network

import albumentations as A
import cv2
import numpy as np
import torch
from PIL import Image
from torchvision import transforms as T

from pumlc.tables import table
from pumlc.vision import evaluation_transform, load_image, training_transform
from pumlc.vision.data.transforms import normalised

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SEVENTHS = (8, 7, 6, 5, 4)
# pictures a second that the project wants, by pictures and input size
TARGETS = {
    ("as given", 224): 1200,
    ("as given", 448): 600,
    ("640 px", 224): 500,
    ("640 px", 448): 320,
    ("12 MP", 224): 60,
    ("12 MP", 448): 30,
}


def enlarged(path: Path, size: tuple[int, int], noise: float, seed: int) -> Image.Image:
    picture = Image.open(path).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    grain = np.random.default_rng(seed).standard_normal((size[1], size[0], 3), np.float32)
    return Image.fromarray(np.clip(np.asarray(picture) + noise * grain, 0, 255).astype(np.uint8))


def make_pictures(given: Sequence[Path], folder: Path) -> dict[str, list[Path]]:
    """Files of the three sizes; the largest size has a quarter of the number."""
    kinds: dict[str, list[Path]] = {"as given": list(given)}
    for name, size, noise, number in (
        ("640 px", (640, 480), 4.0, len(given)),
        ("12 MP", (4032, 3024), 4.0, max(2, len(given) // 4)),
    ):
        kinds[name] = []
        for index, path in enumerate(given[:number]):
            file = folder / f"{size[0]}_{index}.jpg"
            enlarged(path, size, noise, index).save(file, quality=90)
            kinds[name].append(file)
    return kinds


def pillow_form(size: int) -> Callable[[Path], Any]:
    sides = [round(size * part / 7) for part in SEVENTHS]
    steps = T.Compose(
        [
            T.Resize((sides[0], sides[0])),
            T.RandomChoice([T.RandomCrop(side) for side in sides]),
            T.Resize((size, size)),
            T.RandomHorizontalFlip(),
            T.ToTensor(),
            T.Normalize(MEAN, STD),
        ]
    )
    return lambda path: steps(Image.open(path).convert("RGB"))


def cv2_form(size: int) -> Callable[[Path], Any]:
    sides = [round(size * part / 7) for part in SEVENTHS]
    steps = A.Compose(
        [
            A.Resize(sides[0], sides[0]),
            A.OneOf([A.RandomCrop(side, side) for side in sides], p=1.0),
            A.Resize(size, size),
            A.HorizontalFlip(p=0.5),
            A.Normalize(MEAN, STD),
            A.ToTensorV2(),
        ]
    )
    return lambda path: steps(image=cv2.imread(str(path), cv2.IMREAD_COLOR_RGB))["image"]


def forms(size: int) -> dict[str, Callable[[Path], Any]]:
    config = {"input_size": (3, size, size), "mean": MEAN, "std": STD}
    training = training_transform(config, "multi-scale-crop")
    scoring = evaluation_transform(config)

    def ours(path: Path) -> torch.Tensor:
        training.set_random_seed(0)  # as the loader does for each picture
        return training.pixels(load_image(path, at_least=training.decoded_size))

    return {
        "PIL": pillow_form(size),
        "cv2": cv2_form(size),
        "bare decode": lambda path: cv2.imread(str(path)),
        "ours, training": ours,
        "ours, scoring": lambda path: scoring.pixels(
            load_image(path, at_least=scoring.decoded_size)
        ),
        "+ normalised": lambda path: normalised(ours(path)[None], MEAN, STD),
    }


def rates(
    chosen: dict[str, Callable[[Path], Any]], paths: list[Path], rounds: int
) -> dict[str, float]:
    """Pictures per second of each form: the best of some rounds in turn."""
    best = dict.fromkeys(chosen, float("inf"))
    for _ in range(rounds):
        for name, form in chosen.items():
            start = time.process_time()
            for path in paths:
                form(path)
            best[name] = min(best[name], time.process_time() - start)
    return {name: len(paths) / seconds for name, seconds in best.items()}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--pictures", type=Path, required=True, help="folder of .jpg")
    parser.add_argument(
        "--number", type=int, default=48, help="number of pictures; 12 MP: a quarter"
    )
    parser.add_argument("--sizes", type=int, nargs="+", default=[224, 448])
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(0)
    given = sorted(options.pictures.rglob("*.jpg"))
    given = given[:: max(1, len(given) // options.number)][: options.number]
    rows: list[list[object]] = []
    with tempfile.TemporaryDirectory() as folder:
        kinds = make_pictures(given, Path(folder))
        for kind, paths in kinds.items():
            kilobytes = sum(path.stat().st_size for path in paths) / len(paths) / 1e3
            for size in options.sizes:
                measured = rates(forms(size), paths, options.rounds)
                against = max(measured["PIL"], measured["cv2"])
                target = TARGETS.get((kind, size), "")
                ratio = f"{measured['ours, training'] / against:.2f}"
                cells = [f"{rate:.0f}" for rate in measured.values()]
                rows.append([kind, f"{kilobytes:.0f}", size, *cells, ratio, target])
    heads = ["pictures", "kB", "to", *forms(224), "ours / better peer", "target"]
    print(table(heads, rows))


if __name__ == "__main__":
    main()
