"""What all commands share: how they report errors, what a user sees, what a program reads."""

import atexit
import codecs
import errno
import io
import json
import os
import re
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from pumlc.errors import PumlcWarning, UserError
from pumlc.tables import printable

INTERRUPTED = 130  # the exit status that a shell reports for Ctrl-C
_PACKAGE = Path(__file__).parent.parent
# a user can mend these: a folder that is missing or may not be written, a full disk
_MENDABLE = {
    getattr(errno, name)
    for name in (
        *("ENOENT", "EACCES", "EPERM", "EISDIR", "ENOTDIR", "EEXIST", "ENAMETOOLONG", "ELOOP"),
        *("ENOSPC", "EDQUOT", "EFBIG", "EROFS", "EIO"),
    )
    if hasattr(errno, name)
}


class SomeFailedError(UserError):
    """Some inputs were bad, and the results of the others are written. The exit status is 1."""


def run(main: Callable[[], Any], arguments: Sequence[str] | None = None) -> None:
    """Run a command, and turn an error that a user can mend into one line and exit status 2.

    Such errors are `UserError`, and `OSError` of a folder or a disk. If only some inputs were bad,
    the status is 1. Ctrl-C becomes one line and status 130. Every other exception is a fault of the
    program and keeps its traceback. ``PUMLC_TRACEBACK=1`` in the environment shows the traceback of
    every error. One of several processes (``torchrun``) ends here, see `end_at_once`. It works on
    when the reader of its output, such as ``head``, has seen enough: the others wait for it.

    Args:
        main: runs the command; its result is ignored.
        arguments: its command line; None: ``sys.argv``. If an error is about a setting that was
            typed there, the message names the option: ``--train.epochs must be at least 1``.
    """
    if not _is_one_of_several():
        _run(main, arguments)
        return
    status = 0
    sys.stdout, sys.stderr = map(_outliving_its_reader, (sys.stdout, sys.stderr))
    try:
        _run(main, arguments)
    except SystemExit as end:
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 (shown as the interpreter would, then the end)
        traceback.print_exc()
        status = 1
    end_at_once(status)


def _is_one_of_several() -> bool:
    """Whether ``torchrun`` or the like has started this process and others."""
    return os.environ.get("WORLD_SIZE", "1") not in ("1", "")


class _OutputThatOutlivesItsReader(io.FileIO):
    """What is written goes nowhere, once nobody reads it any more."""

    def write(self, data: Any, /) -> int | None:
        try:
            return super().write(data)
        except BrokenPipeError:
            _write_nowhere(self.fileno())
            return len(data)


def _outliving_its_reader(stream: Any) -> io.TextIOWrapper:
    """The same output, in a stream that never raises `BrokenPipeError`."""
    stream.flush()
    raw = _OutputThatOutlivesItsReader(stream.fileno(), "w", closefd=False)
    buffered = io.BufferedWriter(raw)
    return io.TextIOWrapper(
        buffered, encoding=stream.encoding, errors=stream.errors, line_buffering=True
    )


def _forget_unread(stream: Any) -> None:
    """Have nothing left to be written, if nobody reads this output any more."""
    try:
        stream.flush()
    except BrokenPipeError:
        _write_nowhere(stream.fileno())


