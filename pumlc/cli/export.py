"""Write the classifier of a run as an ONNX file and check it in onnxruntime.

pumlc export runs/x --out model.onnx --check picture.jpg other.jpg
pumlc export runs/t --out model.onnx          a text run: encoder, labels and tokenizer in one file
pumlc export runs/t --out FOLDER              the encoder, for sentence-transformers
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pumlc.cli import console
from pumlc.cli.exported_texts import export_texts
from pumlc.cli.label_lines import use_labels
from pumlc.cli.options import argument, option, parse_options
from pumlc.errors import UserError
from pumlc.progress import working

TOLERANCE = 1e-4


@dataclass(frozen=True)
class ExportOptions:
    """The command line of ``pumlc export``."""

    run: Path = argument("run folder written by pumlc train")
    out: Path = option("ONNX file to write; for texts also a new folder", required=True)
    weights: str | None = option("saved weights; default: best on validation, else last")
    check: list[str] | None = option(
        "pictures to compare the logits on; default: random noise", nargs="+", metavar="PICTURE"
    )
    labels: Path | None = option(
        "pictures: only the classes in the lines of this file; a run with heads open_vocabulary "
        "finds new ones by their names"
    )
    label_vectors: str | None = option(
        "pictures, with --labels: the encoder of class names, if it has moved",
        flag="--model.label_vectors",
    )
    side: Literal["documents", "labels"] = option(
        "texts, a folder: which of two encoders", default="documents"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Export a run."""
    options = parse_options(ExportOptions, arguments, program="pumlc export", about=__doc__ or "")
    from pumlc.engine.run import RunFolder

    if RunFolder(options.run).read()["config"].get("task") == "text":
        export_texts(options, TOLERANCE)
        return
    console.check_out(options.out)
    import numpy as np
    import torch

    from pumlc.predictor import load
    from pumlc.vision.export import export_onnx, largest_difference

    predictor = load(options.run, options.weights, "cpu")
    if options.labels is not None:
        print(use_labels(predictor, options.labels, options.label_vectors))
    if options.check:
        pictures = [predictor.read(path) for path in options.check]
    else:
        pictures = list(np.random.RandomState(0).randint(0, 256, (4, 64, 64, 3), np.uint8))
    images = torch.stack([predictor.transform(image=picture)["image"] for picture in pictures])
    with working(f"writing {options.out}"):
        export_onnx(
            predictor.model,
            options.out,
            class_names=predictor.labels,
            thresholds=predictor.thresholds.tolist() if predictor.fitted else None,
            calibration=(predictor.slope.tolist(), predictor.bias.tolist()),
            curve=predictor.curve,
            straight=predictor.new_labels.tolist(),
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
