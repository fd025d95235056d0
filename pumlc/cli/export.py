"""Write the classifier of a run as an ONNX file and check it in onnxruntime.

pumlc export runs/x --out model.onnx --check picture.jpg other.jpg
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pumlc.cli import console
from pumlc.cli.options import argument, option, parse_options
from pumlc.errors import UserError

TOLERANCE = 1e-4


@dataclass(frozen=True)
class ExportOptions:
    """The command line of ``pumlc export``."""

    run: Path = argument("run folder written by pumlc train")
    out: Path = option("ONNX file to write", required=True)
    weights: str | None = option("saved weights; default: best on validation, else last")
    check: list[str] | None = option(
        "pictures to compare the logits on; default: random noise", nargs="+", metavar="PICTURE"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Export a run."""
    options = parse_options(ExportOptions, arguments, program="pumlc export", about=__doc__ or "")
    console.check_out(options.out)
    import numpy as np
    import torch

    from pumlc.predictor import load
    from pumlc.vision.export import export_onnx, largest_difference
    from pumlc.vision.predictor import VisionPredictor

    predictor = load(options.run, options.weights, "cpu")
    if not isinstance(predictor, VisionPredictor):
        raise UserError(f"{options.run} is a text run; only an image run can be exported")
    if options.check:
        pictures = [predictor.read(path) for path in options.check]
    else:
        pictures = list(np.random.RandomState(0).randint(0, 256, (4, 64, 64, 3), np.uint8))
    images = torch.stack([predictor.transform(image=picture)["image"] for picture in pictures])
    export_onnx(
        predictor.model,
        options.out,
        class_names=predictor.labels,
        thresholds=predictor.thresholds.tolist() if predictor.fitted else None,
    )
    difference = largest_difference(options.out, predictor.model, images)
    if not difference <= TOLERANCE:
        options.out.unlink()
        raise UserError(
            f"{options.out}: its logits differ from those of the run by {difference:.1e}, more "
            f"than {TOLERANCE:.0e}; the file was removed"
        )
    what = f"{len(images)} pictures" if options.check else "noise (--check compares on pictures)"
    print(
        f"{options.out}: weights {predictor.weights}, {len(predictor.labels)} classes; "
        f"logits differ by at most {difference:.1e} on {what}"
    )
