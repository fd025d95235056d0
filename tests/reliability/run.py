"""All checks of this folder, one after the other; the last line of each.

python run.py [NAME ...]; exit 1 if anything is lost or wrong. It takes most of an hour.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
CHECKS = ("kill", "signals", "distributed", "soak", "pictures", "hostile", "fuzz", "label_files")


def main() -> int:
    names = sys.argv[1:] or CHECKS
    unknown = set(names) - set(CHECKS)
    if unknown:
        sys.exit(f"no check {', '.join(sorted(unknown))}; there are {', '.join(CHECKS)}")
    failed = 0
    for name in names:
        began = time.time()
        done = subprocess.run(
            [sys.executable, str(HERE / f"{name}.py")],
            env={**os.environ, "PY": sys.executable},
            capture_output=True,
            text=True,
            errors="replace",
        )
        lines = (done.stdout.strip() or done.stderr.strip()).splitlines() or ["no output"]
        for line in lines[:-1]:
            if line.startswith("FAULT"):
                print(f"  {line}", flush=True)
        took = f"{time.time() - began:.0f} s"
        print(f"{name}: exit {done.returncode}, {took}: {lines[-1]}", flush=True)
        failed += done.returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
