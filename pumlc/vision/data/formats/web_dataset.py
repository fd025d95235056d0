"""WebDataset: tar files with ``000.jpg`` and ``000.json`` (``{"labels": ["cat"]}``) per picture.

An unlisted class is absent. A picture is called ``SHARD.tar/000.jpg`` and is read in place: shards
are never unpacked.
Our own shards also have ``classes`` in their first JSON file.
"""

import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pumlc.errors import UserError
from pumlc.files import complete_file
from pumlc.progress import MEGABYTES, reached
from pumlc.vision.data.formats.label_format import (
    IMAGE_ENDINGS,
    LabelFormat,
    ReadOptions,
    make_folder,
    name_list,
    split_of,
    text_of,
)
from pumlc.vision.data.label_table import CODE, PRESENT_CODE, UNKNOWN_CODE, LabelTable
from pumlc.vision.data.stored_pictures import StoredBuilder
from pumlc.vision.data.table_builder import TableBuilder

_LABELS = ("labels", "label", "tags")
_SHARD_PICTURES = 10_000
_MAX_JSON = 1 << 20


def recognises(path: Path) -> str | None:
    """Tar files."""
    shards = _shards(path)
    return f"{len(shards)} tar files" if shards else None


def _shards(path: Path) -> list[Path]:
    if path.is_dir():
        order = ("train", "val", "test")
        found = [file for file in sorted(path.glob("*.tar")) if tarfile.is_tarfile(file)]
        return sorted(found, key=lambda f: order.index(s) if (s := _split(f)) else -1)
    return [path] if path.suffix == ".tar" and path.is_file() and tarfile.is_tarfile(path) else []


def _split(shard: Path) -> str | None:
    return split_of(shard.stem.split("-")[0])


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table."""
    shards = _shards(path)
    if not shards:
        raise UserError(f"{path}: no tar file")
    builder: TableBuilder | None = None
    stored = StoredBuilder("tar")
    rest = CODE[options.values.get("unlisted", "absent")]
    for shard in shards:
        for number, (image, entry) in enumerate(_samples(shard)):
            first, size = image.offset_data, image.size
            if builder is None:
                builder = TableBuilder(path, "webdataset", _classes(shard, entry))
            value = next(
                (entry[k] for k in _LABELS if isinstance(entry, dict) and k in entry), None
            )
            names = name_list(value)
            if not isinstance(entry, dict) or (value is not None and names is None):
                builder.problem(
                    "entry", f"{shard.name}, {image.name}: {entry!r:.100} has no 'labels'"
                )
                continue
            if builder.add(
                f"{shard.name}/{image.name}",
                dict.fromkeys(names or (), PRESENT_CODE),
                rest=UNKNOWN_CODE if value is None else rest,
                split=_split(shard),
                group=text_of(entry, options.group or "group"),
                place=number,
            ):
                stored.add(str(shard), first, size)
    if builder is None:
        raise UserError(f"{path}: no picture with a JSON file")
    return replace(builder.table(), stored=stored.finished())


def _classes(shard: Path, entry: object) -> list[str] | None:
    classes = name_list(entry.get("classes")) if isinstance(entry, dict) else None
    if classes is not None and len(set(classes)) < len(classes):
        raise UserError(f"{shard}: a name occurs twice in the classes of the first JSON file")
    return classes


def _samples(shard: Path) -> Iterator[tuple[tarfile.TarInfo, Any]]:
    """The header of each picture and the content of its JSON file, which is next to it."""
    key, image, entry = None, None, None
    try:
        size = shard.stat().st_size
        with tarfile.open(shard, "r:") as archive:  # in a compressed one a picture has no place
            for member in archive:
                reached(member.offset, size, MEGABYTES)
                if not member.isfile() or member.issparse():
                    continue
                folder, slash, name = member.name.rpartition("/")
                stem, _, ending = name.partition(".")
                if (folder + slash + stem) != key:
                    if image is not None:
                        yield image, entry
                    key, image, entry = folder + slash + stem, None, None
                if f".{ending.lower()}" in IMAGE_ENDINGS:
                    image = member
                elif ending == "json":
                    entry = _json(archive, member, shard)
    except (tarfile.TarError, EOFError, OSError, UnicodeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{shard}: not readable as tar ({error})") from error
    if image is not None:
        yield image, entry


def _json(archive: tarfile.TarFile, member: tarfile.TarInfo, shard: Path) -> Any:
    stream = archive.extractfile(member)
    if stream is None or member.size > _MAX_JSON:
        raise UserError(f"{shard}: {member.name} has more than {_MAX_JSON} bytes")
    try:
        return json.loads(stream.read())
    except (ValueError, RecursionError) as error:
        raise UserError(f"{shard}: {member.name} is not JSON ({error})") from error


def write(table: LabelTable, out: Path) -> None:
    """Write shards of at most 10,000 pictures, each with the pictures themselves.

    Raises:
        UserError: a picture is missing, or its name has a second dot.
    """
    if table.root is None and table.stored is None:
        raise UserError("webdataset holds the pictures themselves: name the folder that has them")
    names = [_member(path) for path in table.paths]
    for row, path in enumerate(table.paths):
        if not table.has_inside(row) and not (table.root and (table.root / path).is_file()):
            raise UserError(f"{table.place(row)}: {path} is not a file in {table.root}")
    for split in table.split_names():
        if table.splits is not None and split_of(split) is None:
            raise UserError(f"split {split!r}: shards are named by train, val and test")
    make_folder(out)
    first = True
    for split in table.split_names():
        rows = table.rows_of(split).tolist()
        prefix = split if table.splits is not None else "shard"
        for number, start in enumerate(range(0, len(rows), _SHARD_PICTURES)):
            shard = out / f"{prefix}-{number:06}.tar"
            with (
                complete_file(shard, binary=True) as stream,
                tarfile.open(fileobj=stream, mode="w") as archive,
            ):
                for place, row in enumerate(rows[start : start + _SHARD_PICTURES], start):
                    reached(place, len(rows))
                    _append(archive, table, row, names[row], with_classes=first)
                    first = False


def _member(path: str) -> str:
    head, slash, rest = path.partition("/")
    name = rest if slash and head.endswith(".tar") else path
    if name.rpartition("/")[2].count(".") != 1 or name.startswith("/") or ".." in name.split("/"):
        raise UserError(f"picture {path!r}: a shard holds names with one dot, below the root")
    return name


def _append(
    archive: tarfile.TarFile, table: LabelTable, row: int, name: str, *, with_classes: bool
) -> None:
    entry: dict[str, Any] = {"labels": table.names_with(row, PRESENT_CODE)}
    if with_classes:
        entry["classes"] = list(table.classes)
    if table.groups is not None:
        entry["group"] = table.groups[row]
    if table.stored is not None and table.has_inside(row):
        picture = table.stored.read(row)
    else:
        assert table.root is not None
        picture = (table.root / table.paths[row]).read_bytes()
    stem = name.rpartition(".")[0]
    for member, content in ((name, picture), (f"{stem}.json", json.dumps(entry).encode())):
        information = tarfile.TarInfo(member)
        information.size = len(content)
        archive.addfile(information, io.BytesIO(content))


FORMAT = LabelFormat("webdataset", recognises, read, write, folder=True)
