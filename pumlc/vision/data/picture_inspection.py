"""What is doubtful in the pictures of a label file: broken, tiny, huge, grey, twice, alike."""

import hashlib
import os
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from pumlc.errors import UserError
from pumlc.vision.data.decode import TooLarge, load_image
from pumlc.vision.data.label_table import LabelTable, Problem
from pumlc.vision.data.read_ahead import read_ahead, reading_threads

_TINY = 32  # pixels of the shorter side
_NAMED = 5
_ALIKE = 4  # bits, of 64, in which the hashes of pictures that look alike may differ
_FLAT = 8  # levels of grey: with fewer a picture has no pattern to hash
_MOST_IN_BAND = 200  # hashes that share a band: more of them say nothing


def picture_problems(
    table: LabelTable,
    root: Path,
    rows: Sequence[int],
    *,
    decode: bool,
    progress: Callable[[int, int], None] | None = None,
) -> Iterator[Problem]:
    """All that is wrong or doubtful in pictures.

    Args:
        table: with paths below ``root``.
        root: folder of the pictures.
        rows: those whose pictures are there.
        decode: also open each picture.
        progress: called with the number of pictures that were opened, and of all.
    """
    same = [rows for rows in _same_bytes(table, root, rows) if _several(table, rows)]
    for group in same:
        yield _problem(table, group, "identical pictures", "are one picture")
    if not decode:
        return
    looks: dict[int, _Look] = {}
    items = read_ahead(
        lambda row: _look(table, root, row), rows, threads=reading_threads(), ahead=64
    )
    for done, (row, look) in enumerate(zip(rows, items, strict=True), 1):
        if isinstance(look, Problem):
            yield look
        else:
            looks[row] = look
        if progress is not None:
            progress(done, len(rows))
    for kind, found in (
        (f"below {_TINY} pixels", [row for row, look in looks.items() if look.is_tiny]),
        ("grey", [row for row, look in looks.items() if look.is_grey]),
    ):
        if found:
            names = first_names([table.paths[row] for row in found])
            message = f"{len(found)} pictures are {kind}: {names}"
            yield Problem(kind, message, blocking=False, rows=tuple(found))
    hashes = {row: look.hash for row, look in looks.items() if look.hash is not None}
    group_of = {row: number for number, group in enumerate(same) for row in group}
    for group in alike(hashes):
        if len({group_of.get(row, -1 - row) for row in group}) > 1 and _several(table, group):
            yield _problem(table, group, "near duplicates", "look alike")


def first_names(names: Sequence[str]) -> str:
    """The first names and how many more there are."""
    more = len(names) - _NAMED
    shown = ", ".join(map(repr, names[:_NAMED]))
    return f"{shown} and {more} more" if more > 0 else shown


def _several(table: LabelTable, rows: Sequence[int]) -> bool:
    return len({os.path.normpath(table.paths[row]) for row in rows}) > 1


def _problem(table: LabelTable, rows: Sequence[int], kind: str, are: str) -> Problem:
    """Pictures that are too much like each other; worst in two splits."""
    paths = list(dict.fromkeys(os.path.normpath(table.paths[row]) for row in rows))
    splits = sorted({table.splits[row] for row in rows}) if table.splits is not None else []
    where = f", in the splits {' and '.join(splits)}" if len(splits) > 1 else ""
    kind = f"{kind} in two splits" if len(splits) > 1 else kind
    message = f"{first_names(paths)} {are}{where}"
    return Problem(kind, message, blocking=False, rows=tuple(rows))


def _content(table: LabelTable, root: Path, row: int) -> Path | bytes:
    """What a picture is decoded from."""
    if table.stored is not None and table.stored.has(row):
        return table.stored.read(row)
    return root / table.paths[row]


def _same_bytes(table: LabelTable, root: Path, rows: Sequence[int]) -> Iterator[list[int]]:
    """Rows whose pictures have the same bytes; only what has the same size is read."""
    of_size: dict[int, list[int]] = defaultdict(list)
    for row in rows:
        if table.stored is not None and table.stored.has(row):
            size = table.stored.size(row)
        else:
            size = (root / table.paths[row]).stat().st_size
        of_size[size].append(row)
    for candidates in of_size.values():
        of_content: dict[bytes, list[int]] = defaultdict(list)
        for row in candidates if len(candidates) > 1 else ():
            content = _content(table, root, row)
            content = content if isinstance(content, bytes) else content.read_bytes()
            of_content[hashlib.sha1(content, usedforsecurity=False).digest()].append(row)
        yield from (same for same in of_content.values() if len(same) > 1)


class _Look(NamedTuple):
    """What one picture looks like.

    Attributes:
        is_tiny, is_grey: whether it is.
        hash: 64 bits that are nearly the same for pictures that look alike; None: not computed.
    """

    is_tiny: bool
    is_grey: bool
    hash: int | None


def _look(table: LabelTable, root: Path, row: int) -> _Look | Problem:
    """Open a picture; or what is wrong with it."""
    try:
        picture = load_image(_content(table, root, row), name=table.paths[row])
    except UserError as error:
        kind = "huge picture" if isinstance(error.__cause__, TooLarge) else "broken picture"
        return Problem(kind, f"{table.place(row)}: {error}", rows=(row,))
    grey = bool((picture == picture[..., :1]).all())
    return _Look(min(picture.shape[:2]) < _TINY, grey, _hash(picture))


def _hash(picture: np.ndarray) -> int | None:
    """The perceptual hash of a picture, by the package imagehash."""
    if find_spec("imagehash") is None:
        return None
    import imagehash

    small = Image.fromarray(picture).convert("L").resize((64, 64), Image.Resampling.BOX)
    darkest, lightest = small.getextrema()
    if lightest - darkest < _FLAT:  # pyright: ignore[reportOperatorIssue]
        return None
    return int.from_bytes(np.packbits(imagehash.phash(small).hash).tobytes(), "big")


def alike(hashes: dict[int, int]) -> Iterator[list[int]]:
    """Groups of rows whose hashes differ in at most 4 of 64 bits, ascending.

    Two such hashes have one of five bands of bits in common, so only these are compared.
    """
    head = {row: row for row in hashes}

    def root_of(row: int) -> int:
        while head[row] != row:
            head[row] = row = head[head[row]]
        return row

    edges = np.linspace(0, 64, _ALIKE + 2).astype(int).tolist()
    for low, high in zip(edges[:-1], edges[1:], strict=True):
        bands: dict[int, list[int]] = defaultdict(list)
        for row, value in hashes.items():
            bands[(value >> low) & ((1 << (high - low)) - 1)].append(row)
        for rows in bands.values():
            for place, row in enumerate(rows):
                for other in rows[place + 1 : place + _MOST_IN_BAND]:
                    if (hashes[row] ^ hashes[other]).bit_count() <= _ALIKE:
                        head[root_of(other)] = root_of(row)
    groups: dict[int, list[int]] = defaultdict(list)
    for row in sorted(hashes):
        groups[root_of(row)].append(row)
    yield from (rows for rows in groups.values() if len(rows) > 1)
