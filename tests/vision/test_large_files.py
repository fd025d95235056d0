"""What keeps the reading of large label files small: entries one by one, labels gathered by row."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumlc.errors import UserError
from pumlc.vision.data.json_entries import json_entries
from pumlc.vision.data.scattered import ScatteredLabels

KEYS = ("images", "annotations")
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=6,
)
lists = st.lists(values, max_size=4)
objects = st.builds(
    lambda more, images, annotations, last: {
        **more,
        "images": images,
        "annotations": annotations,
        **last,
    },
    st.dictionaries(st.text(max_size=3), values, max_size=2),
    lists,
    lists,
    st.dictionaries(st.text(max_size=3), values, max_size=2),
)
layouts = st.sampled_from(
    [{}, {"indent": 1}, {"separators": (",", ":")}, {"separators": (" ,\n", "\t: ")}]
)


def entries(folder, text):
    file = folder / "l.json"
    file.write_text(text)
    found = {key: [] for key in KEYS}
    for key, number, entry in json_entries(file, KEYS):
        assert number == len(found[key])
        found[key].append(entry)
    return found


@given(objects, layouts)
def test_entries_are_those_of_the_whole_object(tmp_path_factory, content, layout):
    text = json.dumps(content, **layout)
    found = entries(tmp_path_factory.getbasetemp(), text)
    assert found == {key: content[key] for key in KEYS}


@given(objects, layouts, st.data())
def test_what_is_not_json_is_refused_and_nothing_else(tmp_path_factory, content, layout, data):
    text = json.dumps(content, **layout)
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, min(len(text), start + 3)))
    text = (
        text[:start]
        + data.draw(st.sampled_from(["", "]", "[", "{", "}", ",", "1", '"']))
        + text[end:]
    )
    try:
        whole = json.loads(text)
        right = isinstance(whole, dict) and all(isinstance(whole.get(key), list) for key in KEYS)
    except ValueError:
        right = False
    twice = text.count('"images"') > 1 or text.count('"annotations"') > 1
    if right and not twice:
        found = entries(tmp_path_factory.getbasetemp(), text)
        assert found == {key: whole[key] for key in KEYS}
    elif not right:
        with pytest.raises(UserError):
            entries(tmp_path_factory.getbasetemp(), text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"images": [], "images": []}', "'images' occurs twice"),
        ('{"images": [], "annotations": {}}', "no list 'annotations'"),
        ('{"images": []}', "no list 'annotations'"),
        ('{"images": [1 2], "annotations": []}', "not JSON.*char 14"),
        ("[" * 100_000, "not JSON"),
        ('{"images": ' + "[" * 100_000, "not JSON"),
        ('{"images": [' + "1" * 5000 + '], "annotations": []}', "not JSON"),
    ],
)
def test_messages(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        entries(tmp_path, text)


@given(
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(1, 4)), max_size=30),
    st.booleans(),
)
def test_labels_are_gathered_by_row_and_the_smallest_code_counts(listed, at_once):
    labels, expected = ScatteredLabels(), [{} for _ in range(5)]
    for row, column, code in listed:
        if at_once:
            labels.extend(np.array([row]), np.array([column]), code)
        else:
            labels.add(row, column, code)
        name = "abcd"[column]
        expected[row][name] = min(code, expected[row].get(name, 9))
    assert len(labels) == len(listed)
    assert [dict(row) for row in labels.by_row(5, "abcd")] == expected
