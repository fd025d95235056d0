"""Model cards: Markdown with a YAML head, as the hub of Hugging Face reads them.

Names of classes, files and data sets come from anyone: whatever they contain, they are shown as
text, and neither end a table nor become a link, a picture or HTML.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import yaml

from pumlc.tables import printable

# what begins emphasis, code, a link, HTML, a table cell, a heading, a formula or a mention
_SPECIAL = re.compile(r"[\\`*_{}\[\]<>|~#&$@!]|:(?=//)|(?<=www)\.", re.IGNORECASE)


class Section(NamedTuple):
    """A part of a card.

    Attributes:
        title: its heading.
        paragraphs: Markdown; text of others in it has gone through `markdown_text`.
    """

    title: str
    paragraphs: Sequence[str]


def markdown_text(text: str) -> str:
    r"""Text that Markdown shows as it is, in one line.

    Example:
        >>> markdown_text("a|b <i>")
        'a\\|b \\<i\\>'
    """
    return _SPECIAL.sub(lambda found: f"\\{found[0]}", printable(text))


def model_card(metadata: Mapping[str, Any], title: str, sections: Sequence[Section]) -> str:
    """The text of a card.

    Args:
        metadata: what stands in the YAML head; plain values.
        title: the name of the model, as it is.
        sections: in the order of the page; one without paragraphs is left out.
    """
    head = yaml.safe_dump(_printable(metadata), sort_keys=False, allow_unicode=True, width=100)
    parts = [f"---\n{head}---", f"# {markdown_text(title)}"]
    for section in sections:
        if section.paragraphs:
            parts += [f"## {section.title}", *section.paragraphs]
    return "\n\n".join(parts) + "\n"


def _printable(value: Any) -> Any:
    """The same value without control characters, which could end the head."""
    if isinstance(value, Mapping):
        return {key: _printable(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_printable(part) for part in value]
    return printable(value) if isinstance(value, str) else value


def result_entry(
    name: str, *, task: str, data: str, split: str, metrics: Sequence[tuple[str, str, float]]
) -> dict[str, Any]:
    """An entry of ``model-index``, which the hub shows beside the card.

    Args:
        name: of the model.
        task: the hub's word for what it does, such as ``image-classification``.
        data: name of the data set.
        split: the part that was measured.
        metrics: type, name and value of each figure.
    """
    kind = re.sub(r"[^\w.-]+", "-", data.lower(), flags=re.ASCII).strip("-.") or "data"
    return {
        "name": name,
        "results": [
            {
                "task": {"type": task},
                "dataset": {"name": data, "type": kind, "split": split},
                "metrics": [
                    {"type": type_, "name": label, "value": round(value, 4)}
                    for type_, label, value in metrics
                ],
            }
        ],
    }
