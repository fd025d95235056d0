"""mAP and minutes of frozen runs and of fine-tuned networks, by proportions of known labels.

    python experiments/frozen_runs.py --voc VOCdevkit --coco COCO2017 --corel5k COREL5K --out FOLDER
    python experiments/frozen_runs.py --coco COCO2017 --recipes csv_pnu_lite0_cpu --out FOLDER

Each figure is the mean mAP of `pumlc train --config RECIPE` and `pumlc evaluate` over the masks of
some seeds (data.label_seed and train.seed), with the smallest and the largest; of a network also
that of the last epoch, if other weights are used. What a picture of Corel5k does not list counts as
absent before labels are hidden. Minutes are those of the training, by the clock.
"""

import argparse
import csv
import itertools
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
KEPT = ("validation", "augmentation", "image_size")
"""Settings of a recipe's data that do not say where they are."""


def seconds_of(run: RunFolder) -> float:
    """Seconds of the training, by the last row that has them."""
    with (run.path / "metrics.csv").open(newline="") as file:
        return [float(row["seconds"]) for row in csv.DictReader(file) if row["seconds"]][-1]


def scored(recipe: str, data: dict, proportion: float, seed: int, folder: Path) -> dict:
    """What evaluation finds, and the minutes that training took."""
    content = yaml.safe_load(recipe_file(recipe).read_text("utf-8"))
    kept = {name: content["data"][name] for name in KEPT if name in content["data"]}
    content["data"] = {**kept, **data, "known": proportion, "label_seed": seed}
    content["train"]["seed"] = seed
    run = RunFolder(folder / f"{recipe}_{data['name']}_{proportion}_{seed}")
    if not (run.weights / "index.json").exists():
        train_run(from_plain(VisionConfig, content), create_task, run)
    names = sorted({run.preferred_weights(), *({"last-ema", "last"} & run.index().keys())})
    result = evaluate_run(run.path, create_accelerator(), weights=names)
    last = "last-ema" if "last-ema" in names else "last"
    figures = result["weights"]
    return {
        "used": figures[result["preferred"]]["mAP"]["sklearn"],
        "last": figures[last]["mAP"]["sklearn"],
        "minutes": seconds_of(run) / 60,
        "N": result["N"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--recipes", nargs="+", default=["frozen"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--voc")
    parser.add_argument("--coco")
    parser.add_argument("--corel5k")
    parser.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    sets: dict[str, dict[str, str]] = {}
    if options.voc:
        sets["VOC2007"] = {"name": "voc2007", "root": options.voc}
    if options.coco:
        sets["COCO"] = {"name": "coco2017", "root": options.coco}
    if options.corel5k:
        file = str(Path(options.corel5k) / "labels.csv")
        sets["Corel5k"] = {"name": "csv", "csv": file, "root": str(Path(options.corel5k))}
        sets["Corel5k"]["unlisted"] = "negative"
    rows = []
    for name, recipe in itertools.product(sets, options.recipes):
        for proportion in PROPORTIONS:
            found = [
                scored(recipe, sets[name], proportion, seed, options.out)
                for seed in range(options.seeds)
            ]
            used, last, minutes = (
                np.array([each[key] for each in found]) for key in ("used", "last", "minutes")
            )
            spread = f"{used.mean():.1f} ({used.min():.1f} to {used.max():.1f})"
            cells = [f"{proportion:.0%}", spread, f"{last.mean():.1f}", f"{minutes.mean():.1f}"]
            rows.append([name, recipe, *cells, found[0]["N"]])
            print(rows[-1], flush=True)
    heads = ["data", "recipe", "known", "mAP", "last epoch", "minutes", "N"]
    print(table(heads, rows))


if __name__ == "__main__":
    main()
