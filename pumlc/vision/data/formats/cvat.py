"""CVAT for images 1.1: ``<image name="a.jpg"><tag label="cat"/></image>``, read without entities.

A class with neither a tag nor a shape is absent. The classes are those of the task.
"""

from pathlib import Path
from typing import Any
from xml.sax.saxutils import quoteattr

from pumlc.errors import UserError
from pumlc.files import complete_file
from pumlc.progress import counted
from pumlc.vision.data.formats.label_format import LabelFormat, ReadOptions, first_bytes
from pumlc.vision.data.label_table import CODE, PRESENT_CODE, LabelTable
from pumlc.vision.data.table_builder import TableBuilder


def recognises(path: Path) -> str | None:
    """XML with annotations."""
    if path.suffix.lower() != ".xml":
        return None
    return "XML with <annotations>" if b"<annotations" in first_bytes(path, 1 << 16) else None


def read(path: Path, options: ReadOptions) -> LabelTable:
    """The table."""
    root = _parsed(path)
    if root.tag != "annotations":
        raise UserError(f"{path}: expected <annotations>, got <{root.tag}>")
    names = [label.findtext("name") or "" for label in root.iterfind("meta//labels/label")]
    if len(set(names)) < len(names) or "" in names:
        raise UserError(f"{path}: every label of the task needs a name of its own, got {names}")
    builder = TableBuilder(path, "cvat", names or None)
    rest = CODE[options.values.get("unlisted", "absent")]
    for number, image in enumerate(counted(root.findall("image"))):
        states = [(shape.get("label") or "", PRESENT_CODE) for shape in image if _is_label(shape)]
        builder.add(
            image.get("name") or "",
            states,
            rest=rest,
            split=_split(image.get("subset")),
            place=number,
        )
    return builder.table()


def _split(subset: str | None) -> str | None:
    return None if not subset or subset == "default" else subset.lower()


def _is_label(shape: Any) -> bool:
    return shape.get("label") is not None


def _parsed(path: Path) -> Any:
    """The root element.

    Raises:
        UserError: the file is not XML, has entities or a document type, or defusedxml is not
            installed.
    """
    try:
        from defusedxml import DefusedXmlException
        from defusedxml.ElementTree import ParseError, parse
    except ImportError as error:
        raise UserError(f"{path}: XML needs defusedxml: pip install 'pumlc[formats]'") from error
    try:
        return parse(path, forbid_dtd=True).getroot()
    except DefusedXmlException as error:
        raise UserError(f"{path}: XML with entities or a document type is not read") from error
    except (ParseError, ValueError, LookupError) as error:
        raise UserError(f"{path}: not XML ({error})") from error


def write(table: LabelTable, out: Path) -> None:
    """Write a tag for each present label."""
    _refuse_controls(table)
    with complete_file(out) as stream:
        stream.write('<?xml version="1.0" encoding="utf-8"?>\n<annotations>\n')
        stream.write("  <version>1.1</version>\n  <meta><task><labels>\n")
        for name in table.classes:
            stream.write(f"    <label><name>{_text(name)}</name></label>\n")
        stream.write("  </labels></task></meta>\n")
        for row, path in enumerate(counted(table.paths)):
            subset = "" if table.splits is None else f" subset={quoteattr(table.splits[row])}"
            stream.write(f'  <image id="{row}" name={quoteattr(path)}{subset}>\n')
            for name in table.names_with(row, PRESENT_CODE):
                stream.write(f"    <tag label={quoteattr(name)}/>\n")
            stream.write("  </image>\n")
        stream.write("</annotations>\n")


def _text(name: str) -> str:
    return quoteattr(name)[1:-1]


def _refuse_controls(table: LabelTable) -> None:
    for name in (*table.classes, *table.paths):
        if any(ord(char) < 32 or char in "\ufffe\uffff" for char in name):
            raise UserError(f"{name!r}: XML cannot hold its control characters")


FORMAT = LabelFormat("cvat", recognises, read, write)
