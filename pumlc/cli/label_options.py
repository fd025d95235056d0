"""The options that say how to read a label file."""

from pathlib import Path
from typing import Any, Protocol

import yaml

from pumlc.errors import UserError
from pumlc.progress import working

FORMAT_HELP = "format of the label file; default: recognised by its content"
VALUES_HELP = (
    "what the values of a table mean: 1=present,0=absent,-1=uncertain,=unknown; unlisted=absent is "
    "for labels that the file does not list"
)
DOCUMENTS_HINT = "if it is a table of documents, name its column of texts: --text-column NAME"
_OF_DOCUMENTS = (".csv", ".tsv", ".txt", ".jsonl", ".ndjson", ".json")


class LabelOptions(Protocol):
    """Options that `read_label_file` needs."""

    @property
    def format(self) -> str | None: ...
    @property
    def values(self) -> str | None: ...
    @property
    def separator(self) -> str | None: ...


def parsed_values(text: str | None) -> dict[Any, Any]:
    """The mapping from value to state that ``--values`` gives.

    Args:
        text: ``1=present,0=absent``, or a mapping in YAML; None: an empty mapping.

    Raises:
        UserError: It is neither.
    """
    if text is None:
        return {}
    if text.strip().startswith("{"):
        try:
            content = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise UserError(f"--values {text}: {' '.join(str(error).split())}") from error
    else:
        pairs = [part.rpartition("=") for part in text.split(",")]
        content = {value.strip(): state.strip() for value, _, state in pairs}
    if not isinstance(content, dict) or not all(content.values()):
        raise UserError(f"--values {text}: expected 1=present,0=absent or '{{1: present}}'")
    return content


def read_label_file(path: Path, options: LabelOptions) -> tuple[Any, str]:
    """Read a label file.

    Args:
        path: the file, or its folder.
        options: how to read it.

    Returns:
        The table, and the evidence for its format.

    Raises:
        UserError: see `pumlc.vision.data.detect.read_table`.
    """
    from pumlc.vision.data.detect import read_table
    from pumlc.vision.data.formats.label_format import ReadOptions
    from pumlc.vision.data.label_file import spelled_values

    values = spelled_values(parsed_values(options.values))
    said = ReadOptions(values=values, separator=options.separator)
    with working(f"reading {path}"):
        return read_table(path, format=options.format, options=said)


def may_be_documents(path: Path) -> bool:
    """Whether a file may be a table without a column of pictures."""
    from pumlc.vision.data.formats.csv_table import header_of, plain

    if not path.is_file() or path.suffix.lower() not in _OF_DOCUMENTS:
        return False
    header = header_of(path)
    return header is None or plain(header.names[header.image]) == "id"


def hides_texts(path: Path) -> bool:
    """Whether a table that reads as one of pictures may be one of documents.

    Its names are in a column ``id``, and a column beside that of labels plays no part.
    """
    from pumlc.vision.data.formats.csv_table import header_of
    from pumlc.vision.data.formats.tag_column import tag_column

    header = header_of(path)
    if header is None or not may_be_documents(path):
        return False
    labels = tag_column(header)
    used = {header.image, header.split, labels}
    rest = {name for i, name in enumerate(header.names) if i not in used}
    return labels is not None and bool(rest - {"negatives", "uncertain", "unknown", "group"})
