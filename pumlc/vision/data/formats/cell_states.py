"""What the cells of a table with one column per class mean.

A number does not mean the same in all of these tables: 0 is unknown in ours and absent in the
others; -1 is absent in ours and uncertain in CheXpert.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from pumlc.errors import UserError
from pumlc.vision.data.formats.label_format import ReadOptions
from pumlc.vision.data.label_table import STATES, State

WORDS: dict[str, State] = {state: state for state in STATES}
_ONE_HOT: dict[str, State] = {"1": "present", "0": "absent", "": "unknown"}
OURS: dict[str, State] = {"1": "present", "-1": "absent", "0": "unknown", "": "unknown"}
CHEXPERT_CELLS: dict[str, State] = {**_ONE_HOT, "-1": "uncertain"}
_BLANKS = ("nan", "na", "n/a", "null", "none")
# as spreadsheets in several languages write truth, and people an answer
_YES_AND_NO = (
    *(("true", "false"), ("yes", "no"), ("wahr", "falsch"), ("ja", "nein"), ("vrai", "faux")),
    *(("oui", "non"), ("verdadero", "falso"), ("sí", "no"), ("vero", "falso"), ("sì", "no")),
    *(("waar", "onwaar"), ("ja", "nee")),
)
_ENGLISH = {"true", "false", "yes", "no"}
_TRUTH = {word: digit for pair in _YES_AND_NO for word, digit in zip(pair, "10", strict=True)}
# 1,0 is the number 1.0 in many countries; three digits may be thousands
_DECIMAL_COMMA = re.compile(r"[-+]?\d,\d\d?")


def form_of(
    counts: Counter[str], options: ReadOptions, *, ours: bool, source: str
) -> dict[str, State]:
    """The state that each cell of a table means.

    Args:
        counts: how often each cell occurs.
        options: what the user says about the file.
        ours: whether the header is that of our own form, ``split,image``.
        source: the table, for messages.

    Returns:
        cell -> state; a cell that is not a state is left out.

    Raises:
        UserError: the table has two possible readings, and the user has not chosen one.
    """
    known: dict[str, State] = {"": "unknown"}
    known |= _said(options.values) or {**_form(counts, options, ours, source), **WORDS}
    found: dict[str, State] = {}
    for cell in counts:
        key = cell if cell in known else number(cell)
        if key in known:
            found[cell] = known[key]
    return found


def says_state(cells: Iterable[str], options: ReadOptions) -> bool:
    """Whether the cells of a column may be states: one of them is, or none of them says anything.

    Words of two languages, ``ja`` and ``no``, are no answers: they may be names of languages.

    Args:
        cells: the different cells of the column.
        options: what the user says about the file.
    """
    known = _said(options.values) or {**OURS, **WORDS}
    told = [cell for cell in cells if number(cell)]
    words = {cell.strip().lower() for cell in told} & _TRUTH.keys()
    if words - _ENGLISH and not any(words <= set(pair) for pair in _YES_AND_NO):
        return False
    return not told or any(cell in known or number(cell) in known for cell in told)


def _said(values: Mapping[str, State]) -> dict[str, State]:
    """The cells of which the user has said what they mean, spelled so or as another number."""
    return {} if not values else {**WORDS, **{number(v): s for v, s in values.items()}, **values}


def number(cell: str) -> str:
    """One spelling for equal numbers, truth values and blanks: pandas writes 1.0 and nan."""
    text = cell.strip().lower()
    if text in _BLANKS or not text:
        return ""
    if text in _TRUTH:
        return _TRUTH[text]
    if _DECIMAL_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    try:
        return f"{float(text) + 0:g}"  # + 0: -0.0 is 0
    except ValueError:
        return cell


def are_answers(cells: Iterable[str]) -> bool:
    """Whether the cells of a single column are states in words, or numbers with a decimal comma.

    They may also be labels: ``ja`` and ``no`` are languages, and 1,0 may list the labels 1 and 0.
    So both words of one language are needed, or a number that is no list: 0,0 or 1,00.
    """
    told = {cell.strip().lower() for cell in cells if cell.strip()}
    if any(told == set(pair) for pair in _YES_AND_NO):
        return True
    decimals = all(_DECIMAL_COMMA.fullmatch(cell) and number(cell) in OURS for cell in told)
    parts = (cell.split(",") for cell in told)
    return decimals and any(first == second or second == "00" for first, second in parts)


def is_score(cell: str) -> bool:
    """Whether a cell is a number between 0 and 1, as confidences and probabilities are."""
    try:
        return 0 < float(number(cell)) < 1
    except ValueError:
        return False


def _form(
    counts: Counter[str], options: ReadOptions, ours: bool, source: str
) -> Mapping[str, State]:
    """The meaning of the numbers of a table, if its header and values decide it."""
    seen: Counter[str] = Counter()
    for cell, count in counts.items():
        seen[number(cell)] += count
    as_floats = any(set(".,") & set(cell) for cell in counts if number(cell) in OURS)
    if "-1" in seen:
        told = ours and not as_floats and ("" not in seen or "0" not in seen)
        if not (told or options.said):
            raise UserError(_two_ways(seen, OURS, CHEXPERT_CELLS, source))
        return OURS
    if "0" in seen and ours:
        raise UserError(_two_ways(seen, _ONE_HOT, OURS, source))
    return _ONE_HOT


def _two_ways(
    seen: Counter[str], first: Mapping[str, State], second: Mapping[str, State], source: str
) -> str:
    """Both readings with their counts, and what to write for each."""
    lines = [f"{source}: its values can be read in two ways; say which:"]
    for reading in (first, second):
        counts: Counter[str] = Counter()
        for value, count in seen.items():
            if value in reading:
                counts[reading[value]] += count
        said = ", ".join(
            f"{_yaml_key(value)}: {state}" for value, state in reading.items() if value in seen
        )
        found = ", ".join(f"{counts[state]} {state}" for state in STATES)
        lines.append(f"  {found}: write data.values '{{{said}}}'")
    return "\n".join(lines)


def _yaml_key(value: str) -> str:
    return value or '""'
