"""The program ``pumlc``: it finds the named command and imports no other."""

import difflib
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from pumlc.cli import console
from pumlc.errors import UserError
from pumlc.version import __version__

COMMANDS = {
    "train": "train a classifier of pictures or texts into a run folder",
    "evaluate": "measure a run on a split that it was not trained on",
    "predict": "name the labels of pictures or texts, as CSV",
    "audit": "list the labels of a run's data that are probably wrong or missing",
    "correct": "apply people's decisions about suspects to a label file",
    "report": "show runs and audits on a page: curves, classes, calibration, suspects",
    "sweep": "compare methods over proportions of known labels and seeds",
    "export": "write a run's classifier as an ONNX file and check it",
    "card": "write the model card of a run, and a folder for timm and transformers",
    "inspect": "show how a label file is understood, and what is doubtful in it",
    "convert": "write a label file in another format",
    "prepare": "check the download of a data set, or your own label file",
    "recipes": "list the settings that ship with the package, or print one",
    "demo": "train two methods on generated pictures and compare them; --texts: on texts",
}
READS_AHEAD = ("predict", "evaluate", "audit", "report")
"""Commands whose threads read pictures while the network works on the same cores."""
USAGE = """usage: pumlc COMMAND [OPTIONS]

Multi-label classification when the labels are incomplete or wrong.

commands:
{commands}

pumlc COMMAND --help lists the options of a command; pumlc --version shows the version.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run ``pumlc``.

    Args:
        arguments: the command line after ``pumlc``; None: that of the process.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    console.run(lambda: _dispatch(given), given)


def _dispatch(arguments: Sequence[str]) -> None:
    name, *rest = arguments or ["--help"]
    if name in ("--help", "-h", "help"):
        width = max(map(len, COMMANDS))
        lines = [f"  {command:{width}}  {text}" for command, text in COMMANDS.items()]
        print(USAGE.format(commands="\n".join(lines)), end="")
    elif name == "--version":
        print(f"pumlc {__version__}")
    elif name in COMMANDS:
        if name in READS_AHEAD:
            # before torch is imported: threads of the network that wait for each other would keep
            # the cores busy on which pictures are to be read
            os.environ.setdefault("OMP_WAIT_POLICY", "passive")
        import_module(f"pumlc.cli.{name}").main(rest)
    else:
        near = difflib.get_close_matches(name, COMMANDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"valid: {', '.join(COMMANDS)}"
        raise UserError(f"no command {name!r}; {hint}")
