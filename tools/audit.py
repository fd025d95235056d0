"""Rank the labels of a run's data that are probably wrong or missing, and write them as CSV.

python tools/audit.py runs/x
python tools/audit.py runs/x --split test --top 500 --out audit.csv
python tools/audit.py runs/x --data.root ELSEWHERE --data.csv ELSEWHERE/labels.csv
python tools/audit.py runs/x --folds 5

Labels that are unknown or negative with a high probability, positive ones with a low probability:
docs/audit.md. Pictures held out for validation are ranked apart from those trained on. With --folds
neither the run's network nor any other that saw a picture's labels scores it: linear heads do, on
features of the network that the run started from, trained without the picture's fold. Where the
run hid or flipped labels on purpose (label_manifest.npz), the table says how well that was found.
The last line is one JSON object.
"""

import argparse
import json
from pathlib import Path

from pumlc.cli import console
from pumlc.engine.loop import create_accelerator, end_processes
from pumlc.vision.audit.report import report
from pumlc.vision.audit.run import audit_run
from pumlc.vision.audit.suspects import write_suspects


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="run folder written by tools/train.py")
    parser.add_argument("--split", default="train", help="default: train and its validation part")
    parser.add_argument("--data.root", dest="root", help="another place of the data")
    parser.add_argument("--data.csv", dest="csv", help="another place of the CSV file")
    parser.add_argument(
        "--data.positive_list",
        dest="positive_list",
        help="another place of the run's list, for --split train",
    )
    parser.add_argument(
        "--out", type=Path, help="CSV file to write; default: RUN/audit[-SPLIT].csv"
    )
    parser.add_argument("--top", type=int, default=100, help="so many labels of each kind and part")
    parser.add_argument("--weights", help="saved weights; default: best on validation, else last")
    parser.add_argument(
        "--folds", type=int, help="score by heads that never saw a picture's labels; for example 5"
    )
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--workers", type=int, default=0)
    options = parser.parse_args(arguments)
    name = "audit.csv" if options.split == "train" else f"audit-{options.split}.csv"
    out = options.out or options.run / name
    console.check_out(out)
    accelerator = create_accelerator()
    result = audit_run(
        options.run,
        accelerator,
        split=options.split,
        weights=options.weights,
        folds=options.folds,
        top=options.top,
        batch_size=options.batch_size,
        workers=options.workers,
        root=options.root,
        csv=options.csv,
        positive_list=options.positive_list,
        progress=show_progress,
    )
    if accelerator.is_main_process:
        write_suspects(out, result.rows)
        print(report(result, out))
        print(json.dumps(result.summary()), flush=True)
    end_processes(accelerator)


def show_progress(part: str, done: int, total: int) -> None:
    print(f"features of {part}: {done}/{total}", flush=True)


if __name__ == "__main__":
    console.run(main)
