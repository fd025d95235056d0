"""Methods by proportions of known labels on VOC 2007: the table of a paper on partial labels.

python examples/partial_labels_voc.py VOCdevkit      the folder with VOC2007
python examples/partial_labels_voc.py                a small generated stand-in of the same layout

Linear heads on features of a frozen network. Needs pumlc[offline]. To fine-tune the network:
pumlc sweep --config sweeps/voc_finetune.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import yaml
from PIL import Image

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa"),
    *("train", "tvmonitor"),
)
SETTINGS = {
    "methods": {
        "pnu": {"loss": {"name": "pnu"}},
        "bce_ignore": {"loss": {"name": "bce", "parameters": {"unknown": "ignore"}}},
        "bce_negative": {"loss": {"name": "bce", "parameters": {"unknown": "negative"}}},
    },
    "proportions": [0.1, 0.5, 1.0],
    "seeds": [0, 1],
    "metric": "frequent",
    "features": {
        "data": {"name": "voc2007", "root": "VOCdevkit"},
        "model": {"backbone": "tf_efficientnet_lite0", "weights": "auto"},
        # the known labels of a held-out part of train choose one of these for each method
        "probe": {"learning_rates": [1e-3, 1e-2], "epochs": [10, 30], "batch_size": 64},
    },
}


def write_stand_in(root: Path) -> None:
    """Write the layout of VOC 2007 with pictures of coloured squares, one colour a class."""
    random = np.random.RandomState(0)
    colours = random.randint(0, 256, (4, 3))
    (root / "VOC2007/JPEGImages").mkdir(parents=True)
    (root / "VOC2007/ImageSets/Main").mkdir(parents=True)
    for split, first, count in (("trainval", 0, 120), ("test", 120, 60)):
        names = [f"{number:06d}" for number in range(first, first + count)]
        present = np.zeros((count, len(CLASSES)), bool)
        present[:, :4] = random.rand(count, 4) < 0.4
        for name, row in zip(names, present, strict=True):
            picture = random.randint(0, 90, (96, 96, 3))
            for number in np.flatnonzero(row):
                top, left = random.randint(0, 66, 2)
                picture[top : top + 30, left : left + 30] = colours[number]
            image = Image.fromarray(picture.astype(np.uint8))
            image.save(root / f"VOC2007/JPEGImages/{name}.jpg", quality=95)
        for number, category in enumerate(CLASSES):
            lines = [
                f"{name} {1 if row[number] else -1}\n"
                for name, row in zip(names, present, strict=True)
            ]
            path = root / f"VOC2007/ImageSets/Main/{category}_{split}.txt"
            path.write_text("".join(lines))
        listed = "".join(f"{name}\n" for name in names)
        (root / f"VOC2007/ImageSets/Main/{split}.txt").write_text(listed)


def main(root: Path) -> None:
    """Run the sweep, and print its table. The same command continues a stopped sweep."""
    SETTINGS["features"]["data"]["root"] = str(root)
    Path("partial_labels.yaml").write_text(yaml.safe_dump(SETTINGS, sort_keys=False))
    arguments = ("sweep", "--config", "partial_labels.yaml", "--out", "sweeps/partial_labels")
    subprocess.run([sys.executable, "-m", "pumlc", *arguments], check=True)
    print(Path("sweeps/partial_labels/table.md").read_text())


if __name__ == "__main__":
    if len(sys.argv) == 2:
        main(Path(sys.argv[1]))
    else:
        write_stand_in(Path("VOCdevkit"))
        main(Path("VOCdevkit"))
