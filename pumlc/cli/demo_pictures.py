"""The demo on pictures: scenes of real handwritten digits, 90 % of whose labels are hidden.

The demo writes a data set in the COCO format and trains on it as on any other. The same network is
trained for the same number of steps with losses that treat unknown labels in different ways. The
demo ends with a page for a browser that shows the labels that the last of them contradicts.
"""

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits

from pumlc.cli.demo import command_output
from pumlc.tables import table

SIDE = 64
SPLITS = {"train": 2000, "val": 500}
Methods = dict[str, list[str]]
"""For each row of the table the options of ``pumlc train``, the first of which names the recipe."""

_QUICK = ["--config", "demo_bce", "--train.epochs", "8"]
SHORT: Methods = {
    "BCE, unknown as absent": _QUICK,
    "BCE, unknown left out": [*_QUICK, "--loss.parameters", "{unknown: ignore}"],
    "PU loss, unknown as unlabeled": [
        *(*_QUICK, "--loss.name", "pu"),
        *("--loss.parameters", "{gamma: 0.55, alpha: 2.0}"),
    ],
}
LONGER: Methods = {
    "BCE, unknown as absent": ["--config", "demo_bce"],
    "PU-MLC": ["--config", "demo_pumlc"],
}


def compose(digits: np.ndarray, of_class: list[np.ndarray], random: np.random.RandomState):
    """One scene: 1 to 5 digits of different size and colour over clutter.

    Args:
        digits: [D, 64], 8 x 8 grey values from 0 to 16.
        of_class: for each class, the rows of ``digits`` that show it.
        random: source of all random choices.

    Returns:
        The picture [SIDE, SIDE, 3] uint8, and a list of (class, box); a box is left, top, width,
        height in pixels.
    """
    base = random.uniform(10, 60, 3)
    picture = np.ones((SIDE, SIDE, 3)) * base
    for _ in range(3):  # clutter: strokes that belong to no class
        colour = random.uniform(20, 100, 3).tolist()
        ends = random.randint(0, SIDE, (2, 2))
        cv2.line(picture, ends[0].tolist(), ends[1].tolist(), colour, int(random.randint(1, 3)))
    cells = random.permutation(9)[: random.randint(1, 6)]
    boxes = []
    for cell in cells:
        category = int(random.randint(10))
        side = int(random.randint(18, 27))
        digit = digits[random.choice(of_class[category])].reshape(8, 8) / 16
        mask = cv2.resize(digit, (side, side), interpolation=cv2.INTER_CUBIC).clip(0, 1)[..., None]
        row, column = (
            (
                np.clip((np.array(divmod(cell, 3)) + 0.5) * SIDE / 3 - side / 2, 0, SIDE - side)
                + random.uniform(-2, 2, 2)
            )
            .clip(0, SIDE - side)
            .astype(int)
        )
        colour = random.uniform(190, 255, 3)
        patch = picture[row : row + side, column : column + side]
        picture[row : row + side, column : column + side] = patch * (1 - mask) + colour * mask
        boxes.append((category, [int(column), int(row), side, side]))
    noise = random.normal(0, 6, picture.shape)
    return (picture + noise).clip(0, 255).astype(np.uint8), boxes


def write_coco(folder: Path) -> None:
    """Write both splits in the COCO format. No digit image is used in both splits."""
    digits, classes = load_digits(return_X_y=True)
    first_of_val = len(digits) * 3 // 4
    ranges = {"train": np.arange(first_of_val), "val": np.arange(first_of_val, len(digits))}
    (folder / "annotations").mkdir(parents=True)
    for seed, (split, count) in enumerate(SPLITS.items()):
        random = np.random.RandomState(seed)
        own = ranges[split]
        of_class = [own[classes[own] == category] for category in range(10)]
        (folder / split).mkdir()
        images, annotations = [], []
        for image_id in range(count):
            picture, boxes = compose(digits, of_class, random)
            name = f"{image_id:05d}.jpg"
            cv2.imwrite(str(folder / split / name), picture[..., ::-1])
            images.append({"id": image_id, "file_name": name, "width": SIDE, "height": SIDE})
            for category, box in boxes:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": category,
                        "bbox": box,
                        "area": box[2] * box[3],
                        "iscrowd": 0,
                    }
                )
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": c, "name": str(c)} for c in range(10)],
        }
        (folder / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))


def is_demo_folder(folder: Path) -> bool:
    """Whether a folder was written by this demo and may be replaced."""
    return (folder / "annotations").is_dir()


def run(out: Path, *, longer: bool = False) -> None:
    """Write the data set, train and evaluate each method, and write the review page.

    Args:
        out: the folder to write.
        longer: train the methods of `LONGER`, one after the other. Otherwise those of `SHORT` are
            trained at the same time, each in one thread.
    """
    write_coco(out)
    methods = LONGER if longer else SHORT
    runs = [out / "runs" / str(number) for number in range(1, len(methods) + 1)]
    with ThreadPoolExecutor(1 if longer else len(runs)) as pool:
        work = pool.map(partial(_train, out, threads=None if longer else 1), runs, methods.values())
        seconds = list(work)
    rows = []
    for run_dir, method, spent in zip(runs, methods, seconds, strict=True):
        result = json.loads((run_dir / "metrics.json").read_text())
        known = json.loads((run_dir / "run.json").read_text())["config"]["data"]["known"]
        score = result["weights"]["last"]["mAP"]["sklearn"]
        rows.append([method, score, f"{100 * known:.0f} %", result["N"], f"{spent:.0f}"])
    print()
    taken = "seconds" if longer else "seconds, all at the same time"
    print(table(["method", "mAP (last epoch)", "known labels", "N", taken], rows))
    write_review_page(runs[-1], list(methods)[-1], out / "audit")


def _train(data: Path, run_dir: Path, options: Sequence[str], *, threads: int | None) -> float:
    """Train and evaluate a method; the seconds that it took."""
    start = time.perf_counter()
    places = ("--data.root", str(data), "--out", str(run_dir))
    command_output("train", *options, *places, "--evaluate", threads=threads)
    return time.perf_counter() - start


def write_review_page(run_dir: Path, method: str, out: Path) -> None:
    """Audit a run and say where the page is; the last line is the path."""
    print()
    command_output("audit", str(run_dir), "--split", "train", "--out", str(out))
    print(
        f'\nThe page shows the tags that the network of "{method}" would add to the training '
        "pictures, 90 % of whose labels are hidden. y, n and u decide. Open it in a browser:\n"
        f"{(out / 'review.html').absolute()}"
    )
