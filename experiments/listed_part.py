"""A label file of some pictures of a data set, on which most tags were forgotten.

    python experiments/listed_part.py labels.csv --data voc2007 --root VOCdevkit --listed 0.1

Of the training split some pictures are drawn; each of their present labels is listed with one
probability, and nothing is known to be absent. The test split is complete. Paths are those of the
data set, relative to its folder of pictures.
"""

import argparse
from pathlib import Path

import numpy as np

from pumlc.files import write_csv
from pumlc.vision.config import DataConfig
from pumlc.vision.data.split import read_split


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--data", required=True, help="voc2007, coco2017 ...")
    parser.add_argument("--root", required=True)
    parser.add_argument("--pictures", type=int, default=400)
    parser.add_argument("--listed", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    data = DataConfig(name=options.data, root=options.root)
    random = np.random.default_rng(options.seed)
    rows = []
    for name in ("train", "test"):
        images = read_split(data, name)
        drawn, present = np.arange(len(images)), images.labels == 1
        if name == "train":
            drawn = np.sort(random.permutation(drawn)[: options.pictures])
            present &= random.random(present.shape) < options.listed
        for row in drawn.tolist():
            tags = (images.classes[column] for column in np.flatnonzero(present[row]))
            rows.append([name, images.paths[row].decode(), "|".join(tags)])
        print(f"{name}: {len(drawn)} pictures, {int(present[drawn].sum())} tags")
    write_csv(options.file, ("split", "image", "labels"), rows)
    print(f"{options.file}; --data.root {images.root}")


if __name__ == "__main__":
    main()
