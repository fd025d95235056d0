"""What keeps the reading of large label files small: entries one by one, labels gathered by row."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumlc.errors import UserError
from pumlc.vision.data import folder_names, packed_names, scattered
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.folder_names import FolderNames
from pumlc.vision.data.json_entries import json_entries
from pumlc.vision.data.packed_names import NamesBuilder
from pumlc.vision.data.picture_files import PictureFiles, locate
from pumlc.vision.data.scattered import ScatteredLabels, ScatteredPictures

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


names = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=3), max_size=30)


@given(names, st.data())
def test_packed_names_are_a_tuple(texts, data):
    builder = NamesBuilder()
    builder.extend(texts)
    packed = builder.packed()
    assert (len(packed), tuple(packed)) == (len(texts), tuple(texts))
    assert packed == texts
    assert packed != [*texts, "more"]
    rows = np.array(
        data.draw(st.lists(st.sampled_from(range(len(texts)))) if texts else st.just([]))
    )
    rows = rows.astype(np.int64)
    assert tuple(packed.subset(rows)) == tuple(texts[row] for row in rows)
    assert packed[1:] == texts[1:]
    if texts:
        assert packed[-1] == texts[-1]
    bare = [text.rstrip("\0") for text in texts]  # numpy drops them
    assert [name.decode() for name in packed.encoded()] == bare


@pytest.mark.parametrize("runs", [1, 3, 10**6])
def test_lines_of_one_picture_need_not_be_together(runs, monkeypatch):
    monkeypatch.setattr(scattered, "_RUNS", runs)
    random = np.random.RandomState(0)
    pictures, first, expected = ScatteredPictures(), {}, {}
    for line in range(200):
        name, column = str(random.randint(40)), int(random.randint(5))
        if random.rand() < 0.5:
            name = str(line // 7)
        code = int(random.randint(1, 3))
        pictures.labels.add(pictures.number(name, line), column, code)
        first.setdefault(name, line)
        states = expected.setdefault(name, {})
        states[column] = min(code, states.get(column, 9))
    found, lines = pictures.finished()
    assert dict(zip(found, lines.tolist(), strict=True)) == first
    matrix = pictures.labels.matrix(len(found), 5).toarray()
    for row, name in enumerate(found):
        assert {c: int(v) for c, v in enumerate(matrix[row]) if v} == expected[name]


@pytest.mark.parametrize("many", [0, 10**6])
def test_files_of_a_folder_and_their_endings(tmp_path, monkeypatch, many):
    monkeypatch.setattr(folder_names, "HASHED_FROM", many)
    for name in ("a.jpg", "b.PNG", "c"):
        (tmp_path / name).touch()
    (tmp_path / "link.jpg").symlink_to("a.jpg")
    (tmp_path / "folder.jpg").mkdir()
    found = FolderNames(tmp_path)
    assert [n in found for n in ("a.jpg", "b.PNG", "c", "link.jpg")] == [True] * 4
    assert [n in found for n in ("a", "b.png", "folder.jpg", "")] == [False] * 4
    assert (found.is_link("link.jpg"), found.is_link("a.jpg")) == (True, False)
    assert found.endings_of([".jpg", ".png", ".gif"]) == (".jpg", ".PNG")
    assert "a.jpg" not in FolderNames(tmp_path / "none")


@pytest.mark.parametrize("pack", [1, 10**6])
def test_a_large_file_of_open_images_reads_as_a_small_one(tmp_path, monkeypatch, pack):
    monkeypatch.setattr(packed_names, "PACKED_FROM", pack)
    monkeypatch.setattr(folder_names, "HASHED_FROM", pack)
    for name in ("a.jpg", "b.png", "é.jpg"):
        (tmp_path / name).touch()
    lines = ["a,v,cat,1", "b,v,cat,0", "é,v,dog,1", "a,v,cat,0", "a,v,ant,0", "gone,v,ant,1"]
    file = tmp_path / "l.csv"
    file.write_text("\n".join(["ImageID,Source,LabelName,Confidence", *lines]) + "\n")
    table, problems = locate(read_table(file)[0], PictureFiles(tmp_path))
    assert tuple(table.paths) == ("a.jpg", "b.png", "é.jpg", "gone")
    assert [problem.kind for problem in problems] == ["missing"]
    assert table.codes().tolist() == [[2, 1, 3], [3, 2, 3], [3, 3, 1], [1, 3, 3]]
    assert table.subset(np.array([2, 0])).paths == ("é.jpg", "a.jpg")
