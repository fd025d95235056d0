"""Train on generated data and compare methods, without a download.

pumlc demo            three losses on pictures of digits with 90 % of their labels hidden, a minute
pumlc demo --train    BCE and the whole of PU-MLC on the same pictures, twice the epochs, minutes
pumlc demo --texts    a dual encoder that finds functions to which a documentation text refers
pumlc demo --data photos    no training: writes the example data of a guide (photos, xrays, texts)
"""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pumlc.cli.options import option, parse_options
from pumlc.errors import UserError


@dataclass(frozen=True)
class DemoOptions:
    """The command line of ``pumlc demo``."""

    train: bool = option("train for twice as long, PU-MLC with all its parts", default=False)
    texts: bool = option("run the demo on texts (extra: pumlc[text])", default=False)
    data: str | None = option("write example data and train nothing: photos, xrays or texts")
    out: Path | None = option("folder to write; default: demo_data, with --texts demo_text_data")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a demo."""
    options = parse_options(DemoOptions, arguments, program="pumlc demo", about=__doc__ or "")
    if options.data is not None:
        _write_data(options.data, options.out or Path(options.data))
        return
    if options.texts and options.train:
        raise UserError("--train has no part in the demo on texts; leave out --train or --texts")
    if options.texts:
        from pumlc.cli import demo_texts as demo
    else:
        from pumlc.cli import demo_pictures as demo

    out = options.out or Path("demo_text_data" if options.texts else "demo_data")
    if out.exists() and not (out.is_dir() and (demo.is_demo_folder(out) or not any(out.iterdir()))):
        raise UserError(f"--out {out} exists and was not written by this demo; name another folder")
    shutil.rmtree(out, ignore_errors=True)
    demo.run(out, **({"longer": True} if options.train else {}))


def _write_data(kind: str, out: Path) -> None:
    from pumlc.cli import demo_data

    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--out {out} exists; name another folder, or remove it")
    demo_data.write(kind, out)


def main_of_texts(arguments: Sequence[str] | None = None) -> None:
    """Run ``pumlc demo --texts``."""
    main(["--texts", *(sys.argv[1:] if arguments is None else arguments)])


def command_output(*arguments: str, threads: int | None = None) -> str:
    """Print another command, run it in its own process, and return what it prints.

    Args:
        arguments: the command line after ``pumlc``.
        threads: threads of the network; None: as the machine and the environment say.

    Raises:
        UserError: The command failed.
    """
    print("$ pumlc", shlex.join(arguments), flush=True)
    done = subprocess.run(
        [sys.executable, "-m", "pumlc", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env=None if threads is None else {**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode:
        raise UserError(f"pumlc {arguments[0]} failed:\n{done.stdout}")
    return done.stdout
