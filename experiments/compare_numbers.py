"""Show that pages of docs were moved and cut without losing a number.

python experiments/compare_numbers.py BEFORE

Every number of the pages at the commit BEFORE must stand in the pages now, at least as often.
Otherwise the program lists what is missing and ends with status 1.
"""

import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
_NUMBER = re.compile(r"(?<![\w.])[-+]?\d[\d,]*(?:\.\d+)?(?:e[-+]?\d+)?")


def numbers(text: str) -> Counter[str]:
    """How often each number stands in a text, as it is written."""
    return Counter(found.rstrip(",") for found in _NUMBER.findall(text))


def git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    before = sys.argv[1]
    names = git("ls-tree", "-r", "--name-only", before, "docs").split()
    pages = [git("show", f"{before}:{name}") for name in names if name.endswith(".md")]
    now = [
        file.read_text("utf-8")
        for file in (ROOT / "docs").rglob("*.md")
        if not {"_build", "generated"} & set(file.parts)
    ]
    was, remains = (sum(map(numbers, texts), Counter[str]()) for texts in (pages, now))
    missing = was - remains
    print(
        f"{was.total()} numbers in {len(pages)} pages at {before}, {remains.total()} in {len(now)}"
    )
    print(f"missing: {dict(missing) or 'none'}")
    sys.exit(bool(missing))


if __name__ == "__main__":
    main()
