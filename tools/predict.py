"""`pumlc predict`, in a checkout: `python tools/predict.py --help`."""

from pumlc.cli import console
from pumlc.cli.predict import main

if __name__ == "__main__":
    console.run(main)
