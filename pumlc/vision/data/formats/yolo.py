"""YOLO: ``data.yaml``, and a text file per picture with a line ``CLASS x y w h`` per object.

An unlisted class is absent, and a picture without a text file shows nothing. The text file of
``images/a.jpg`` is ``labels/a.txt``. A picture outside a folder ``images`` also has its text file
below ``labels``.
"""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from pumlc.errors import UserError
from pumlc.files import read_text, write_text
from pumlc.progress import counted
from pumlc.vision.data.formats.label_format import (
    IMAGE_ENDINGS,
    LabelFormat,
    ReadOptions,
    make_folder,
)
from pumlc.vision.data.label_table import CODE, PRESENT_CODE, LabelTable
from pumlc.vision.data.table_builder import TableBuilder

_SPLITS = ("train", "val", "test")
_BOX = "0.5 0.5 1 1"  # the whole picture


def recognises(path: Path) -> str | None:
    """data.yaml with names."""
    file = _yaml_file(path)
    if file is None:
        return None
    try:
        text = read_text(file)
    except (UserError, OSError):
        return None
    return f"{file.name} has names" if "names:" in text else None


def _yaml_file(path: Path) -> Path | None:
    if path.is_dir():
        found = [path / name for name in ("data.yaml", "dataset.yaml") if (path / name).is_file()]
        return found[0] if found else None
    return path if path.suffix.lower() in (".yaml", ".yml") and path.is_file() else None


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table of a data.yaml, or of the folder that has one."""
    file = _yaml_file(path)
    if file is None:
        raise UserError(f"{path}: no data.yaml")
    settings = _settings(file)
    classes = _class_names(file, settings.get("names"))
    builder = TableBuilder(file, "yolo", list(classes.values()))
    base = _base(file, settings)
    for split in _SPLITS:
        parts = settings.get(split)
        for part in parts if isinstance(parts, list) else [parts]:
            if isinstance(part, str) and part:
                for image in counted(list(_pictures(file, base, part))):
                    _add(builder, base, image, classes, split, options)
            elif part:
                raise UserError(f"{file}: {split}: expected a folder or a list, got {part!r:.100}")
    return builder.table()


def _settings(file: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(read_text(file))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise UserError(f"{file}: not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise UserError(f"{file}: expected a mapping with names, train, val and test")
    return content


def _base(file: Path, settings: dict[str, Any]) -> Path:
    """The folder to which paths are relative: ``path`` if it is below the folder of the file."""
    said = settings.get("path")
    if not isinstance(said, str) or PurePosixPath(said).is_absolute() or "\0" in said:
        return file.parent
    inside = ".." not in PurePosixPath(said).parts and (file.parent / said).is_dir()
    return file.parent / said if inside else file.parent


def _class_names(file: Path, names: object) -> dict[int, str]:
    """Index -> name."""
    if isinstance(names, list):
        names = dict(enumerate(names))
    if not isinstance(names, dict) or not names:
        raise UserError(f"{file}: names must be a list, or a mapping of index -> name")
    classes: dict[int, str] = {}
    for index, name in names.items():
        if type(index) is not int or index < 0 or not isinstance(name, (str, int, float)):
            raise UserError(f"{file}: names has {index!r}: {name!r:.100}; expected index -> name")
        if str(name) in classes.values():
            raise UserError(f"{file}: names has {name!r} twice")
        classes[index] = str(name)
    return dict(sorted(classes.items()))


def _pictures(file: Path, base: Path, part: str) -> Iterator[str]:
    """Paths of the pictures of a split, relative to the base, from a folder or from a list file."""
    place = base / part
    if ".." in PurePosixPath(part).parts and not place.exists():
        place = base / PurePosixPath(part).relative_to("..")  # Roboflow: ../train/images
    if place.is_dir():
        for picture in sorted(place.rglob("*")):
            if picture.suffix.lower() in IMAGE_ENDINGS:
                try:
                    yield picture.relative_to(base).as_posix()
                except ValueError as error:
                    raise UserError(f"{file}: {part} is outside of {base}") from error
    elif place.is_file():
        lines = (line.strip() for line in read_text(place).splitlines())
        yield from (line.removeprefix("./") for line in lines if line)
    else:
        raise UserError(f"{file}: {part}: no such folder or list of pictures")


def _label_file(image: str) -> PurePosixPath:
    path = PurePosixPath(image)
    parts = list(path.parts[:-1])
    if "images" in parts:
        last = len(parts) - 1 - parts[::-1].index("images")
        parts[last] = "labels"
    else:
        parts = ["labels", *parts]
    return PurePosixPath(*parts, f"{path.stem}.txt")


def _add(
    builder: TableBuilder,
    base: Path,
    image: str,
    classes: dict[int, str],
    split: str,
    options: ReadOptions,
) -> None:
    """Add a picture with the classes that its text file lists."""
    name = _label_file(image)
    file = base / name
    states: dict[str, int] = {}
    outside = name.is_absolute() or ".." in name.parts
    lines = read_text(file).splitlines() if not outside and file.is_file() else []
    for number, line in enumerate(lines, 1):
        cells = line.split()
        if not cells:
            continue
        index = int(cells[0]) if cells[0].isascii() and cells[0].isdecimal() else -1
        if index not in classes or not _are_numbers(cells):
            builder.problem(
                "value",
                f"{name}, line {number}: {line.strip()!r:.100}; expected CLASS x y w h with CLASS "
                f"in {', '.join(map(str, list(classes)[:20]))}",
            )
            return
        states[classes[index]] = PRESENT_CODE
    rest = CODE[options.values.get("unlisted", "absent")]
    builder.add(image, states, rest=rest, split=split)


def _are_numbers(cells: list[str]) -> bool:
    try:
        return len(cells[0]) < 10 and all(float(cell) == float(cell) for cell in cells)
    except ValueError:
        return False


def write(table: LabelTable, out: Path) -> None:
    """Write data.yaml, a list of pictures per split, and a text file per picture.

    The box of each label is the whole picture.
    """
    splits = table.split_names()
    if not set(splits) <= set(_SPLITS):
        raise UserError(f"splits {', '.join(splits)}; YOLO has {', '.join(_SPLITS)}")
    files = [_label_file(path) for path in table.paths]
    for path, file in zip(table.paths, files, strict=True):
        if file.is_absolute() or ".." in file.parts or "\n" in path or path != path.strip():
            raise UserError(f"picture {path!r}: YOLO holds plain paths below the root")
        if path.startswith("./"):
            raise UserError(f"picture {path!r}: write it without ./")
    if len(set(files)) < len(files):
        raise UserError("two pictures differ only in their ending; YOLO keeps one file for both")
    make_folder(out)
    for row, file in enumerate(counted(files)):
        (out / file).parent.mkdir(parents=True, exist_ok=True)
        columns = (table.row_codes(row) == PRESENT_CODE).nonzero()[0].tolist()
        write_text(out / file, "".join(f"{column} {_BOX}\n" for column in columns))
    for split in splits:
        paths = [table.paths[row] for row in table.rows_of(split).tolist()]
        write_text(out / f"{split}.txt", "".join(f"./{path}\n" for path in paths))
    content: dict[str, Any] = {split: f"{split}.txt" for split in splits}
    content["names"] = dict(enumerate(table.classes))
    write_text(out / "data.yaml", yaml.safe_dump(content, allow_unicode=True, sort_keys=False))


FORMAT = LabelFormat("yolo", recognises, read, write, folder=True)
