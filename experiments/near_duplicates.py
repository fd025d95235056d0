"""Which copies of a picture count as near duplicates in `pumlc audit --folds`, and which others do.

    python experiments/near_duplicates.py --data voc2007 --root VOCdevkit
    python experiments/near_duplicates.py --data coco2017 --root coco --pictures 100

The first pictures of the test split are copied: as JPEG of quality 50, mirrored, and without a
twentieth at each side. The table has the least and the median cosine of the pooled features of
copies and originals, and the share of copies that count as near duplicates. The last row has the
same for the nearest other picture of each picture, among all of the data set.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from pumlc.audit.duplicates import LEAST
from pumlc.tables import table
from pumlc.vision.config import DataConfig, ModelConfig
from pumlc.vision.data.split import read_split
from pumlc.vision.data.transforms import evaluation_transform
from pumlc.vision.frozen.features import frozen_features, frozen_network
from pumlc.vision.models.classifier import Classifier
from pumlc.vision.scoring import to_device


def compressed(picture: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=50)
    return Image.open(stream).convert("RGB")


def cropped(picture: Image.Image) -> Image.Image:
    wide, high = picture.width // 20, picture.height // 20
    return picture.crop((wide, high, picture.width - wide, picture.height - high))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG of quality 50": compressed,
    "mirrored": ImageOps.mirror,
    "without a twentieth at each side": cropped,
}


def features(network: Classifier, pictures: list[Image.Image]) -> np.ndarray:
    """Pooled features at length 1, [N, D]."""
    pixels = evaluation_transform(network.data_config).pixels
    rows = []
    with torch.inference_mode():
        for picture in pictures:
            batch = to_device(
                pixels(np.asarray(picture))[None], torch.device("cpu"), network.data_config
            )
            rows.append(network.pooled(batch).numpy())
    return at_length_1(np.concatenate(rows))


def at_length_1(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def figures(cosines: np.ndarray) -> list[str | int]:
    alike = f"{(cosines >= LEAST).mean():.1%}"
    return [len(cosines), f"{cosines.min():.3f}", f"{np.median(cosines):.3f}", alike]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--data", required=True, help="voc2007, coco2017 ...")
    parser.add_argument("--root", required=True)
    parser.add_argument("--weights", default="pip")
    parser.add_argument("--cache", type=Path, default=Path("features"))
    parser.add_argument("--pictures", type=int, default=100, help="that are copied")
    options = parser.parse_args()
    data = DataConfig(name=options.data, root=options.root)
    model = ModelConfig(backbone="tf_efficientnet_lite0", weights=options.weights)
    network = frozen_network(data, model).eval()
    images = read_split(data, "test")
    pictures = [Image.open(images.path(row)).convert("RGB") for row in range(options.pictures)]
    own = features(network, pictures)
    rows = []
    for name, change in COPIES.items():
        copies = features(network, list(map(change, pictures)))
        rows.append([name, *figures((own * copies).sum(1))])
    parts = (frozen_features(data, model, split, options.cache) for split in ("train", "test"))
    every = at_length_1(np.concatenate([part.features for part in parts]))
    others = every @ every.T
    np.fill_diagonal(others, -1)
    rows.append(["nearest other picture", *figures(others.max(1))])
    print(table(["copy", "N", "least", "median", f"{LEAST} and more"], rows))


if __name__ == "__main__":
    main()
