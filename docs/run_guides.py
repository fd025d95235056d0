"""Runs the commands of the guides, and compares what they print with what the page shows.

python docs/run_guides.py                          runs every guide
python docs/run_guides.py docs/guides/x.md         runs one
python docs/run_guides.py --write docs/guides/x.md writes the output of its commands into the page

A page is run from top to bottom in an empty folder. Two kinds of blocks count; all others are text:

    ```console                      each line that begins with "$ " is a command for bash, and the
    $ pumlc --version               lines below it are what it prints on a terminal; a command that
    pumlc 1.0                       ends with a backslash goes on in the next line
    ```

    ```{code-block} python          a file that the commands use
    :caption: answer.py
    ...
    ```

``<!-- slow -->`` on a page says that CI runs it apart (`make guides`). A command must end with
status 0. One whose line ends with ``# fails`` must not.

What differs from run to run does not count: times, rates, lines of progress, the name of the
folder, the width of columns, which of two equal suspects is first. Numbers may differ by 5 %, or by
0.15, since other versions of the libraries and other processors round otherwise.
"""

import argparse
import difflib
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

FOLDER = Path(__file__).parent / "guides"
SHOWN_FOLDER = "/home/you"
_UNCLEAR = re.compile(r"(?:lowers|raises) the left-out cross entropy by ([\d.]+) \+- ([\d.]+) %")
RELATIVE, ABSOLUTE = 0.05, 0.15
_FENCE = re.compile(r"^```(console|\{code-block\} \w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_PROGRESS = re.compile(r".* (?:left|so far)$|.*\bstep \d+/\d+.*")
_NUMBER = re.compile(r"(?<![\w./])-?\d+(?:\.\d+)?(?:e[+-]?\d+)?(?![\w/]|\.\w)")
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass(frozen=True)
class Step:
    """A command and what the page shows below it, or a file."""

    command: str
    output: str = ""
    file: str | None = None


class GuideError(AssertionError):
    """A command of a page failed, or printed something else than the page shows."""


def is_slow(page: Path) -> bool:
    """Whether a page is left to `make guides`."""
    return "<!-- slow -->" in page.read_text("utf-8")


def steps(block: re.Match[str]) -> Iterator[Step]:
    """The commands of a block, or the file that it shows."""
    kind, body = block.groups()
    if kind != "console":
        caption = re.match(r":caption: (\S+)\n\n?", body)
        if caption:
            yield Step(body[caption.end() :], file=caption[1])
        return
    for part in re.split(r"^(?=\$ )", body, flags=re.MULTILINE):
        command = re.match(r"\$ ((?:.*\\\n)*.*)\n?", part)
        if command:
            yield Step(command[1], part[command.end() :])


def run(page: Path, *, write: bool = False) -> None:
    """Run a page.

    Args:
        page: the Markdown file.
        write: replace the outputs on the page by those of this run, instead of comparing.

    Raises:
        GuideError: A command failed, or printed something else.
    """
    text = page.read_text("utf-8")
    with tempfile.TemporaryDirectory(prefix="guide") as folder:
        work = Path(folder).resolve() / "work"
        work.mkdir()

        def run_block(block: re.Match[str]) -> str:
            done = []
            for step in steps(block):
                if step.file is not None:
                    (work / step.file).write_text(step.command, "utf-8")
                    return block[0]
                printed = clean(_printed(step.command, work), work)
                if not write:
                    compare(step, printed, page)
                done.append(replace(step, output=printed))
            body = "".join(f"$ {step.command}\n{step.output}" for step in done)
            return f"```console\n{body}```" if done else block[0]

        new = _FENCE.sub(run_block, text)
    if write and new != text:
        page.write_text(new, "utf-8")


def compare(step: Step, printed: str, page: Path) -> None:
    """Compare what a command printed with what the page shows.

    Raises:
        GuideError: They differ.
    """
    shown, now = (comparable(output) for output in (step.output, printed))
    if len(shown) == len(now) and all(map(_same_line, shown, now)):
        return
    lines = difflib.unified_diff(shown, now, "on the page", "now", lineterm="", n=1)
    raise GuideError("\n".join([f"{page.name}: $ {step.command}", *lines]))


def clean(output: str, work: Path) -> str:
    """What a person at a terminal would see in the end, without progress and escape sequences."""
    lines = []
    for line in _ESCAPES.sub("", output).replace("\r\n", "\n").split("\n"):
        line = line.rstrip("\r").rpartition("\r")[2].rstrip()  # overwritten, as a terminal does it
        if not _PROGRESS.fullmatch(line):
            lines.append(line.replace(str(work), SHOWN_FOLDER))
    text = "\n".join(lines).strip("\n")
    return f"{text}\n" if text else ""


def comparable(output: str) -> list[str]:
    """The lines of an output, without what differs from run to run."""
    for pattern, instead in (
        (r"\d[\d.]*e-\d+|\b0\.0e\+00", "TINY"),
        (r"\b[\d.]+ ?(?:/s|s|ms|seconds?|minutes?|MiB|GiB|kB)\b", "TIME"),
        (r"(seconds\w*) [\d.]+", r"\1 TIME"),
        (r"[\d.e+]+ a second", "RATE"),
        (r"(rows_per_second) [\d.]+", r"\1 RATE"),
        (r"(gradient_norm) [\d.e+]+", r"\1 NORM"),  # of a step; a machine's rounding moves it most
        # the fastest way to compute features is found by a clock
        (r"computed by \w+(?:, BatchNorm folded)?, whose", "computed by ENGINE, whose"),
        (r"-{3,}", "---"),
        (r"[ \t]+", " "),
        # a row of suspects: the last digit of a score decides which one is first
        (r"(?m)^\| \w+ \| (unknown|absent|present) \| \d+ \| \d+ \| .*", r"\1 SUSPECT"),
    ):
        output = re.sub(pattern, instead, output)
    return _UNCLEAR.sub(_without_amount, output).strip().splitlines()


def _without_amount(change: re.Match[str]) -> str:
    """A change of less than its standard error has no sign that other versions would keep."""
    amount, error = (float(each) for each in change.groups())
    return "no clear change of the left-out cross entropy" if amount < error else change[0]


def _same_line(shown: str, now: str) -> bool:
    if shown == now:
        return True
    first, second = ([float(n) for n in _NUMBER.findall(line)] for line in (shown, now))
    return _NUMBER.sub("#", shown) == _NUMBER.sub("#", now) and all(
        abs(a - b) <= max(ABSOLUTE, RELATIVE * max(abs(a), abs(b)))
        for a, b in zip(first, second, strict=True)
    )


def _printed(command: str, work: Path) -> str:
    """Run a command on a terminal of its own, and return what it prints there."""
    bash = shutil.which("bash") or "/bin/bash"
    environment = dict(os.environ) | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(work.parent),
        "COLUMNS": "100",
        "TERM": "dumb",
        "PYTHONWARNINGS": "ignore::FutureWarning",
    }
    own, theirs = pty.openpty()
    process = subprocess.Popen(
        [bash, "-o", "pipefail", "-c", command],
        cwd=work,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    parts = []
    while True:
        ready, _, _ = select.select([own], [], [], 1.0)
        if not ready:
            if process.poll() is not None:
                break
            continue
        try:
            part = os.read(own, 65536)
        except OSError:  # Linux: the last process has closed the terminal
            break
        if not part:
            break
        parts.append(part)
    os.close(own)
    output = b"".join(parts).decode("utf-8", "replace")
    if (process.wait() != 0) != command.endswith("# fails"):
        raise GuideError(f"$ {command}\nended with status {process.returncode}\n{output}")
    return output


def main(arguments: Sequence[str] | None = None) -> None:
    """Run guides, print which passed, and end with status 1 if one did not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("pages", nargs="*", type=Path, default=sorted(FOLDER.glob("*.md")))
    parser.add_argument("--write", action="store_true", help="write the outputs into the pages")
    options = parser.parse_args(arguments)
    passed = [_passes(page, write=options.write) for page in options.pages]
    sys.exit(not all(passed))


def _passes(page: Path, *, write: bool) -> bool:
    try:
        run(page, write=write)
    except GuideError as error:
        print(f"{page}:\n{error}", flush=True)
        return False
    print(f"{page}: ok", flush=True)
    return True


if __name__ == "__main__":
    main()
