"""`pumlc export`, in a checkout: `python tools/export.py --help`."""

from pumlc.cli import console
from pumlc.cli.export import main

if __name__ == "__main__":
    console.run(main)
