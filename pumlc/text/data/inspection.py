"""What was understood of a table of documents, and what is doubtful in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pumlc.labels.names import neighbouring_names, similar_names
from pumlc.text.data.own_table import a_row_per_label
from pumlc.text.data.readers.table import TextTable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_NAMED = 5
_AT_A_TIME = 4096


@dataclass(frozen=True)
class Problem:
    """Something to look at before training.

    Attributes:
        kind: a few words.
        message: what it is, with lines of the file.
    """

    kind: str
    message: str


@dataclass(frozen=True)
class Lengths:
    """Tokens of the documents.

    Attributes:
        limit: of which so many would be kept.
        cut: documents that are longer.
        median: of their tokens, special ones included.
        longest: the largest number.
    """

    limit: int
    cut: int
    median: int
    longest: int


@dataclass(frozen=True)
class TextInspection:
    """What `inspect_texts` found."""

    table: TextTable
    lengths: Lengths | None
    problems: tuple[Problem, ...]

    def result(self) -> dict[str, Any]:
        """Plain JSON."""
        lengths = None if self.lengths is None else dict(vars(self.lengths))
        return {
            "format": self.table.kind,
            "label_lists": self.table.list_form,
            "labels": self.table.label_texts(),
            "splits": split_counts(self.table),
            "tokens": lengths,
            "problems": [dict(vars(problem)) for problem in self.problems],
        }


def split_counts(table: TextTable) -> dict[str, dict[str, int]]:
    """Split -> its documents, those without a label, and its pairs of document and label."""
    parts = np.array(table.splits or ["all"] * len(table.texts))
    counts = {}
    for part in dict.fromkeys(parts.tolist()):
        numbers = [len(table.labels[row]) for row in np.flatnonzero(parts == part)]
        counts[part] = {
            "documents": len(numbers),
            "without_label": numbers.count(0),
            "pairs": sum(numbers),
        }
    return counts


def label_counts(table: TextTable) -> list[tuple[str, int]]:
    """Labels and the number of documents that have each, the most frequent first."""
    counts: dict[str, int] = dict.fromkeys(table.label_texts(), 0)
    for row in table.labels:
        for label in set(row):
            counts[label] += 1
    return sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))


def inspect_texts(
    table: TextTable, tokenizer: "PreTrainedTokenizerBase | None", *, document_length: int
) -> TextInspection:
    """Look at the documents and the labels of a table.

    Args:
        table: as it was read.
        tokenizer: of the encoder; None: tokens are not counted.
        document_length: tokens that would be kept of a document.
    """
    lengths = None if tokenizer is None else _lengths(table.texts, tokenizer, document_length)
    problems = [*_text_problems(table), *_label_problems(table)]
    if lengths is not None and lengths.cut:
        message = (
            f"{lengths.cut} of {len(table.texts)} documents have more than {document_length} "
            f"tokens and are cut there (median {lengths.median}, longest {lengths.longest}); "
            "data.document_length keeps more"
        )
        problems.append(Problem("documents that are cut", message))
    return TextInspection(table, lengths, tuple(problems))


def _lengths(texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", limit: int) -> Lengths:
    counts: list[int] = []
    for start in range(0, len(texts), _AT_A_TIME):
        rows = tokenizer(
            list(texts[start : start + _AT_A_TIME]), return_attention_mask=False, verbose=False
        )["input_ids"]
        counts += map(len, rows)
    numbers = np.array(counts)
    cut = int((numbers > limit).sum())
    return Lengths(limit, cut, int(np.median(numbers)), int(numbers.max()))


def _text_problems(table: TextTable) -> Iterator[Problem]:
    said = a_row_per_label(table)
    if said is not None:
        yield Problem("a row per label", said)
    blank = [row for row, text in enumerate(table.texts) if not text.strip()]
    if blank:
        yield Problem("document without a text", _lines(table, blank))
    of_text: dict[str, list[int]] = {}
    for row, text in enumerate(table.texts):
        if text.strip():
            of_text.setdefault(" ".join(text.lower().split()), []).append(row)
    repeated = [rows for rows in of_text.values() if len(rows) > 1]
    differing = [
        rows for rows in repeated if len({frozenset(table.labels[row]) for row in rows}) > 1
    ]
    for kind, groups in (("repeated document", repeated), ("repeated, other labels", differing)):
        if groups:
            first = _lines(table, groups[0])
            message = f"{_number(len(groups), 'text')} there more than once, the first in {first}"
            yield Problem(kind, message)
    of_name: dict[str, list[int]] = {}
    for row, name in enumerate(table.names or ()):
        of_name.setdefault(name, []).append(row)
    twice = [(name, rows) for name, rows in of_name.items() if len(rows) > 1]
    if twice:
        name, rows = twice[0]
        message = f"{_number(len(twice), 'name')} there more than once, the first is {name!r}"
        yield Problem("repeated name", f"{message}: {_lines(table, rows)}")


def _label_problems(table: TextTable) -> Iterator[Problem]:
    bare = [row for row, labels in enumerate(table.labels) if not labels]
    if bare:
        yield Problem("document without a label", _lines(table, bare))
    counts = dict(label_counts(table))
    for group in similar_names(counts):
        shown = " and ".join(f"{name!r} ({counts[name]})" for name in group)
        yield Problem("similar labels", f"{shown} are probably one label")
    for first, second in neighbouring_names(counts):
        if not any(any(map(str.isdigit, name)) for name in (first, second)):  # Article 1, Article 2
            shown = f"{first!r} ({counts[first]}) and {second!r} ({counts[second]})"
            yield Problem("labels one letter apart", f"{shown} may be one label")
    single = [label for label, count in counts.items() if count == 1]
    if single:
        named = ", ".join(map(repr, single[:_NAMED]))
        more = f" and {len(single) - _NAMED} more" if len(single) > _NAMED else ""
        message = f"{len(single)} of {len(counts)} labels have one document: {named}{more}"
        yield Problem("label of one document", message)


def _lines(table: TextTable, rows: Sequence[int]) -> str:
    named = ", ".join(str(table.lines[row]) for row in rows[:_NAMED])
    more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
    return f"{'line' if len(rows) == 1 else f'{len(rows)} rows, lines'} {named}{more}"


def _number(count: int, noun: str) -> str:
    """A number of things, and the verb.

    >>> _number(1, "text"), _number(2, "text")
    ('1 text is', '2 texts are')
    """
    return f"1 {noun} is" if count == 1 else f"{count} {noun}s are"
