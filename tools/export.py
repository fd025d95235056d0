"""Write the classifier of a run as an ONNX file and check it in onnxruntime.

python tools/export.py runs/x --out model.onnx --check picture.jpg other.jpg
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import pumlc
from pumlc.cli import console
from pumlc.errors import UserError
from pumlc.vision.data.transforms import evaluation_transform, read_image
from pumlc.vision.export import export_onnx, largest_difference
from pumlc.vision.predictor import VisionPredictor

TOLERANCE = 1e-4


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder written by tools/train.py")
    parser.add_argument("--out", type=Path, required=True, help="ONNX file to write")
    parser.add_argument("--weights", help="saved weights; default: best on validation, else last")
    parser.add_argument(
        "--check", nargs="+", metavar="PICTURE", help="compare on these; default: on noise"
    )
    options = parser.parse_args(arguments)
    console.check_out(options.out)
    predictor = pumlc.load(options.run, options.weights, "cpu")
    if not isinstance(predictor, VisionPredictor):
        raise UserError(f"{options.run} is a text run: only classifiers of pictures are exported")
    if options.check:
        pictures = [read_image(path) for path in options.check]
    else:
        pictures = list(np.random.RandomState(0).randint(0, 256, (4, 64, 64, 3), np.uint8))
    transform = evaluation_transform(predictor.model.data_config)
    images = torch.stack([transform(image=picture)["image"] for picture in pictures])
    export_onnx(
        predictor.model,
        options.out,
        class_names=predictor.labels,
        thresholds=predictor.thresholds.tolist() if predictor.fitted else None,
    )
    difference = largest_difference(options.out, predictor.model, images)
    if not difference <= TOLERANCE:
        options.out.unlink()
        raise UserError(f"logits of the ONNX file differ by {difference:.1e}: it was removed")
    what = f"{len(images)} pictures" if options.check else "noise (--check compares on pictures)"
    print(
        f"{options.out}: weights {predictor.weights}, {len(predictor.labels)} classes; "
        f"logits differ by at most {difference:.1e} on {what}"
    )


if __name__ == "__main__":
    console.run(main)
