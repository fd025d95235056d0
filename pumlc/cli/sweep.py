"""Methods x proportions of known labels x seeds: results.csv, a Markdown table and a plot.

pumlc sweep --config sweeps/voc_features --features.data.root VOCdevkit --out sweeps/voc

Finished cells are not run again, so the same command continues a sweep that was stopped, and a
longer list of methods, proportions or seeds adds to it. Every cell is a process of its own.
Learning rate, epochs and the method within a family are chosen by the known labels of held-out
training pictures, never by the test split. A cell that fails does not stop the others: the table is
that of the finished ones, the end names the failed ones, exit status 2.
"""

from collections.abc import Sequence
from pathlib import Path

from pumlc.cli.options import with_recipe_files
from pumlc.engine.command_line import parse


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a sweep, or go on with it."""
    from pumlc.vision.sweep.config import SweepConfig

    out = ("--out", {"type": str, "required": True, "help": "folder of the sweep"})
    given = with_recipe_files(arguments)
    config, extra = parse(SweepConfig, given, program="pumlc sweep", about=__doc__, extra=(out,))
    from pumlc.vision.sweep.run import run_sweep

    result = run_sweep(config, Path(extra["out"]))
    if result.report:
        print(result.report)
    if result.failed is not None:
        raise result.failed
