"""Write the model card of a run, and a folder that other programs load.

pumlc card runs/x                        print the card
pumlc card runs/x --out README.md        the card alone, as a file
pumlc card runs/x --out FOLDER           card, config.json and model.safetensors

The folder of an image run is loaded by timm ("local-dir:FOLDER", "hf-hub:USER/NAME") and by
transformers (pipeline image-classification), that of a text run by sentence-transformers. The
figures on the card are those that pumlc evaluate left in the run folder: evaluate first.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pumlc.cli import console
from pumlc.cli.options import argument, errors_name_options, option, parse_options


@dataclass(frozen=True)
class CardOptions:
    """The command line of ``pumlc card``."""

    run: Path = argument("run folder written by pumlc train")
    out: Path | None = option(
        "a new folder, or a file that ends in .md; default: print the card", default=None
    )
    weights: str | None = option("saved weights; default: best on validation, else last")
    calibrated: bool = option(
        "pictures, a folder: put the calibration into the last layer, so that the sigmoid of a "
        "logit is the probability of pumlc predict",
        default=False,
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a card."""
    options = parse_options(CardOptions, arguments, program="pumlc card", about=__doc__ or "")
    alone = options.out is not None and options.out.suffix.lower() == ".md"
    if options.out is not None:
        (console.check_out if alone else console.check_out_folder)(options.out)
    from pumlc.branches import branch_of
    from pumlc.engine.run import RunFolder
    from pumlc.files import write_text
    from pumlc.predictor import load

    task = RunFolder(options.run).read()["config"].get("task")
    cards = branch_of(task, options.run).card_module
    predictor = load(options.run, options.weights, "cpu")
    with errors_name_options(options):
        cards.check_options(predictor, calibrated=options.calibrated)
    if options.out is None:
        print(cards.card_of(predictor, folder=False), end="")
    elif alone:
        write_text(options.out, cards.card_of(predictor, folder=False))
        print(f"{options.out}: the card of {options.run}, weights {predictor.weights}")
    else:
        print(cards.write_folder(predictor, options.out, calibrated=options.calibrated))
