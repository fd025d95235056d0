"""`pumlc sweep`, in a checkout: `python tools/sweep.py --help`."""

from pumlc.cli import console
from pumlc.cli.sweep import main

if __name__ == "__main__":
    console.run(main)
