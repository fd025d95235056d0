"""How certain the gap between a method and the best other one is, and if known labels show it.

    python experiments/partial_label_gaps.py sweeps/voc --metric listed --method pnu

It reads a finished sweep of linear heads (``pumlc sweep``, experiments/partial_labels_texts.py)
with one setting for all proportions. For each proportion it compares the method with the best of
the methods whose names do not start with its own, "best" by test mAP. Both are trained again at
their settings. Test rows are drawn with replacement ``--draws`` times; the interval holds 95 % of
the gaps. The same test rows chose the best of many methods, which favours it; the interval does
not account for that.
"""

import argparse
import csv
from pathlib import Path

import numpy as np
import torch

from pumlc.cli import console
from pumlc.engine.config import from_plain
from pumlc.files import read_json
from pumlc.labels import keep_proportion
from pumlc.metrics import average_precision
from pumlc.sweep.cells import Cell, Row
from pumlc.sweep.choose import choose
from pumlc.sweep.tables import condition_of, summary
from pumlc.tables import table
from pumlc.vision.frozen.config import Method, ProbeConfig
from pumlc.vision.frozen.probe import ProbeData, trained_heads
from pumlc.vision.sweep.report import CANDIDATES, validation_column


def read_rows(file: Path) -> list[Row]:
    """The rows of results.csv, with numbers."""
    with file.open(newline="") as stream:
        return [
            {
                name: value if name == "method" else None if value == "" else float(value)
                for name, value in row.items()
            }
            for row in csv.DictReader(stream)
        ]


def test_logits(out: Path, data: ProbeData, row: Row) -> np.ndarray:
    """Test logits [N, C] of a row of the results, trained again."""
    cell = Cell(row["method"], row["proportion"], int(row["seed"]))
    settings = read_json(out / "cells" / f"{cell.name}.json")["settings"]
    probe = {
        **settings["probe"],
        "learning_rates": [row["learning_rate"]],
        "epochs": [int(row["epochs"])],
    }
    config, method = from_plain(ProbeConfig, probe), from_plain(Method, settings["method"])
    observed = keep_proportion(data.train_labels, cell.proportion, seed=cell.seed)
    (_, trained), *_ = trained_heads(data, method, config, observed, cell.seed)
    return trained.heads.logits(data.test)[0]


def mean_ap(scores: list[np.ndarray], labels: np.ndarray) -> float:
    """mAP in percent, the mean over seeds."""
    return 100 * float(np.mean([np.nanmean(average_precision(s, labels)) for s in scores]))


def interval(ours: list[np.ndarray], theirs: list[np.ndarray], labels: np.ndarray, draws: int):
    """Where 95 % of the gaps are, when test rows are drawn with replacement."""
    random = np.random.RandomState(0)
    gaps = []
    for _ in range(draws):
        rows = random.randint(len(labels), size=len(labels))
        a, b = [mean_ap([s[rows] for s in scores], labels[rows]) for scores in (ours, theirs)]
        gaps.append(a - b)
    return np.percentile(gaps, [2.5, 97.5])


def best_gap(rows: list[Row], ours: str, theirs: str, proportion: float, metric: str) -> float:
    """The gap when test labels choose the setting, of each method and for the proportion."""
    best = []
    for method in (ours, theirs):
        of_setting: dict[tuple, list[float]] = {}
        for row in rows:
            if row["method"] == method and row["proportion"] == proportion:
                key = (row["learning_rate"], row["epochs"])
                of_setting.setdefault(key, []).append(row[metric])
        best.append(max(float(np.mean(values)) for values in of_setting.values()))
    return best[0] - best[1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("out", type=Path, help="folder of the sweep")
    parser.add_argument("--method", default="pnu")
    parser.add_argument("--metric", default="all", help="classes: all, frequent, listed")
    parser.add_argument("--proportions", type=float, nargs="+", help="default: where it is behind")
    parser.add_argument("--draws", type=int, default=1000)
    options = parser.parse_args()
    torch.set_num_threads(1)  # heads are small
    rows, metric = read_rows(options.out / "results.csv"), options.metric
    data = ProbeData.load(options.out / "probe_data.pt")
    by = validation_column(rows, metric)
    chosen = choose(rows, ["method"], by, CANDIDATES)
    proportions = {condition_of(row): row["proportion"] for row in rows}
    means, known = [
        {
            method: {proportions[name]: value for name, (value, *_) in of_method.items()}
            for method, of_method in summary(chosen, column).items()
        }
        for column in (metric, by)
    ]
    others = [method for method in means if not method.startswith(options.method)]
    columns = data.averages[metric]
    labels = data.test_labels[:, columns]
    lines = []
    for proportion, ours in means[options.method].items():
        best = max(others, key=lambda method: means[method][proportion])
        gap = ours - means[best][proportion]
        if proportion not in (options.proportions or ([proportion] if gap < 0 else [])):
            continue
        scores = {
            method: [
                test_logits(options.out, data, row)[:, columns]
                for row in chosen
                if row["method"] == method and row["proportion"] == proportion
            ]
            for method in (options.method, best)
        }
        low, high = interval(scores[options.method], scores[best], labels, options.draws)
        lines.append(
            [f"{100 * proportion:g} %", best, gap, f"{low:.2f} to {high:.2f}"]
            + [known[method][proportion] for method in (options.method, best)]
            + [best_gap(rows, options.method, best, proportion, metric)]
        )
        print(f"{lines[-1][0]}: done", flush=True)
    header = ["known", "best other", "gap", "95 % of draws", f"known labels: {options.method}"]
    print(table([*header, "best other", "gap, set by test"], lines))


if __name__ == "__main__":
    console.run(main)
