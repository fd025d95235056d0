"""How long commands take before they do anything, as multiples of Python's and torch's own start.

python benchmarks/startup.py [--rounds 5]

Every program starts in a process of its own. The rounds are interleaved, and the least time of each
program is shown, which is that of a quiet machine.
"""

import argparse
import subprocess
import sys
import time

from pumlc.tables import table

PROGRAMS = {
    "python -c pass": ["-c", "pass"],
    'python -c "import torch"': ["-c", "import torch"],
    'python -c "import pumlc"': ["-c", "import pumlc"],
    "pumlc --help": ["-m", "pumlc", "--help"],
    "pumlc recipes": ["-m", "pumlc", "recipes"],
    "pumlc train --help": ["-m", "pumlc", "train", "--help"],
    "pumlc train --task text --help": ["-m", "pumlc", "train", "--task", "text", "--help"],
    "pumlc evaluate --help": ["-m", "pumlc", "evaluate", "--help"],
    "pumlc sweep --help": ["-m", "pumlc", "sweep", "--help"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one start."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    least = {name: seconds(arguments) for name, arguments in PROGRAMS.items()}  # fills caches too
    for _ in range(rounds):
        for name, arguments in PROGRAMS.items():
            least[name] = min(least[name], seconds(arguments))
    python, torch = list(least.values())[:2]
    rows = [
        [name, value, f"{value / python:.1f}", f"{value / torch:.2f}"]
        for name, value in least.items()
    ]
    print(table(["program", "seconds", "x python", "x import torch"], rows))


if __name__ == "__main__":
    main()
