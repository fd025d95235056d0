"""Mutated label files: each gives a table or UserError, and nothing else.

python tests/reliability/label_files.py --count 20000 [--format coco] [--seed 0]

Files of every format are written, bytes of them changed, cut, doubled and swapped, and read again,
found by content and with the format said.
"""

import argparse
import os
import random
import shutil
import sys
import tempfile
import traceback
import warnings
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pumlc.errors import UserError
from pumlc.vision.data.convert import write_table
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.formats import FORMATS
from pumlc.vision.data.label_table import CODE, LabelTable
from pumlc.vision.data.table_builder import TableBuilder

_ENDINGS = {
    **dict.fromkeys(("csv", "wide"), ".csv"),
    **dict.fromkeys(("coco", "lvis", "labelstudio", "fiftyone", "mmpretrain"), ".json"),
    "cvat": ".xml",
    "parquet": ".parquet",
}
_PIECES = (
    *(b"null", b"-1", b"1e999", b"nan", b'"', b"{", b"[", b"}", b"]", b"\0", b"\xff", b"\n", b","),
    *(b"|", b"[]", b"{}", b"true", b"0.5", b"\xed\xa0\x80", b"\\ud800", b"../", b"99999999999999"),
)


def made(name: str, pictures: Path) -> LabelTable:
    """A small table with all that a format holds."""
    codes = sorted(CODE[state] for state in FORMATS[name].holds if name != "fiftyone")
    codes = codes or [CODE["present"], CODE["absent"]]
    builder = TableBuilder("made", "csv", ["cat", "dog", "emu"])
    for row in range(6):
        states = {c: codes[(row + i) % len(codes)] for i, c in enumerate(("cat", "dog", "emu"))}
        split = None if name == "fiftyone" else ("train", "val", "test")[row // 2]
        builder.add(f"p{row}.jpg", states, rest=CODE["unknown"], split=split)
    return replace(builder.table(), root=pictures)


def mutated(content: bytes, choose: random.Random) -> bytes:
    """The content with one to four changes."""
    for _ in range(choose.randint(1, 4)):
        start = choose.randint(0, len(content))
        end = min(len(content), start + choose.choice((0, 1, 1, 2, 8, 40)))
        kind = choose.randint(0, 4)
        if kind == 0:
            middle = choose.choice(_PIECES)
        elif kind == 1:
            middle = bytes([choose.randint(0, 255)])
        elif kind == 2:
            middle = content[start:end] * 2
        elif kind == 3:
            other = choose.randint(0, len(content))
            middle = content[other : other + end - start]
        else:
            middle = b""
        content = content[:start] + middle + content[end:]
    return content


def attempt(path: Path, said: str | None) -> str:
    """What reading a file came to; a fault of the program is printed."""
    try:
        read_table(path, format=said)[0].counts()
    except UserError:
        return "refused"
    except Exception:
        traceback.print_exc()
        return "fault"
    return "read"


def run(name: str, count: int, seed: int) -> Counter[str]:
    """Mutate the files of one format."""
    choose, results = random.Random(f"{name} {seed}"), Counter()
    with tempfile.TemporaryDirectory(dir=os.environ.get("RELIAB_TMP")) as place:
        pictures = Path(place) / "pictures"
        pictures.mkdir()
        for row in range(6):
            (pictures / f"p{row}.jpg").write_bytes(b"x")
        out = Path(place) / f"labels{_ENDINGS.get(name, '')}"
        write_table(made(name, pictures), out, name)
        files = sorted(p for p in (out.rglob("*") if out.is_dir() else [out]) if p.is_file())
        originals = {file: file.read_bytes() for file in files}
        for number in range(count):
            file = choose.choice(files)
            file.write_bytes(mutated(originals[file], choose))
            outcome = attempt(out, name if number % 2 else None)
            results[outcome] += 1
            if outcome == "fault":
                kept = Path(tempfile.gettempdir()) / f"fault-{name}-{number}{file.suffix}"
                shutil.copy(file, kept)
                print(f"{name} {number}: kept as {kept}", file=sys.stderr)
            file.write_bytes(originals[file])
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--format", choices=FORMATS)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    total: Counter[str] = Counter()
    for name in [arguments.format] if arguments.format else FORMATS:
        results = run(name, arguments.count, arguments.seed)
        total += results
        print(name, dict(results), flush=True)
    counted = ", ".join(f"{number:,} {what}" for what, number in sorted(total.items()))
    print(f"{sum(total.values()):,} mutated label files: {counted}; {total['fault']} faults")
    sys.exit(1 if total["fault"] else 0)
