"""The script that shows that numbers did not move finds every number that did."""

import importlib.util
import json
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "experiments" / "compare_commits.py"
HEADER = "method,proportion,seed,learning_rate,epochs,validation,all"
ROWS = ["pnu,0.1,0,0.001,4,41.5,30.25", "pnu,0.1,0,0.001,8,42.5,", "asl,1.0,0,0.001,4,50.0,44.0"]


@pytest.fixture(scope="module")
def script():
    specification = importlib.util.spec_from_file_location("compare_commits", SCRIPT)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def compared(script, tmp_path, capsys):
    """Compare two texts as files of a suffix: exit code, and what was printed."""

    def call(before: str, now: str, suffix: str, *options: str) -> tuple[int, str, str]:
        files = [tmp_path / f"{name}{suffix}" for name in ("before", "now")]
        for file, text in zip(files, (before, now), strict=True):
            file.write_text(text)
        code = script.main([str(file) for file in files] + list(options))
        output = capsys.readouterr()
        return code, output.out, output.err

    return call


def csv_text(rows: list[str], header: str = HEADER) -> str:
    return "\n".join([header, *rows]) + "\n"


def test_conditions_are_told_apart_and_proportions_name_themselves(compared):
    rows = [f"{row},10 %" if ",0.1," in row else f"{row},{{}}" for row in ROWS]
    named = csv_text(
        [*rows[:2], rows[2].format("fn20"), rows[2].format("100 %")], f"{HEADER},condition"
    )
    assert compared(named, named, ".csv")[1] == "3 cells, 4 rows: equal bit for bit\n"
    code, out, _ = compared(csv_text(ROWS), named, ".csv")
    assert (code, out) == (0, "2 cells, 3 rows: equal bit for bit (6 values only now)\n")
    assert compared(named, csv_text(ROWS), ".csv")[0] == 1


def test_equal_sweeps_in_another_order(compared):
    code, out, _ = compared(csv_text(ROWS), csv_text(ROWS[::-1]), ".csv")
    assert code == 0
    assert out == "2 cells, 3 rows: equal bit for bit\n"


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (
            [ROWS[0].replace("30.25", "30.250000000000004"), *ROWS[1:]],
            "all of method pnu, proportion 0.1, seed 0, learning_rate 0.001, epochs 4: "
            "30.25 before, 30.250000000000004 now",
        ),
        (ROWS[:2], "validation of method asl"),
        ([ROWS[0], ROWS[1] + "1.0", ROWS[2]], "no value before, 1.0 now"),
    ],
)
def test_a_moved_or_missing_number_of_a_sweep_is_named(compared, now, line):
    code, out, _ = compared(csv_text(ROWS), csv_text(now), ".csv")
    assert code == 1
    assert "values differ" in out.splitlines()[0]
    assert line in out


def test_what_only_the_new_commit_has_is_counted(compared):
    more = [f"{row},1" for row in ROWS]
    code, out, _ = compared(csv_text(ROWS), csv_text(more, HEADER + ",seconds"), ".csv")
    assert code == 0
    assert out == "2 cells, 3 rows: equal bit for bit (3 values only now)\n"


def test_evaluations_are_compared_by_their_last_line(compared):
    before = {"weights": {"last": {"mAP": 0.1 + 0.2, "AP": [1.0, float("nan")]}}, "N": 5}
    now = {"weights": {"last": {"mAP": 0.1 + 0.2, "AP": [1, None]}}, "N": 5, "new": 1}
    code, out, _ = compared(f"a table\n{json.dumps(before)}\n", json.dumps(now), ".txt")
    assert code == 0
    assert out == "4 values: equal bit for bit (1 values only now)\n"
    now["weights"]["last"]["mAP"] = 0.3
    code, out, _ = compared(json.dumps(before), json.dumps(now), ".txt")
    assert code == 1
    assert "weights.last.mAP: 0.30000000000000004 before, 0.3 now" in out


def test_ignored_keys_may_differ(compared):
    texts = [json.dumps({"source": name, "mAP": 1.5}) for name in ("a", "b")]
    assert compared(*texts, ".txt")[0] == 1
    assert compared(*texts, ".txt", "--ignore", "source")[0] == 0


@pytest.mark.parametrize(
    ("text", "suffix", "message"),
    [
        ("no object here", ".txt", "last line must be a JSON object"),
        ("", ".txt", "last line must be a JSON object"),
        ("a,b\n1,2\n", ".csv", "have a column 'method'"),
        (csv_text([ROWS[0], ROWS[0]]), ".csv", "line 3: the same candidate"),
        (csv_text([]), ".csv", "no values to compare"),
    ],
)
def test_other_files_are_refused(compared, text, suffix, message):
    code, out, err = compared(text, text, suffix)
    assert (code, out) == (2, "")
    assert message in err
