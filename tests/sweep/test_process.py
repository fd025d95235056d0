"""A function call in a process of its own."""

import os
import subprocess
import sys
import time
import traceback
from pathlib import Path

import pytest

from pumlc.errors import UserError
from pumlc.sweep.process import RemoteError, in_a_process

PRELOAD = "pumlc.sweep.cells"


def fail(error):
    raise error


def test_a_process_of_its_own():
    first, second = (in_a_process(os.getpid, preload=PRELOAD) for _ in range(2))
    assert len({first, second, os.getpid()}) == 3
    assert not alive(first)
    assert not alive(second)


@pytest.mark.parametrize("error", [OSError("no disk"), UserError("no label")])
def test_what_a_person_can_mend_keeps_its_type(error):
    with pytest.raises(type(error), match=str(error)) as info:
        in_a_process(fail, error, preload=PRELOAD)
    assert type(info.value) is type(error)


class StrangeError(Exception):
    """An exception that pickles and does not unpickle."""

    def __init__(self, first, second):
        super().__init__(f"{first} {second}")


def fail_strangely():
    raise StrangeError("very", "strange")


def test_a_fault_brings_its_traceback():
    with pytest.raises(RemoteError, match="StrangeError: very strange") as info:
        in_a_process(fail_strangely, preload=PRELOAD)
    text = "".join(traceback.format_exception(info.value))
    assert 'raise StrangeError("very", "strange")' in text


def test_a_killed_process_is_named():
    with pytest.raises(UserError, match="exit code -6 .killed"):
        in_a_process(os.abort, preload=PRELOAD)


def talk(error):
    print("one", "\N{SNOWMAN}")
    print("two", file=sys.stderr)
    subprocess.run([sys.executable, "-c", "print('three')"], check=True)
    if error is not None:
        raise error


def test_the_output_goes_to_the_log(tmp_path, capfd):
    log = tmp_path / "log.txt"
    log.write_text("zero\n")
    in_a_process(talk, None, preload=PRELOAD, log=log)
    lines = log.read_text(encoding="utf-8").splitlines()
    assert lines == ["zero", "one \N{SNOWMAN}", "two", "three"]
    with pytest.raises(UserError):
        in_a_process(talk, UserError("no label"), preload=PRELOAD, log=log)
    assert log.read_text(encoding="utf-8").splitlines()[-1] == "error: no label"
    with pytest.raises(RemoteError):
        in_a_process(talk, KeyError("oops"), preload=PRELOAD, log=log)
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert capfd.readouterr() == ("", "")


def child_of_a_child():
    return in_a_process(os.getpid, preload=PRELOAD)


def test_a_process_may_start_others():
    assert in_a_process(child_of_a_child, preload=PRELOAD) != os.getpid()


def write_pid(path):
    path.write_text(str(os.getpid()))
    time.sleep(600)


def test_a_sweep_that_is_killed_leaves_no_process(tmp_path):
    command = "import test_process; from pathlib import Path; from pumlc.sweep import process; "
    path = str(tmp_path / "pid")
    command += f"process.in_a_process(test_process.write_pid, Path({path!r}), preload='os')"
    parent = subprocess.Popen([sys.executable, "-c", command], cwd=Path(__file__).parent)
    wait_for(lambda: (tmp_path / "pid").is_file() and (tmp_path / "pid").read_text())
    parent.kill()
    parent.wait()
    pid = int((tmp_path / "pid").read_text())
    wait_for(lambda: not alive(pid))


def alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_for(condition, seconds=60):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.1)
