"""Processor time of reading pictures from a Parquet file, by the rows of its groups.

    python benchmarks/parquet.py
    python benchmarks/parquet.py --groups 10 100 400 --pictures 12000 --read 400

For each size of group a file of pictures is written (random bytes: none is decoded). Some of its
pictures are read as a loader reads them: in random order, and in the order of the file. The table
has milliseconds of processor time a picture.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pumlc.tables import table
from pumlc.vision.data.detect import read_table

PICTURE = 50_000
"""Bytes of a picture."""
_BLOCK = 2_000  # pictures in memory while the file is written


def write(file: Path, pictures: int, group: int) -> None:
    """A file as Hugging Face writes it: a column of pictures, and one of labels."""
    random = np.random.default_rng(0)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    schema = pa.schema([("image", image), ("labels", pa.list_(pa.string()))])
    with pq.ParquetWriter(file, schema) as writer:
        for start in range(0, pictures, _BLOCK):
            numbers = range(start, min(start + _BLOCK, pictures))
            columns = {
                "image": [{"bytes": random.bytes(PICTURE), "path": f"{n}.jpg"} for n in numbers],
                "labels": [[f"c{n % 20}"] for n in numbers],
            }
            writer.write_table(pa.table(columns, schema=schema), row_group_size=group)


def milliseconds(file: Path, rows: np.ndarray) -> float:
    """Of the processor, a picture; nothing of the file is kept from before."""
    stored = read_table(file)[0].stored
    assert stored is not None
    start = time.process_time()
    for row in rows.tolist():
        assert len(stored.read(row)) == PICTURE
    return 1000 * (time.process_time() - start) / len(rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--groups", type=int, nargs="+", default=[10, 100, 400])
    parser.add_argument("--pictures", type=int, default=12_000)
    parser.add_argument("--read", type=int, default=400)
    options = parser.parse_args()
    pa.set_cpu_count(1)
    orders = {
        "random order": np.random.default_rng(1).permutation(options.pictures)[: options.read],
        "file order": np.arange(options.read),
    }
    lines = []
    for group in options.groups:
        with tempfile.TemporaryDirectory() as folder:
            files = [Path(folder) / f"{name.split()[0]}.parquet" for name in orders]
            write(files[0], options.pictures, group)
            files[1].hardlink_to(files[0])  # another name: its groups were not read before
            found = [milliseconds(*each) for each in zip(files, orders.values(), strict=True)]
        lines.append([group, *found])
    print(table(["rows of a group", *(f"{name}, ms" for name in orders)], lines))


if __name__ == "__main__":
    main()
