"""Methods x proportions of known labels x seeds: results.csv, a Markdown table and a plot.

python tools/sweep.py --config configs/sweeps/voc_features.yaml --out sweeps/voc

Finished cells are not run again, so the same command continues a sweep that was stopped, and a
longer list of methods, proportions or seeds adds to it. Every cell is a process of its own.
Learning rate, epochs and the method within a family are chosen by the known labels of held-out
training pictures, never by the test split. A cell that fails does not stop the others: the table is
that of the finished ones, the end names the failed ones, exit status 2.
"""

from pathlib import Path

from pumlc.cli import console
from pumlc.engine.config import parse
from pumlc.vision.sweep.config import SweepConfig
from pumlc.vision.sweep.run import run_sweep


def main(arguments: list[str] | None = None) -> None:
    out_option = ("--out", {"type": str, "required": True, "help": "folder of the sweep"})
    config, extra = parse(SweepConfig, arguments, program="tools/sweep.py", extra=(out_option,))
    result = run_sweep(config, Path(extra["out"]))
    if result.report:
        print(result.report)
    if result.failed is not None:
        raise result.failed


if __name__ == "__main__":
    console.run(main)
