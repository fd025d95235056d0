"""Make two data sets out of Debian 12, which anyone can repeat, to try methods on something new.

    python experiments/debian_data.py texts --packages Packages \\
        --descriptions Translation-en --out debtags
    python experiments/debian_data.py pictures --clipart usr/share/openclipart --out clipart

texts: what packages do, and their debtags ("use::editing"), given by volunteers; the JSONL layout.
The two files are dists/bookworm/main/binary-amd64/Packages and dists/bookworm/main/i18n/
Translation-en of the archive, unpacked.
pictures: open clip art and its authors' keywords; the CSV layout. The folder is that of the
packages openclipart-png and openclipart-svg together (dpkg-deb -x): one has the pictures, the
other the keywords.
"""

import argparse
import csv
import email.parser
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from pumlc.cli import console

GENERATED = {"magick", "hash"}  # 1,400 random drawings; "HASH(0x...)", a mistake of an upload
MIN_PICTURES = 20  # a keyword with fewer is left out
MAX_PIXELS = 20_000_000  # a drawing with more is left out


def paragraphs(file: Path) -> Iterator[dict[str, str]]:
    """The fields of each paragraph of an index of Debian's archive."""
    parser = email.parser.HeaderParser()
    for paragraph in file.read_text(encoding="utf-8").split("\n\n"):
        if paragraph.strip():
            yield dict(parser.parsestr(paragraph.lstrip("\n")).items())


def texts(packages: Path, descriptions: Path, out: Path) -> None:
    """A line for each package that has tags; all packages of one source are in the same split."""
    described = {p["Package"]: p["Description-en"] for p in paragraphs(descriptions)}
    records: dict[str, list[str]] = {}
    for package in paragraphs(packages):
        name = package["Package"]
        if "Tag" not in package or name not in described:
            continue
        tags = re.split(r",\s*", package["Tag"].strip())
        text = " ".join(line.strip(" .") for line in described[name].splitlines())
        source = package.get("Source", name).split()[0]
        record = {"text": text, "labels": [tag for tag in tags if not tag.endswith("::TODO")]}
        records.setdefault(source, []).append(json.dumps(record))
    order = np.random.RandomState(0).permutation(sorted(records))
    num_test = len(order) // 5
    for split, sources in (("test", order[:num_test]), ("train", order[num_test:])):
        lines = [line for source in sources for line in records[source]]
        (out / f"{split}.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{split}: {len(lines)} packages")


def pictures(clipart: Path, out: Path) -> None:
    """A row for each drawing with a keyword; transparent ground becomes white."""
    keywords = {}
    for drawing in sorted((clipart / "svg").rglob("*.svg")):
        content = drawing.read_text(encoding="utf-8", errors="replace")
        subject = re.search("<dc:subject>(.*?)</dc:subject>", content, re.DOTALL)
        found = re.findall("<rdf:li>([^<|]*)</rdf:li>", subject.group(1)) if subject else []
        words = {word.strip().lower() for word in found} - {""}
        path = clipart / "png" / drawing.relative_to(clipart / "svg").with_suffix(".png")
        if not words & GENERATED and np.prod(Image.open(path).size) <= MAX_PIXELS:
            keywords[path] = words
    counts = Counter(word for words in keywords.values() for word in words)
    frequent = {word for word, count in counts.items() if count >= MIN_PICTURES}
    kept = [(path, words & frequent) for path, words in keywords.items() if words & frequent]
    order = np.random.RandomState(0).permutation(len(kept))
    num_test = len(order) // 4
    (out / "images").mkdir(exist_ok=True)
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["split", "image", "labels"])
        for position, index in enumerate(order):
            path, words = kept[index]
            drawing = Image.open(path).convert("RGBA")
            ground = Image.new("RGBA", drawing.size, "white")
            shown = Image.alpha_composite(ground, drawing).convert("RGB")
            shown.thumbnail((512, 512))
            shown.save(out / "images" / f"{index}.png")
            split = "test" if position < num_test else "train"
            writer.writerow([split, f"images/{index}.png", "|".join(sorted(words))])
    print(f"{len(kept) - num_test} pictures train, {num_test} test, {len(frequent)} keywords")


def main() -> None:
    Image.MAX_IMAGE_PIXELS = None  # sizes are checked before pixels are read
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    kinds = parser.add_subparsers(dest="kind", required=True)
    of_texts = kinds.add_parser("texts")
    of_texts.add_argument("--packages", type=Path, required=True)
    of_texts.add_argument("--descriptions", type=Path, required=True)
    of_pictures = kinds.add_parser("pictures")
    of_pictures.add_argument("--clipart", type=Path, required=True)
    for kind in (of_texts, of_pictures):
        kind.add_argument("--out", type=Path, required=True)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    if options.kind == "texts":
        texts(options.packages, options.descriptions, options.out)
    else:
        pictures(options.clipart, options.out)


if __name__ == "__main__":
    console.run(main)
