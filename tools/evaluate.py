"""`pumlc evaluate`, in a checkout: `python tools/evaluate.py --help`."""

from pumlc.cli import console
from pumlc.cli.evaluate import main

if __name__ == "__main__":
    console.run(main)
