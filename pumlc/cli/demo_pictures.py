"""The demo on pictures: scenes of real handwritten digits, 90 % of whose labels are hidden.

The demo writes a data set in the COCO format and trains on it as on any other. It compares (a)
binary cross entropy that takes unknown labels as negative, and (b) PU-MLC with local-global
convolutions, with the same network and the same number of steps. It ends with a page for a browser
that shows the labels that (b) contradicts.
"""

import json
import time
from pathlib import Path

import cv2
import numpy as np
from sklearn.datasets import load_digits

from pumlc.cli.demo import command_output
from pumlc.tables import table

SIDE = 64
SPLITS = {"train": 2000, "val": 500}
METHODS = {
    "BCE, unknown as negative": "demo_bce",
    "PU-MLC": "demo_pumlc",
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


def run(out: Path) -> None:
    """Write the data set, train and evaluate both methods, and write the review page."""
    write_coco(out)
    rows = []
    run_dir = out
    for method, recipe in METHODS.items():
        run_dir = out / "runs" / recipe
        start = time.perf_counter()
        command_output(
            *("train", "--config", recipe, "--data.root", str(out), "--out", str(run_dir))
        )
        seconds = time.perf_counter() - start
        printed = command_output("evaluate", str(run_dir), "--weights", "last")
        result = json.loads(printed.splitlines()[-1])
        known = json.loads((run_dir / "run.json").read_text())["config"]["data"]["known"]
        score = result["weights"]["last"]["mAP"]["sklearn"]
        rows.append([method, score, f"{100 * known:.0f} %", result["N"], f"{seconds:.0f}"])
    print()
    print(table(["method", "mAP (last epoch)", "known labels", "N", "seconds"], rows))
    write_review_page(run_dir, out / "audit")


def write_review_page(run_dir: Path, out: Path) -> None:
    """Audit a run and say where the page is; the last line is the path."""
    print()
    command_output("audit", str(run_dir), "--split", "train", "--out", str(out))
    print(
        "\nThe page shows the tags that PU-MLC would add to the training pictures, 90 % of whose "
        "labels are hidden. y, n and u decide. Open it in a browser:\n"
        f"{(out / 'review.html').absolute()}"
    )
