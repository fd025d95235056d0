"""`pumlc audit`, in a checkout: `python tools/audit.py --help`."""

from pumlc.cli import console
from pumlc.cli.audit import main

if __name__ == "__main__":
    console.run(main)
