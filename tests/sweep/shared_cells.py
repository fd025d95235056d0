"""A worker of test_shared_sweep.py: it takes cells of a folder until none is left."""

import sys
import time
from pathlib import Path

from pumlc.sweep.cells import grid, run_cells

CELLS = grid(["a", "b", "c"], [1.0], range(8))


def main(folder: Path, name: str) -> None:
    (folder / f"ready-{name}").touch()
    while len(list(folder.glob("ready-*"))) < 2:  # both start at the same time
        time.sleep(0.001)

    def run(cell):
        with (folder / "ran.txt").open("a") as file:
            file.write(f"{name} {cell.name}\n")
        time.sleep(0.02)
        return [{"validation": 1.0, "all": float(cell.seed)}]

    rows = run_cells(CELLS, folder, lambda cell: {"method": cell.method}, run)
    assert len(rows) == len(CELLS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
