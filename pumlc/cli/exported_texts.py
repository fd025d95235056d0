"""``pumlc export`` of a run on texts."""

from typing import TYPE_CHECKING

from pumlc.cli import console
from pumlc.errors import UserError
from pumlc.progress import Progress, working

if TYPE_CHECKING:
    from pumlc.cli.export import ExportOptions

_SHOWN = 8  # labels that an ONNX file is compared on


def export_texts(options: "ExportOptions", tolerance: float) -> None:
    """Write an ONNX file, or a folder for sentence-transformers, and say what was written.

    Raises:
        UserError: the run has no encoder to export, the place is taken, or the file gives other
            scores than the run.
    """
    from pumlc.predictor import load
    from pumlc.text.export import (
        export_sentence_transformers,
        export_text_onnx,
        largest_text_difference,
    )
    from pumlc.text.predictor import TextPredictor

    predictor = load(options.run, options.weights, "cpu")
    writing = working(f"writing {options.out}")
    if not isinstance(predictor, TextPredictor):
        raise UserError(
            f"{options.run} has least squares on an encoder that was not trained: export that "
            "encoder itself; pumlc predict has its scores"
        )
    if options.labels is not None:
        raise UserError(
            f"--labels is for image runs; the labels of {options.run} are texts, and whoever has "
            "the encoder can choose any"
        )
    if options.check is not None:
        raise UserError("--check is for image runs; a text run is compared on its own labels")
    if options.out.suffix != ".onnx":
        console.check_out_folder(options.out)
        predictor.label_embeddings(Progress().show)
        with writing:
            export_sentence_transformers(predictor, options.out, side=options.side)
        print(
            f"{options.out}: encoder of {options.side}, weights {predictor.weights}, for "
            "sentence-transformers and for encoder.model; label_embeddings.npy has "
            f"{len(predictor.labels)} labels"
        )
        return
    console.check_out(options.out)
    predictor.label_embeddings(Progress().show)
    texts = list(predictor.labels[:_SHOWN])
    with writing:
        export_text_onnx(predictor, options.out)
        difference = largest_text_difference(options.out, predictor, texts)
    if not difference <= tolerance:
        options.out.unlink()
        raise UserError(
            f"{options.out}: its scores differ from those of the run by {difference:.1e}, more "
            f"than {tolerance:.0e}; the file was removed"
        )
    print(
        f"{options.out}: weights {predictor.weights}, {len(predictor.labels)} labels; scores "
        f"differ by at most {difference:.1e} on {len(texts)} texts"
    )
