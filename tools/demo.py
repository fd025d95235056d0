"""`pumlc demo`, in a checkout: `python tools/demo.py --help`."""

from pumlc.cli import console
from pumlc.cli.demo import main

if __name__ == "__main__":
    console.run(main)
