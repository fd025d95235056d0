"""The command ``pumlc``: its list of commands, what it imports, how options and errors read."""

import os
import subprocess
import sys
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal

import pytest

from pumlc.cli import console
from pumlc.cli.evaluate import class_names
from pumlc.cli.main import COMMANDS, main
from pumlc.cli.options import (
    argument,
    errors_name_options,
    option,
    parse_options,
    with_recipe_files,
)
from pumlc.errors import UserError
from pumlc.recipes import recipe_file, recipes
from pumlc.version import __version__


def run(*arguments, **options):
    command = [sys.executable, "-m", "pumlc", *arguments]
    return subprocess.run(command, capture_output=True, text=True, **options)


def test_help_lists_every_command(capsys):
    for arguments in ([], ["--help"], ["help"]):
        main(arguments)
        lines = capsys.readouterr().out.splitlines()
        for name, text in COMMANDS.items():
            assert any(line.split(maxsplit=1) == [name, text] for line in lines)


def test_version(capsys):
    main(["--version"])
    assert capsys.readouterr().out == f"pumlc {__version__}\n"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_that_shows_how_it_is_called(name, capsys):
    with pytest.raises(SystemExit) as end:
        import_module(f"pumlc.cli.{name}").main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    assert text.startswith(f"usage: pumlc {name}")
    assert f"\npumlc {name} " in text


@pytest.mark.parametrize(
    "arguments",
    [["--help"], ["recipes"], ["evaluate", "--help"], ["train", "--task", "text", "-h"]],
)
def test_help_loads_nothing_heavy(arguments):
    code = (
        "import sys\nfrom pumlc.cli.main import main\n"
        f"try:\n    main({arguments!r})\nexcept SystemExit:\n    pass\n"
        "heavy = {'torch', 'timm', 'transformers', 'sklearn', 'cv2'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_an_unknown_command_is_one_line():
    done = run("trian")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no command 'trian'; did you mean train?\n"


def test_a_missing_run_is_one_line(tmp_path):
    done = run("evaluate", "no\x1b[31mrun", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line == "error: no\\x1b[31mrun is not a run folder: it has no run.json"


@dataclass(frozen=True)
class Options:
    run: Path = argument("a folder")
    files: list[Path] = argument("files", nargs="+")
    batch_size: int = option("rows", default=3)
    root: str | None = option("a place", flag="--data.root")
    names: list[str] | None = option("names", nargs="+")
    kind: Literal["a", "b"] | None = option("kind")
    quick: bool = option("quick", default=False)
    out: Path | None = option("a file", required=True)


def parsed(*arguments):
    return parse_options(Options, arguments, program="pumlc x", about="About.")


@pytest.mark.parametrize("flag", ["--batch-size", "--batch_size"])
def test_options_of_a_command(flag):
    options = parsed("run", "a", "b", flag, "7", "--names", "1", "null", "--out=o", "--quick")
    assert options == Options(
        run=Path("run"),
        files=[Path("a"), Path("b")],
        batch_size=7,
        names=["1", "null"],
        out=Path("o"),
        quick=True,
    )
    assert parsed("r", "a", "--out", "o", "--data.root", "x").root == "x"
    assert parsed("r", "a", "--out", "o").batch_size == 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--batch-size", "x"], "--batch-size: expected int. Got value: x"),
        (["--batch_size", "x"], "--batch_size: expected int. Got value: x"),
        (["--kind", "c"], "--kind: expected one of 'a', 'b'. Got value: c"),
        (["--batchsize", "3"], "no option --batchsize; did you mean --batch-size?"),
        (["--data.rot", "3"], "no option --data.rot; did you mean --data.root?"),
        (["--names"], "--names: expected at least one argument"),
        (["--data.root"], "--data.root: expected one argument"),
        ([], "--out is required"),
    ],
)
def test_mistakes_name_the_option_as_it_was_typed(arguments, message):
    with pytest.raises(UserError) as error:
        parsed("run", "file", *arguments)
    assert str(error.value) == message


def test_missing_arguments_are_named():
    with pytest.raises(UserError, match="arguments are required: run, files"):
        parsed()


def test_an_error_about_an_argument_names_its_option():
    options = parsed("run", "file", "--out", "o")
    with (
        pytest.raises(UserError, match="^--batch-size must be at least 2, got 1$"),
        errors_name_options(options),
    ):
        raise UserError("batch_size must be at least 2, got 1")
    with pytest.raises(UserError, match="^weights: no$"), errors_name_options(options):
        raise UserError("weights: no")


