"""`pumlc demo --texts`, in a checkout: `python tools/demo_text.py --help`."""

from pumlc.cli import console
from pumlc.cli.demo import main_of_texts as main

if __name__ == "__main__":
    console.run(main)
