"""Show that a change of the code moved no number.

    python experiments/compare_commits.py before/results.csv now/results.csv
    python experiments/compare_commits.py before/evaluate.txt now/evaluate.txt

Run the same command at both commits and compare what it wrote: the `results.csv` of two sweeps, or
the output of two evaluations, whose last line is a JSON object.

Every number of the commit before must be there now, bit for bit. What only the new commit has (a
column, a key, a method) is counted and is no difference. An empty cell, `null` and `NaN` are all
"no value". One line tells the result, followed by the first differences; the exit code is 1 if
there are any.
"""

import argparse
import csv
import json
import sys
from pathlib import Path

from pumlc.errors import UserError
from pumlc.sweep.cells import proportion_title

IDENTITY = ("method", "proportion", "seed", "learning_rate", "epochs")  # of a row of results.csv
SHOWN = 10
Values = dict[str, str]  # where a value stands -> the value, as text that keeps every bit


def exact(value: object) -> str:
    """The value as text: equal texts are equal bits, however the number was spelled."""
    if value is None or value == "":
        return "no value"
    if isinstance(value, bool):
        return str(value)
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return repr(value)
    return "no value" if number != number else repr(number)


def own_condition(row: dict[str, str]) -> str:
    """The row's condition as a part of its place; "" if the proportion says it already."""
    if "proportion" not in row or not row.get("condition"):
        return ""
    condition = row["condition"]
    return "" if condition == proportion_title(float(row["proportion"])) else f", {condition}"


def sweep_values(file: Path) -> tuple[Values, str]:
    """The values of a sweep's `results.csv`, and a count of its cells and rows."""
    with file.open(newline="", encoding="utf-8") as stream:
        reader = csv.DictReader(stream)
        identity = [name for name in IDENTITY if name in (reader.fieldnames or [])]
        if "method" not in identity:
            raise UserError(f"{file}: the results of a sweep have a column 'method', this has none")
        values: Values = {}
        cells, rows = set(), set()
        for line, row in enumerate(reader, start=2):
            condition = own_condition(row)
            key = (condition, *(exact(row[name]) for name in identity))
            if key in rows:
                raise UserError(f"{file}, line {line}: the same candidate as an earlier line")
            rows.add(key)
            cells.add(key[:4])
            place = ", ".join(f"{name} {row[name]}" for name in identity) + condition
            for column in row.keys() - set(identity):
                values[f"{column} of {place}"] = exact(row[column])
    return values, f"{len(cells)} cells, {len(rows)} rows"


def evaluation_values(file: Path) -> tuple[Values, str]:
    """The values of the JSON object in the last line of an evaluation's output."""
    lines = file.read_text(encoding="utf-8").splitlines()
    try:
        content = json.loads(lines[-1] if lines else "")
    except json.JSONDecodeError as error:
        raise UserError(f"{file}: the last line must be a JSON object ({error})") from error
    values: Values = {}

    def add(node: object, place: str) -> None:
        if isinstance(node, dict):
            children = list(node.items())
        elif isinstance(node, list):
            children = list(enumerate(node))
        else:
            values[place] = exact(node)
            return
        for name, child in children:
            add(child, f"{place}.{name}" if place else str(name))

    add(content, "")
    return values, f"{len(values)} values"


def differences(before: Values, now: Values) -> list[str]:
    """A line for each value of the commit before that is missing or different now."""
    return [
        f"{place}: {value} before, {now.get(place, 'missing')} now"
        for place, value in before.items()
        if now.get(place) != value
    ]


def compare(before: Path, now: Path, ignored: list[str]) -> int:
    """Print the comparison of two files; 1 if they differ, else 0."""
    read = sweep_values if before.suffix == ".csv" else evaluation_values
    (old, size), (new, _) = (
        ({place: v for place, v in values.items() if place not in ignored}, text)
        for values, text in (read(before), read(now))
    )
    if not old:
        raise UserError(f"{before}: no values to compare")
    found = differences(old, new)
    verdict = f"{len(found)} of {len(old)} values differ" if found else "equal bit for bit"
    only_now = len(new.keys() - old.keys())
    print(f"{size}: {verdict}" + (f" ({only_now} values only now)" if only_now else ""))
    for line in found[:SHOWN]:
        print(f"  {line}")
    if len(found) > SHOWN:
        print(f"  and {len(found) - SHOWN} more")
    return 1 if found else 0


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("before", type=Path, help="results.csv or output, commit before")
    parser.add_argument("now", type=Path, help="the same of the commit now")
    parser.add_argument(
        "--ignore",
        nargs="+",
        default=[],
        metavar="KEY",
        help="keys of the JSON object that may differ, such as a path: a.b",
    )
    options = parser.parse_args(arguments)
    try:
        return compare(options.before, options.now, options.ignore)
    except (UserError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