@pytest.mark.parametrize(
    ("typed", "message", "shown"),
    [
        (
            "--train.epochs=0",
            "train.epochs must be at least 1",
            "--train.epochs must be at least 1",
        ),
        ("--train.batch-size 0", "train.batch_size: no", "--train.batch-size: no"),
        ("--train.rate 1", "train.epochs must be at least 1", "train.epochs must be at least 1"),
        ("--data.csv data.csv", "data.csv: no rows", "data.csv: no rows"),
        ("--data.csv x", "/home/data.csv: no such file", "/home/data.csv: no such file"),
    ],
)
def test_an_error_about_a_setting_names_the_option_that_was_typed(typed, message, shown, capsys):
    def fail():
        raise UserError(message)

    with pytest.raises(SystemExit):
        console.run(fail, typed.split())
    assert capsys.readouterr().err == f"error: {shown}\n"


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (["red,blue"], ["red", "blue"]),
        (["red, blue"], ["red", "blue"]),
        (["Clothing, other", "red"], ["Clothing, other", "red"]),
        (['"Clothing, other",red'], ["Clothing, other", "red"]),
        (["red", "blue"], ["red", "blue"]),
        (["Clothing", "other"], ["Clothing", "other"]),
    ],
)
def test_names_of_classes_on_the_command_line(arguments, names):
    assert class_names(arguments, ["red", "blue", "Clothing, other"]) == names


def end_of(main, capsys):
    with pytest.raises(SystemExit) as end:
        console.run(main)
    captured = capsys.readouterr()
    return end.value.code, captured.out, captured.err


def raises(error):
    def main():
        raise error

    return main


def test_how_a_command_ends(capsys, monkeypatch):
    assert end_of(raises(UserError("no\nway")), capsys) == (2, "", "error: no\nway\n")
    some = console.SomeFailedError("two of three")
    assert end_of(raises(some), capsys) == (1, "", "error: two of three\n")
    missing = end_of(lambda: Path("/nowhere/x").read_text(), capsys)
    assert missing == (2, "", "error: [Errno 2] No such file or directory: '/nowhere/x'\n")
    assert end_of(raises(KeyboardInterrupt()), capsys) == (130, "", "interrupted\n")
    monkeypatch.setenv("PUMLC_TRACEBACK", "1")
    with pytest.raises(UserError, match="no way"):
        console.run(raises(UserError("no way")))


@pytest.mark.parametrize("error", [ValueError("x"), KeyError("x"), OSError("x"), RuntimeError("x")])
def test_a_fault_of_the_program_keeps_its_traceback(error):
    with pytest.raises(type(error)):
        console.run(raises(error))


def test_what_standard_output_cannot_encode_is_replaced_and_said_once():
    code = (
        "from pumlc.cli import console\n"
        "console.run(lambda: [print('\\u732b', i) for i in range(3)])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, env={"PYTHONIOENCODING": "cp1252"}
    )
    assert (done.returncode, done.stdout) == (0, b"? 0\n? 1\n? 2\n")
    assert done.stderr.count(b"standard output is c") == 1


def test_warnings_of_the_package_are_one_line(capsys):
    code = compile("import warnings; warnings.warn('mind')", str(console.__file__), "exec")
    console.run(lambda: exec(code))
    assert capsys.readouterr().err == "warning: mind\n"


ENDS = """
import atexit, os, sys
from pumlc.cli import console
from pumlc.errors import UserError

class Late:
    def __init__(self):
        self.write = os.write

    def __del__(self):
        self.write(1, b"teardown\\n")

late = Late()
atexit.register(print, "atexit")
def main():
    print("work", end=" ")  # not flushed
    {ends}
console.run(main)
"""


