"""Seconds and peak memory a million labels of large label files: CSV, COCO JSON, Open Images.

python benchmarks/label_files.py --pictures 10000 100000 1000000

Each file has 5 labels per picture, of 9,605 classes. In a process of its own it is read into the
sparse table ("read"); then half of the labels are hidden and a tenth of the pictures is held out,
stratified ("split"). Seconds are those of the processor; a peak is the most memory until then, the
text of the file included; "dense MB" is what the labels would take as int8. Linear cost: the rates
of a format stay the same.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pumlc.tables import table as as_table
from pumlc.vision.data.formats.label_format import ReadOptions

_CLASSES, _LABELS = 9_605, 5


def write_csv(file: Path, number: int) -> None:
    """The long form."""
    draw = random.Random(0)
    with file.open("w") as stream:
        stream.write("split,image,labels\n")
        for row in range(number):
            names = "|".join(f"c{column:04}" for column in draw.sample(range(_CLASSES), _LABELS))
            stream.write(f"train,images/{row:07}.jpg,{names}\n")


def write_coco(file: Path, number: int) -> None:
    """COCO JSON."""
    draw = random.Random(0)
    images = [{"id": row, "file_name": f"images/{row:07}.jpg"} for row in range(number)]
    annotations = [
        {"image_id": row, "category_id": column}
        for row in range(number)
        for column in draw.sample(range(_CLASSES), _LABELS)
    ]
    categories = [{"id": column, "name": f"c{column:04}"} for column in range(_CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content))


def write_open_images(file: Path, number: int) -> None:
    """Open Images: a line for each label."""
    draw = random.Random(0)
    with file.open("w") as stream:
        stream.write("ImageID,Source,LabelName,Confidence\n")
        for row in range(number):
            for column in draw.sample(range(_CLASSES), _LABELS):
                stream.write(f"{row:07},verification,/m/{column:04},{draw.randint(0, 1)}\n")


_WRITERS = {
    "csv": (write_csv, ".csv"),
    "coco": (write_coco, ".json"),
    "openimages": (write_open_images, ".csv"),
}


def read(file: Path) -> None:
    """Read one file, hide, split; print seconds and bytes. In a process of its own."""
    import numpy as np

    from pumlc.labels import SparseLabels, sparse
    from pumlc.vision.data.detect import read_table
    from pumlc.vision.data.images import LabelledImages
    from pumlc.vision.data.label_matrix import label_matrix
    from pumlc.vision.data.observation import Observation
    from pumlc.vision.data.observe import observe_sparse
    from pumlc.vision.data.partition import hold_out

    sparse.DENSE_LIMIT = 0  # small files by the same way as large ones
    options = ReadOptions(values={"unlisted": "unknown"})
    before = peak_bytes()
    start = time.process_time()
    table = read_table(file, options=options)[0]
    seconds = [time.process_time() - start]
    peaks = [peak_bytes() - before]
    labels = label_matrix(table)
    assert isinstance(labels, SparseLabels)
    observed, _ = observe_sparse(labels, Observation(known=0.5), table.classes, seed=0)
    held = hold_out(sparse.positives_of(observed), 0.1, groups=None, seed=0, what="validation")
    paths = np.array([path.encode() for path in table.paths])
    images = LabelledImages(str(file), file.parent, paths, observed, table.classes)
    parts = images.subset(held), images.subset(np.setdiff1d(np.arange(len(paths)), held))
    seconds.append(time.process_time() - start - seconds[0])
    peaks.append(peak_bytes() - before)
    assert sum(map(len, parts)) == len(table)
    print(json.dumps({"seconds": seconds, "peaks": peaks, "labels": int(table.listed.nnz)}))


def peak_bytes() -> int:
    """Peak memory of this process alone; ru_maxrss also counts that of its parent."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * int(next(line for line in lines if line.startswith("VmHWM")).split()[1])


def measure(name: str, number: int) -> list[object]:
    """A row of the table."""
    write, ending = _WRITERS[name]
    with tempfile.TemporaryDirectory() as place:
        file = Path(place) / f"labels{ending}"
        write(file, number)
        command = [sys.executable, __file__, "--read", str(file)]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        size = file.stat().st_size
    result = json.loads(done.stdout)
    millions = result["labels"] / 1e6
    return [
        name,
        number,
        size / 1e6,
        *(seconds / millions for seconds in result["seconds"]),
        *(peak / 1e6 / millions for peak in result["peaks"]),
        number * _CLASSES / 1e6,
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pictures", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--read", type=Path)
    arguments = parser.parse_args()
    if arguments.read is not None:
        read(arguments.read)
    else:
        header = ["format", "pictures", "file MB", "read s / M", "split s / M", "read MB / M"]
        rows = [measure(name, number) for name in _WRITERS for number in arguments.pictures]
        print(as_table([*header, "peak MB / M", "dense MB"], rows))
