"""Seconds and peak memory of reading label files, a million labels: CSV, COCO JSON, Open Images.

python benchmarks/label_files.py --pictures 10000 100000 1000000

Each file has 5 labels per picture, of 1,000 classes, and is read into the sparse table in a process
of its own. Seconds are processor time; "dense" is what the labels would take as int8. The cost is
linear if the two columns of rates stay the same.
"""

import argparse
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pumlc.tables import table

_CLASSES, _LABELS = 1_000, 5


def write_csv(file: Path, number: int) -> None:
    """The long form."""
    draw = random.Random(0)
    with file.open("w") as stream:
        stream.write("split,image,labels\n")
        for row in range(number):
            names = "|".join(f"c{column:03}" for column in draw.sample(range(_CLASSES), _LABELS))
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
    categories = [{"id": column, "name": f"c{column:03}"} for column in range(_CLASSES)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    file.write_text(json.dumps(content))


def write_open_images(file: Path, number: int) -> None:
    """Open Images: a line for each label."""
    draw = random.Random(0)
    with file.open("w") as stream:
        stream.write("ImageID,Source,LabelName,Confidence\n")
        for row in range(number):
            for column in draw.sample(range(_CLASSES), _LABELS):
                stream.write(f"{row:07},verification,/m/{column:03},{draw.randint(0, 1)}\n")


_WRITERS = {
    "csv": (write_csv, ".csv"),
    "coco": (write_coco, ".json"),
    "openimages": (write_open_images, ".csv"),
}


def read(file: Path) -> None:
    """Read one file and print seconds and bytes; in a process of its own."""
    from pumlc.vision.data.detect import read_table

    before = peak_bytes()
    start = time.process_time()
    labels = read_table(file)[0]
    seconds = time.process_time() - start
    peak = peak_bytes() - before
    print(json.dumps({"seconds": seconds, "peak": peak, "labels": int(labels.listed.nnz)}))


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
        result["seconds"] / millions,
        result["peak"] / 1e6 / millions,
        result["peak"] / size,
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
        header = ["format", "pictures", "file MB", "s / M labels", "peak MB / M labels"]
        rows = [measure(name, number) for name in _WRITERS for number in arguments.pictures]
        print(table([*header, "peak / file", "dense MB"], rows))
