"""`pumlc prepare`, in a checkout: `python tools/prepare.py --help`."""

from pumlc.cli import console
from pumlc.cli.prepare import main

if __name__ == "__main__":
    console.run(main)