@pytest.mark.parametrize(
    ("ends", "status", "said"),
    [
        ("pass", 0, ""),
        ("raise UserError('no way')", 2, "error: no way"),
        ("sys.exit(143)", 143, ""),
        ("sys.exit('too late')", 1, "too late"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
    ],
)
@pytest.mark.parametrize("several", [True, False])
def test_one_of_several_processes_ends_without_teardown(ends, status, said, several):
    """Threads of the process group may abort it during the teardown of the interpreter."""
    done = subprocess.run(
        [sys.executable, "-c", ENDS.format(ends=ends)],
        env={**os.environ, "WORLD_SIZE": "2" if several else ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert done.stdout == "work atexit\n" + ("" if several else "teardown\n")
    assert said in done.stderr


def test_a_warning_of_the_package_is_one_line_whoever_called_it(tmp_path):
    """The script of an installed command is no module of the package."""
    script = tmp_path / "pumlc_script.py"
    script.write_text(
        "from pumlc.cli import console\nfrom pumlc.errors import warn_user\n"
        "console.run(lambda: warn_user('a.csv: mind'))\n"
    )
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert done.stderr == "warning: a.csv: mind\n"


def test_json_is_for_programs(capsys, monkeypatch):
    console.print_result({"a": 1}, always=False)
    assert capsys.readouterr().out == '{"a": 1}\n'
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    console.print_result({"a": 1}, always=False)
    assert capsys.readouterr().out == ""
    console.print_result({"a": 1}, always=True)
    assert capsys.readouterr().out == '{"a": 1}\n'


def test_recipes_are_found_by_name_and_a_file_wins(tmp_path, monkeypatch):
    assert recipe_file("csv_lite0_cpu").name == "csv_lite0_cpu.yaml"
    assert recipe_file("sweeps/voc_features").name == "voc_features.yaml"
    with pytest.raises(UserError, match="csv_lite: no such file, and no recipe.*csv_lite0_cpu"):
        recipe_file("csv_lite")
    monkeypatch.chdir(tmp_path)
    Path("csv_lite0_cpu").write_text("task: vision\n")
    assert recipe_file("csv_lite0_cpu") == Path("csv_lite0_cpu")
    given = with_recipe_files(["--config", "demo_bce", "--out", "x", "--config=demo_text"])
    assert [Path(given[1]).name, given[4].rpartition("/")[2]] == ["demo_bce.yaml", "demo_text.yaml"]


@pytest.mark.parametrize("recipe", recipes(), ids=lambda recipe: recipe.name)
def test_every_recipe_says_what_it_is_for(recipe):
    for fact in (recipe.claim, recipe.hardware, recipe.time):
        assert fact != "not said"
        assert len(fact) < 100


def test_recipes_are_listed_and_printed(capsys):
    main(["recipes"])
    text = capsys.readouterr().out
    assert all(f"| {recipe.name} " in text for recipe in recipes())
    main(["recipes", "demo_bce"])
    assert capsys.readouterr().out == recipe_file("demo_bce").read_text()


@pytest.mark.parametrize(("command", "policy"), [("evaluate", "passive"), ("train", None)])
def test_threads_of_the_network_leave_the_cores_to_those_that_read(command, policy, monkeypatch):
    """Before torch is imported, and not where a person has chosen."""
    seen = []

    class Module:
        def main(self, arguments):
            seen.append(os.environ.get("OMP_WAIT_POLICY"))

    monkeypatch.setattr("pumlc.cli.main.import_module", lambda name: Module())
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with monkeypatch.context() as during:
        during.setitem(os.environ, "OMP_WAIT_POLICY", "x")
        del os.environ["OMP_WAIT_POLICY"]  # set by the command, undone after it
        main([command, "run"])
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    main([command, "run"])
    assert seen == [policy, "active"]


@pytest.mark.parametrize("command", ["predict RUN PICTURES", "audit RUN", "report RUN"])
def test_a_file_of_another_kind_is_not_replaced(command, tmp_path, monkeypatch, capsys):
    """``--out labels.csv``, a slip of the hand, must not take the place of the labels."""
    monkeypatch.chdir(tmp_path)
    labels = Path("labels.csv")
    labels.write_text("image,labels\na.jpg,cat\n")
    with pytest.raises(SystemExit):
        main([*command.split(), "--out", "labels.csv"])
    assert "--out labels.csv is there, and is no file of this command" in capsys.readouterr().err
    assert labels.read_text() == "image,labels\na.jpg,cat\n"


@pytest.mark.parametrize(
    ("begins", "content"),
    [
        (r"[^\n]*,label,score", "path,label,score,present\n"),
        (r"[^\n]*,label,score", "id,label,score\n"),
        ("part,given,rank", "part,given,rank,image\n"),
        ("(?i)<!doctype html", "<!DOCTYPE html>"),
        ("part,given,rank", ""),
    ],
)
def test_an_older_file_of_the_same_command_is_replaced(begins, content, tmp_path):
    (tmp_path / "out").write_text(content)
    console.check_out(tmp_path / "out", begins=begins)


@pytest.mark.parametrize(
    "command",
    [
        "inspect l.csv --fix l.csv",
        "convert l.csv l.csv --to csv",
        "correct l.csv c.csv --out l.csv",
    ],
)
def test_the_file_that_is_read_is_not_replaced(command, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    Path("l.csv").write_text("filename,cat\na.jpg,TRUE\nb.jpg,FALSE\n")
    with pytest.raises(SystemExit):
        main(command.split())
    assert "l.csv is the label file itself; name a new file" in capsys.readouterr().err
    assert "TRUE" in Path("l.csv").read_text()


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("--confg", "--config"), ("--resum", "--resume"), ("--evalute", "--evaluate")],
)
def test_a_mistyped_option_of_train_has_the_nearest_one(typed, meant, capsys):
    with pytest.raises(SystemExit):
        main(["train", "--out", "runs/x", typed])
    assert f"{typed}: no setting {typed[2:]!r}" in (said := capsys.readouterr().err)
    assert f"did you mean {meant}?" in said
