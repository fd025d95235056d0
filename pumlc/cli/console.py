"""What the entry points in tools/ share: how errors leave, how tables look."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pumlc.errors import UserError


def run(main: Callable[[], Any]) -> None:
    """Run an entry point; an error of the user's becomes one line and exit status 2.

    These are UserError, and OSError: a folder that is missing or may not be written, a full disk.
    Ctrl-C becomes one line and exit status 130, which is what a shell gives it.

    ``PUMLC_TRACEBACK=1`` in the environment shows where it came from.
    """
    try:
        main()
    except BrokenPipeError:  # who read the output, head for example, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (UserError, OSError) as error:
        if os.environ.get("PUMLC_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr, flush=True)
        sys.exit(2)
    except KeyboardInterrupt:
        if os.environ.get("PUMLC_TRACEBACK"):
            raise
        print("interrupted", file=sys.stderr, flush=True)
        sys.exit(130)


def output_of(tool: Path, *arguments: str) -> str:
    """Show the command of another entry point, run it, return what it printed.

    Raises:
        UserError: it failed.
    """
    print("$ python", os.path.relpath(tool), *arguments, flush=True)
    done = subprocess.run([sys.executable, tool, *arguments], stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise UserError(f"{tool.name} failed:\n{done.stdout}")
    return done.stdout


def check_out(path: Path) -> None:
    """Refuse an ``--out`` that cannot be a file, before the work.

    Raises:
        UserError: it is a folder, or in one that is not there.
    """
    if path.is_dir():
        raise UserError(f"--out {path} is a folder; name a file, in it or elsewhere")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"--out {path}: the folder {path.parent} may not be written")