def _write_nowhere(descriptor: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def end_at_once(status: int) -> NoReturn:
    """End this process without the teardown of the interpreter, after all that ``atexit`` knows.

    Once a model was trained by several processes, torch (2.14) keeps the threads of gloo beyond
    ``destroy_process_group``. Such a thread now and then asks for the interpreter during its
    teardown, and a process that had done all its work was aborted (SIGABRT).

    Args:
        status: the exit status.
    """
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(status)


def _run(main: Callable[[], Any], arguments: Sequence[str] | None) -> None:
    """Run a command; see `run`."""
    typed = sys.argv[1:] if arguments is None else arguments
    try:
        with _streams_that_write_anything(), _warnings_in_one_line():
            main()
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output, such as head, has seen enough
        _forget_unread(sys.stdout)
        _forget_unread(sys.stderr)  # 2>&1 | head closes both
    except SomeFailedError as error:
        _end(error, 1, typed)
    except UserError as error:
        _end(error, 2, typed)
    except OSError as error:
        if error.errno not in _MENDABLE:
            raise
        _end(error, 2, typed)
    except RuntimeError as error:
        lost = _lost_process(error)
        if lost is None:
            raise
        _end(lost, 2, typed)
    except KeyboardInterrupt:
        if os.environ.get("PUMLC_TRACEBACK"):
            raise
        print("interrupted", file=sys.stderr, flush=True)
        sys.exit(INTERRUPTED)


def _lost_process(error: RuntimeError) -> UserError | None:
    """The same in a line, if it only says that another process of the command has ended."""
    if not _is_one_of_several():
        return None
    from pumlc.engine.processes import lost_process  # imports torch

    reason = lost_process(error)
    if reason is None:
        return None
    lost = UserError(f"another process of this command has ended: see what it says ({reason})")
    lost.__cause__ = error
    return lost


def _end(error: Exception, status: int, typed: Sequence[str]) -> None:
    if os.environ.get("PUMLC_TRACEBACK"):
        raise error
    message = printable(_with_option(str(error), typed), keep_lines=True)
    print(f"error: {message}", file=sys.stderr, flush=True)
    sys.exit(status)


def _with_option(message: str, typed: Sequence[str]) -> str:
    """The message, with the setting at its start replaced by the option as it was typed."""
    setting = re.match(r"[a-z]\w*(\.\w+)+(?=[ :])", message)
    if setting is None or setting[0] in typed:  # a file may have the name of a setting: data.csv
        return message
    for argument in typed:
        flag = argument.partition("=")[0]
        if flag.replace("-", "_") == f"__{setting[0]}":
            return f"{flag}{message[setting.end() :]}"
    return message


@contextmanager
def _streams_that_write_anything() -> Iterator[None]:
    """Replace characters that standard output cannot encode, and say so once, without an error."""
    replaced = []

    def replace(error: UnicodeError) -> tuple[str, int]:
        assert isinstance(error, UnicodeEncodeError)
        replaced.append(error.encoding)
        return "?" * (error.end - error.start), error.end

    codecs.register_error("pumlc-replace", replace)
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None and sys.stdout.errors == "strict":
        reconfigure(errors="pumlc-replace")
    try:
        yield
    finally:
        if replaced:
            print(
                f"note: standard output is {replaced[0]}; each character that it cannot encode was "
                "written as ?. PYTHONIOENCODING=utf-8 in the environment keeps these characters",
                file=sys.stderr,
                flush=True,
            )


@contextmanager
def _warnings_in_one_line() -> Iterator[None]:
    """Show a warning of this package without the line of code that gave it."""
    with warnings.catch_warnings():
        plain = warnings.showwarning

        def show(message: Any, category: type, filename: str, *place: Any) -> None:
            own = issubclass(category, UserWarning) and _PACKAGE in Path(filename).parents
            if own or issubclass(category, PumlcWarning):
                text = printable(str(message), keep_lines=True)
                print(f"warning: {text}", file=sys.stderr, flush=True)
            else:
                plain(message, category, filename, *place)

        warnings.showwarning = show
        yield


def print_result(result: dict[str, Any], *, always: bool) -> None:
    """Print a result as one line of JSON, for a program.

    Args:
        result: plain JSON.
        always: print it on a terminal too.
    """
    if always or not sys.stdout.isatty():
        print(json.dumps(result, allow_nan=False), flush=True)


def check_out(path: Path, *, begins: str | None = None) -> None:
    """Refuse an ``--out`` that cannot be written as a file, before the work.

    Args:
        path: the file.
        begins: how the files of this command begin, a regular expression. A file that is there and
            begins otherwise is not replaced: it may be somebody's labels.

    Raises:
        UserError: It is a folder, or its folder is missing or may not be written; or it is a file
            of another kind.
    """
    if path.is_dir():
        raise UserError(f"--out {path} is a folder; name a file")
    if not path.parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise UserError(f"--out {path}: you may not write into the folder {path.parent}")
    if begins is not None and path.is_file() and path.stat().st_size:
        with path.open("rb") as stream:
            start = stream.read(4096)
        if re.match(begins.encode(), start) is None:
            raise UserError(
                f"--out {path} is there, and is no file of this command; name a new one"
            )


def check_not_input(flag: str, path: Path, given: Path) -> None:
    """Refuse to replace the label file that a command reads.

    Raises:
        UserError: Both are one file.
    """
    if path.exists() and given.exists() and path.samefile(given):
        raise UserError(f"{flag} {path} is the label file itself; name a new file")


def check_out_folder(path: Path) -> None:
    """Refuse an ``--out`` that cannot be a folder to write into, before the work.

    Raises:
        UserError: It is a file, its parent folder is missing, or it may not be written.
    """
    if path.exists() and not path.is_dir():
        raise UserError(f"--out {path} is a file; name a folder, or a file that ends in .csv")
    if not path.exists() and not path.absolute().parent.is_dir():
        raise UserError(f"--out {path}: there is no folder {path.parent}")
    if not os.access(path if path.is_dir() else path.absolute().parent, os.W_OK):
        raise UserError(f"--out {path}: you may not write into this folder")
