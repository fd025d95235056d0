"""All checks of this folder, some at once; the last line of each, and all lines where one fails.

python run.py [--jobs N] [NAME ...]; exit 1 if anything is lost or wrong. It takes most of an hour.
"""

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

HERE = Path(__file__).resolve().parent
# the longest first
CHECKS = ("kill", "fuzz", "soak", "signals", "hostile", "distributed", "pictures", "label_files")


def run(name: str) -> tuple[int, list[str]]:
    """The exit status of a check, and the lines to show of it."""
    began = time.time()
    done = subprocess.run(
        [sys.executable, str(HERE / f"{name}.py")],
        env={**os.environ, "PY": sys.executable},
        capture_output=True,
        text=True,
        errors="replace",
    )
    lines = (done.stdout.strip() or done.stderr.strip()).splitlines() or ["no output"]
    said = [f"  {line}" for line in lines[:-1]] if done.returncode else []
    took = f"{time.time() - began:.0f} s"
    return done.returncode, [*said, f"{name}: exit {done.returncode}, {took}: {lines[-1]}"]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(CHECKS))
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="checks at once")
    options = parser.parse_args()
    unknown = set(options.names) - set(CHECKS)
    if unknown:
        parser.error(f"no check {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    failed = 0
    with ThreadPoolExecutor(options.jobs) as pool:
        for done in as_completed([pool.submit(run, name) for name in options.names or CHECKS]):
            status, lines = done.result()
            print("\n".join(lines), flush=True)
            failed += status != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
