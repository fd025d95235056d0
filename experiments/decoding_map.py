"""mAP of large pictures, decoded small and decoded in full.

    python experiments/decoding_map.py RUN --data.root VOCdevkit --width 1600

The test pictures of a run are enlarged to a width, with noise that gives their files the size of
genuine photographs, and written as JPEG files. The network of the run scores each of them twice:
from the decode that the package makes, at 1/2, 1/4 or 1/8 where that is enough, and from the full
decode. Nothing is chosen: both columns have the same weights.
"""

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from pumlc.metrics import mean_average_precision
from pumlc.tables import table
from pumlc.vision.data.decode import load_image
from pumlc.vision.data.read_ahead import read_ahead, reading_threads
from pumlc.vision.evaluation import measured_labels, other_place, split_of_run
from pumlc.vision.predictor import VisionPredictor
from pumlc.vision.scoring import probabilities_of, to_device


def enlarge(path: Path, width: int, seed: int, out: Path) -> None:
    picture = Image.open(path).convert("RGB")
    height = round(picture.height * width / picture.width)
    picture = picture.resize((width, height), Image.Resampling.BICUBIC)
    grain = 4 * np.random.default_rng(seed).standard_normal((height, width, 3), np.float32)
    pixels = np.clip(np.asarray(picture) + grain, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(out, quality=90)


def pair(predictor: VisionPredictor, file: Path) -> tuple[torch.Tensor, torch.Tensor, float]:
    """Pixels of the network from both decodes, and their mean absolute difference."""
    transform = predictor.transform
    small = transform.pixels(load_image(file, at_least=transform.decoded_size))
    full = transform.pixels(load_image(file))
    return small, full, float((small.float() - full.float()).abs().mean())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--data.root", dest="root", help="another place of the data")
    parser.add_argument("--width", type=int, default=1600, help="pixels")
    parser.add_argument("--number", type=int, help="of pictures; default: all")
    options = parser.parse_args()
    predictor = VisionPredictor(options.run)
    images = split_of_run(other_place(predictor.config.data, options.root, None), "test", predictor)
    number = min(len(images), options.number or len(images))
    labels, _ = measured_labels(images, "test")
    logits: dict[str, list[Any]] = {"small": [], "full": []}
    differences = []

    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():

        def read(row: int) -> tuple[torch.Tensor, torch.Tensor, float]:
            file = Path(folder) / f"{row}.jpg"
            enlarge(images.path(row), options.width, row, file)
            found = pair(predictor, file)
            file.unlink()
            return found

        for small, full, difference in read_ahead(
            read, range(number), threads=reading_threads(), ahead=16
        ):
            batch = torch.stack([small, full])
            scored = predictor.model(
                to_device(batch, predictor.device, predictor.model.data_config)
            )
            logits["small"].append(scored[0].float().cpu().numpy())
            logits["full"].append(scored[1].float().cpu().numpy())
            differences.append(difference)

    rows = []
    for name, values in logits.items():
        probabilities = probabilities_of(np.stack(values))
        found = mean_average_precision(probabilities, labels[:number], definition="sklearn")
        rows.append([name, f"{found:.2f}"])
    print(table(["decoded", f"mAP, N = {number}"], rows))
    gap = np.abs(np.stack(logits["small"]) - np.stack(logits["full"])).mean()
    print(f"mean difference: {np.mean(differences):.2f} grey levels, {gap:.3f} in a logit")


if __name__ == "__main__":
    main()
