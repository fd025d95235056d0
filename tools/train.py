"""`pumlc train`, in a checkout: `python tools/train.py --help`."""

from pumlc.cli import console
from pumlc.cli.train import main

if __name__ == "__main__":
    console.run(main)
