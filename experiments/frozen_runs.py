"""mAP of frozen runs at several proportions of known labels, a row for each data set.

    python experiments/frozen_runs.py --voc VOCdevkit --coco COCO2017 --corel5k COREL5K --out FOLDER

Each figure is the mean mAP of `pumlc train --config frozen` and `pumlc evaluate` over three masks
(data.label_seed 0, 1, 2), with the smallest and the largest. What a picture of Corel5k does
not list counts as absent before labels are hidden.
"""

import argparse
from pathlib import Path

import numpy as np
import yaml

from pumlc.engine.config import from_plain
from pumlc.engine.processes import create_accelerator
from pumlc.engine.run import RunFolder
from pumlc.engine.training import train_run
from pumlc.recipes import recipe_file
from pumlc.tables import table
from pumlc.vision.config import VisionConfig
from pumlc.vision.evaluation import evaluate_run
from pumlc.vision.tasks import create_task

PROPORTIONS = (0.1, 0.5, 1.0)


def scored(data: dict, proportion: float, seed: int, folder: Path) -> tuple[float, int]:
    """mAP of a run and the number of test pictures."""
    content = yaml.safe_load(recipe_file("frozen").read_text("utf-8"))
    content["data"] = {**data, "known": proportion, "label_seed": seed}
    run = folder / f"{data['name']}_{proportion}_{seed}"
    if not (run / "weights" / "index.json").exists():
        train_run(from_plain(VisionConfig, content), create_task, RunFolder(run))
    result = evaluate_run(run, create_accelerator())
    return result["weights"]["last"]["mAP"]["sklearn"], result["N"]


def main() -> None:
    parser = argparse.ArgumentParser(description="mAP of frozen runs.")
    parser.add_argument("--voc")
    parser.add_argument("--coco")
    parser.add_argument("--corel5k")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sets = {}
    if options.voc:
        sets["VOC2007"] = {"name": "voc2007", "root": options.voc}
    if options.coco:
        sets["COCO"] = {"name": "coco2017", "root": options.coco}
    if options.corel5k:
        file = str(Path(options.corel5k) / "labels.csv")
        sets["Corel5k"] = {"name": "csv", "csv": file, "root": str(Path(options.corel5k))}
        sets["Corel5k"]["unlisted"] = "negative"
    rows = []
    for name, data in sets.items():
        row = [name]
        for proportion in PROPORTIONS:
            values = [scored(data, proportion, seed, options.out) for seed in range(3)]
            each = np.array([value for value, _ in values])
            row.append(f"{each.mean():.1f} ({each.min():.1f} to {each.max():.1f})")
        rows.append([*row, values[0][1]])
    print(table(["data", *(f"{100 * p:.0f} % known" for p in PROPORTIONS), "N"], rows))


if __name__ == "__main__":
    main()
