"""Compare methods over conditions of the labels and seeds; write tables and a plot.

pumlc sweep --config sweeps/voc_features --features.data.root VOCdevkit --out sweeps/voc

A condition is a proportion of known labels, or a named combination of noise and protocol. A cell is
one method, condition and seed, and runs in its own process. Finished cells are not run again. So
the same command continues a stopped sweep, and a longer list of methods, proportions, conditions or
seeds adds to it. The known labels of held-out training pictures choose the learning rate, the
epochs and the method within a family; the test split never does. A cell that fails does not stop
the others. Then the table is over the finished cells, the last message names the failed ones, and
the exit status is 2.
"""

import dataclasses
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pumlc.cli.options import with_recipe_files
from pumlc.engine.command_line import parse
from pumlc.errors import UserError, closest

if TYPE_CHECKING:
    from pumlc.vision.sweep.config import SweepConfig


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a sweep, or continue it."""
    from pumlc.vision.sweep.config import SweepConfig

    options = (
        ("--out", {"type": str, "required": True, "help": "folder of the sweep"}),
        ("--only", {"type": str, "help": "run only these methods: names separated by commas"}),
    )
    given = with_recipe_files(arguments)
    config, extra = parse(SweepConfig, given, program="pumlc sweep", about=__doc__, extra=options)
    if extra["only"] is not None:
        config = _with_methods(config, extra["only"].split(","))
    from pumlc.vision.sweep.run import run_sweep

    result = run_sweep(config, Path(extra["out"]))
    if result.report:
        print(result.report)
        if sys.stdout.isatty():  # for a person
            out = shlex.quote(extra["out"])
            print(f"as a page: pumlc report {out} --out report.html", flush=True)
    if result.failed is not None:
        raise result.failed


def _with_methods(config: "SweepConfig", names: list[str]) -> "SweepConfig":
    """The sweep with only the named methods; a family keeps its named methods."""
    for name in names:
        if name not in config.methods:
            raise UserError(f"--only: no method {name!r}; {closest(name, list(config.methods))}")
    families = {
        family: left
        for family, members in config.families.items()
        if (left := [name for name in members if name in names])
    }
    methods = {name: method for name, method in config.methods.items() if name in names}
    return dataclasses.replace(config, methods=methods, families=families)
