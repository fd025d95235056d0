"""Write a label table in another format, without losing a label unless the user agrees."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.sparse import csr_array

from pumlc.errors import UserError, warn_user
from pumlc.vision.data.formats import FORMATS, find_format
from pumlc.vision.data.label_table import CODE, STATES, LabelTable, State

# formats that keep the names of patients, scenes or videos
_WITH_GROUPS = (
    *("csv", "wide", "chexpert", "coco", "lvis", "mmpretrain", "labelstudio", "imagefolder"),
    *("parquet", "webdataset"),
)


def write_table(
    table: LabelTable, out: Path, name: str, *, becomes: Mapping[State, State] | None = None
) -> LabelTable:
    """Write a table in a format.

    Args:
        table: the labels.
        out: the file or folder; a folder must not exist yet.
        name: the format.
        becomes: state -> the state that is written for it.

    Returns:
        The table as it was written.

    Raises:
        UserError: the format cannot hold a state that the table has.
    """
    form = find_format(name)
    table = with_states(table, becomes or {})
    counts = {state: int(each.sum()) for state, each in table.counts().items()}
    for state in STATES:
        if counts[state] and state not in form.holds:
            able = [each.name for each in FORMATS.values() if state in each.holds]
            others = [each for each in reversed(STATES) if each in form.holds]
            raise UserError(
                f"{state}: {name} cannot hold {state} labels, and {table.source} has "
                f"{counts[state]:,} of {sum(counts.values()):,}; give what is written for them "
                f"(valid: {', '.join(others)}), or take a format that can: "
                f"{', '.join(able)}"
            )
    if table.groups is not None and name not in _WITH_GROUPS:
        warn_user(f"{name} does not keep the groups of {table.source}")
    if not out.parent.is_dir():
        raise UserError(f"{out}: there is no folder {out.parent}")
    if out.is_dir() and not form.folder:
        raise UserError(f"{out} is a folder; {name} is a file")
    form.write(table, out)
    return table


def with_states(table: LabelTable, becomes: Mapping[State, State]) -> LabelTable:
    """The table with some states replaced by others.

    Args:
        table: the labels.
        becomes: state -> new state.

    Raises:
        UserError: there is no such state.
    """
    if not becomes:
        return table
    new_code = np.arange(len(STATES) + 1, dtype=np.uint8)
    for state, new in becomes.items():
        if new not in CODE:
            raise UserError(f"{state}={new}: no such state; valid: {', '.join(STATES)}")
        new_code[CODE[state]] = CODE[new]
    listed = table.listed
    old: np.ndarray = listed.data
    codes = new_code[old]
    changed = csr_array((codes, listed.indices, listed.indptr), shape=listed.shape)
    return replace(table, listed=changed, rest=new_code[table.rest])
