"""Tags as many as Danbooru's: read, hidden, split and trained; peak memory after each step.

python benchmarks/danbooru.py FOLDER [--pictures 4000000] [--tags 10000] [--each 25]

FOLDER gets a generated table `filename,tags` with a row for each picture, whose tags are separated
by blanks (their frequency is 1 / (rank + 10)), and the pictures of `open_images.py`. What is not
tagged is unknown: taggers leave much out. A process of its own then runs what `pumlc train` runs,
as in `open_images.py`. FOLDER stays.
"""

import argparse
import os
import sys
from pathlib import Path

import numpy as np
from open_images import link_pictures, name_of, report, run


def write_tags(file: Path, pictures: int, tags: int, each: float) -> None:
    """A row for each picture."""
    random = np.random.RandomState(0)
    share = np.cumsum(1 / (np.arange(tags) + 10))
    names = [f"tag_{number:05}" for number in range(tags)]
    with file.open("w") as stream:
        stream.write("filename,tags\n")
        for first in range(0, pictures, 20_000):
            count = 1 + random.poisson(each - 1, min(20_000, pictures - first))
            drawn = np.searchsorted(share, random.rand(count.sum()) * share[-1])
            for row, own in enumerate(np.split(drawn, np.cumsum(count)[:-1]), first):
                listed = " ".join(names[tag] for tag in dict.fromkeys(own.tolist()))
                stream.write(f"{name_of(row)}.jpg,{listed}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--pictures", type=int, default=4_000_000)
    parser.add_argument("--tags", type=int, default=10_000)
    parser.add_argument("--each", type=float, default=25)
    parser.add_argument("--run", type=Path)
    options = parser.parse_args()
    root = options.folder / "pictures"
    if options.run:
        out = options.folder / f"run-{os.getpid()}"
        values = {"unlisted": "unknown"}
        run(options.run, root, out, "negative", separator="blank", values=values)
        return
    options.folder.mkdir(exist_ok=True)
    file = options.folder / f"tags-{options.pictures}-{options.tags}-{options.each}.csv"
    if not file.exists():
        write_tags(file, options.pictures, options.tags, options.each)
    link_pictures(root, options.pictures)
    report(file, [sys.executable, __file__, str(options.folder), "--run", str(file)])


if __name__ == "__main__":
    main()
