"""The table of experiments/gpu.sh: what the evaluated runs of a folder reach, and their seconds.

python experiments/gpu_texts.py FOLDER RUN ...
"""

import argparse
import csv
from pathlib import Path

from pumlc.files import read_json
from pumlc.tables import table

ALL = ("P@1", "P@3", "P@5", "PSP@1", "PSP@3", "PSP@5", "R@10", "R@100")


def row(run: Path) -> list[str]:
    """Name and figures of a run; empty cells if it was not evaluated."""
    if not (run / "metrics.json").is_file():
        return [run.name, *[""] * (len(ALL) + 3)]
    result = read_json(run / "metrics.json")
    figures = result["weights"][result["preferred"]]
    unseen = [figures[part]["P@1"] for part in ("zero_shot", "zero_shot_among_unseen")]
    with (run / "metrics.csv").open(newline="") as file:
        seconds = [line["seconds"] for line in csv.DictReader(file) if line["seconds"]][-1]
    values = [*(figures["all"][name] for name in ALL), *unseen]
    return [run.name, *(f"{value:.2f}" for value in values), f"{float(seconds):.0f}"]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("runs", nargs="+")
    options = parser.parse_args()
    unseen = ["unseen labels, among all: P@1", "among unseen: P@1"]
    rows = [row(options.folder / name) for name in options.runs]
    print(table(["run", *ALL, *unseen, "seconds"], rows))


if __name__ == "__main__":
    main()
