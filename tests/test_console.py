"""How a command ends."""

import pytest

from pumlc.cli import console


def test_ctrl_c_is_one_line(capsys):
    def main():
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as end:
        console.run(main)
    assert (end.value.code, capsys.readouterr().err) == (130, "interrupted\n")
