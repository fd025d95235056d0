"""How a command ends."""

import os
import subprocess
import sys

import pytest

from pumlc.cli import console


def test_ctrl_c_is_one_line(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        console.run(main)
    assert (end.value.code, capsys.readouterr().err) == (130, "interrupted\n")


_WRITES_MUCH_THEN_WORKS = """
import sys
from pathlib import Path
from pumlc.cli import console

def main():
    for _ in range(3):
        print("x" * 100_000, flush=True)
        print("x" * 100_000, file=sys.stderr, flush=True)
    Path(sys.argv[1]).touch()

console.run(main)
"""


@pytest.mark.parametrize("processes", ["1", "2"])
def test_output_that_nobody_reads_ends_one_process_and_none_of_several(tmp_path, processes):
    """``| head``: the other processes wait for this one, so it has to do its part."""
    worked = tmp_path / "worked"
    read, write = os.pipe()
    os.close(read)
    ended = subprocess.run(
        [sys.executable, "-c", _WRITES_MUCH_THEN_WORKS, str(worked)],
        env={**os.environ, "WORLD_SIZE": processes},
        stdout=write,
        stderr=write,
    )
    os.close(write)
    assert (ended.returncode, worked.exists()) == (0, processes == "2")


@pytest.mark.parametrize("processes", ["1", "2"])
def test_another_process_that_has_ended_is_one_line(monkeypatch, capsys, processes):
    monkeypatch.setenv("WORLD_SIZE", processes)

    def main():
        raise RuntimeError("[gloo/pair.cc:561] Connection closed by peer\nmore")

    with pytest.raises(SystemExit if processes == "2" else RuntimeError):
        console._run(main, [])
    said = "error: another process of this command has ended: see what it says"
    assert (said in capsys.readouterr().err) == (processes == "2")
