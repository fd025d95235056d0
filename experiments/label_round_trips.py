"""Real label files into every format and back, and one run from three of the formats.

    python experiments/label_round_trips.py VOC2007 coco corel5k/labels.csv
    python experiments/label_round_trips.py --train VOC2007

The pictures of a label file are below its folder. For each format: how many labels it cannot hold,
and what was written for them; then whether pictures, their order, splits, classes and the state of
every label are the same after reading. A format without splits gets one split after the other.
With --train the labels, uncertain and unknown as absent, go into a CSV file, a COCO file and
shards; a network is trained for an epoch from each, and a hash of its last weights is printed.
"""

import argparse
import hashlib
import tempfile
import time
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from pumlc.cli import main
from pumlc.errors import UserError
from pumlc.tables import table as as_table
from pumlc.vision.data.convert import write_table
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.formats import FORMATS
from pumlc.vision.data.label_table import LabelTable, State
from pumlc.vision.data.picture_files import PictureFiles, locate

ENDINGS = {
    **dict.fromkeys(("csv", "wide"), ".csv"),
    **dict.fromkeys(("coco", "lvis", "labelstudio", "fiftyone", "mmpretrain"), ".json"),
    "cvat": ".xml",
    "parquet": ".parquet",
}
TRAINED = ("csv", "coco", "webdataset")
# what is written for a state that a format does not hold, the first that it does hold
INSTEAD: dict[State, tuple[State, ...]] = {
    "uncertain": ("unknown", "absent"),
    "unknown": ("absent",),
    "absent": ("unknown",),
}


def becomes(table: LabelTable, name: str) -> dict[State, State]:
    """What is written for the states of a table that a format cannot hold."""
    counts, holds = table.counts(), FORMATS[name].holds
    if name == "fiftyone":  # unknown only for all labels of a picture
        holds = holds - {"unknown"}
    return {
        state: next(other for other in others if other in holds)
        for state, others in INSTEAD.items()
        if counts[state].any() and state not in holds
    }


def difference(written: LabelTable, again: LabelTable) -> str:
    """What is not the same of two tables; nothing if all is."""
    stems = [
        [Path(path.partition(".tar/")[2] or path).stem for path in table.paths]
        for table in (written, again)
    ]
    if stems[0] != stems[1]:
        return "pictures or their order"
    if again.splits != written.splits and (again.splits or written.split_names() != ("train",)):
        return "splits"
    lost = sorted(set(written.classes) - set(again.classes))
    named = sorted(set(written.classes) & set(again.classes))
    if set(again.classes) - set(named):
        return "new classes"
    columns = [np.array([t.classes.index(name) for name in named], int) for t in (written, again)]
    wrong = 0
    for row in range(len(written)):
        first, second = written.row_codes(row)[columns[0]], again.row_codes(row)[columns[1]]
        wrong += int((first != second).sum())
    if wrong:
        return f"{wrong} labels"
    if any(written.counts()["present"][written.classes.index(name)] for name in lost):
        return f"classes {lost}"
    return ""


def _there_and_back(table: LabelTable, out: Path, name: str, said: dict[State, State]) -> str:
    """What is not the same after writing and reading."""
    if name != "fiftyone":  # it has no splits
        return difference(write_table(table, out, name, becomes=said), read_table(out)[0])
    for split in table.split_names():
        part = replace(table.subset(table.rows_of(split)), splits=None)
        file = out.with_stem(split)
        if found := difference(write_table(part, file, name, becomes=said), read_table(file)[0]):
            return f"{split}: {found}"
    return ""


def round_trips(source: Path, root: Path) -> Iterator[list[object]]:
    """A row for each format: what was changed, whether the rest came back, seconds."""
    table, _ = locate(read_table(source)[0], PictureFiles(root))
    for name in FORMATS:
        with tempfile.TemporaryDirectory() as place:
            out, started = Path(place) / f"labels{ENDINGS.get(name, '')}", time.process_time()
            said = becomes(table, name)
            changed = sum(int(table.counts()[state].sum()) for state in said)
            try:
                found = _there_and_back(table, out, name, said)
            except UserError as error:
                found = f"cannot: {str(error).rpartition(': ')[2]}"
            seconds = time.process_time() - started
        shown = ", ".join(f"{state} as {new}" for state, new in said.items())
        yield [name, changed, shown, found or "the same", seconds]


def trained(source: Path, root: Path) -> Iterator[list[object]]:
    """A row for each of three formats: a hash of the weights that a run ends in."""
    table, _ = locate(read_table(source)[0], PictureFiles(root))
    with tempfile.TemporaryDirectory() as place:
        for name in TRAINED:
            labels = Path(place) / f"{name}{ENDINGS.get(name, '')}"
            states: dict[State, State] = {"uncertain": "absent", "unknown": "absent"}
            write_table(table, labels, name, becomes=states)
            run = Path(place) / f"run-{name}"
            arguments = ["train", "--config", "csv_lite0_cpu", "--out", str(run)]
            arguments += ["--data.labels", str(labels), "--data.root", str(root)]
            arguments += ["--data.image_size", "64", "--data.known", "0.5"]
            arguments += ["--model.backbone", "test_resnet", "--model.weights", "null"]
            main.main([*arguments, "--train.epochs", "1", "--train.workers", "2"])
            content = (run / "weights" / "last.safetensors").read_bytes()
            yield [name, hashlib.sha256(content).hexdigest()[:16]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", action="store_true")
    parser.add_argument("sources", type=Path, nargs="+")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    for source in arguments.sources:
        root = source if source.is_dir() else source.parent
        if arguments.train:
            rows = list(trained(source, root))
            print(f"\n{source.name}\n\n" + as_table(["format", "weights"], rows))
            assert len({row[1] for row in rows}) == 1, "the runs differ"
        else:
            header = ["format", "labels it cannot hold", "written as", "after reading", "CPU s"]
            print(f"\n{source.name}\n\n" + as_table(header, list(round_trips(source, root))))
