"""The files of the Extreme Classification Repository."""

import gzip
import json

import pytest

from pumlc.errors import UserError
from pumlc.text.data.layouts import MARKERS, Layout
from pumlc.text.data.readers import READERS, read_corpus

LABELS = [
    {"uid": "a", "title": "fruit", "content": ""},
    {"uid": "b", "title": "car", "content": " with four wheels "},
    {"uid": "c", "title": "", "content": "bird"},
]
TRAIN = [
    {"uid": "1", "title": "red apple", "content": "grows", "target_ind": [0], "target_rel": [1.0]},
    {"uid": "2", "title": "blue car", "content": "", "target_ind": [2, 1], "target_rel": [0, 2]},
]
TEST = [{"uid": "3", "title": "plum", "target_ind": []}]


def write(path, records):
    with gzip.open(path, "wt", encoding="utf-8") as file:
        file.writelines(json.dumps(record) + "\n" for record in records)


@pytest.fixture
def folder(tmp_path):
    for name, records in (("lbl", LABELS), ("trn", TRAIN), ("tst", TEST)):
        write(tmp_path / f"{name}.json.gz", records)
    return tmp_path


def test_titles_contents_and_relevant_labels(folder):
    train, test = read_corpus(folder, "xc")
    assert list(train.label_texts) == ["fruit", "car with four wheels", "bird"]
    assert list(train.texts) == ["red apple grows", "blue car"]
    assert list(test.texts) == ["plum"]
    assert train.positives.toarray().astype(int).tolist() == [[1, 0, 0], [0, 1, 0]]
    assert test.positives.nnz == 0
    assert train.excluded is None


def test_filter_files_as_in_the_other_layout(folder):
    (folder / "filter_labels_train.txt").write_text("0 0\n")
    train, _ = read_corpus(folder, "xc")
    assert train.truth.toarray().astype(int).tolist() == [[0, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    ("file", "records", "message"),
    [
        ("lbl", [], "lbl.json.gz: no label"),
        ("lbl", [{"uid": "a", "title": " "}], "lbl.json.gz, line 1: this label has neither title"),
        ("lbl", [{"uid": "a"}], "line 1: neither title nor content, got .*uid"),
        ("lbl", [{"title": 3}], "line 1: title must be a string"),
        ("lbl", [{"title": "\ud800"}], "line 1: title must be a string of Unicode"),
        ("lbl", [["fruit"]], "line 1: expected an object"),
        ("trn", [], "trn.json.gz: no text"),
        ("trn", [*TRAIN, {"title": "x"}], "line 3: target_ind must be a list .*got None"),
        ("trn", [{"title": "x", "target_ind": [3]}], "target_ind has 3; labels are 0 to 2"),
        ("trn", [{"title": "x", "target_ind": [-1]}], "target_ind has -1"),
        ("trn", [{"title": "x", "target_ind": [1.0]}], "target_ind has 1.0"),
        ("trn", [{"title": "x", "target_ind": [True]}], "target_ind has True"),
        ("trn", [{"title": "x", "target_ind": [1], "target_rel": []}], "a number for each"),
        ("trn", [{"title": "x", "target_ind": [1], "target_rel": [-1]}], "target_rel has -1"),
        ("trn", [{"title": "x", "target_ind": [1], "target_rel": ["1"]}], "target_rel has '1'"),
        (
            "trn",
            [{"title": "x", "target_ind": [1], "target_rel": [float("nan")]}],
            "target_rel has nan",
        ),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder, file, records, message):
    write(folder / f"{file}.json.gz", records)
    with pytest.raises(UserError, match=message):
        read_corpus(folder, "xc")


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-20],
        lambda content: b"no gzip at all",
        lambda content: content[:30] + bytes(10) + content[40:],
    ],
)
def test_damaged_archives(folder, damage):
    path = folder / "trn.json.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"trn\.json\.gz, .*line"):
        read_corpus(folder, "xc")


def test_lines_that_are_not_json(folder):
    for line in (b"{", b'{"title": "\xff"}', b"[" * 100_000):
        (folder / "tst.json.gz").write_bytes(gzip.compress(b"\n" + line))
        with pytest.raises(UserError, match=r"tst\.json\.gz, line 2: not JSON in UTF-8"):
            read_corpus(folder, "xc")


def test_the_layout_of_a_folder_is_named_where_another_was_asked_for(folder):
    for layout in ("xmc", "jsonl", "csv"):
        with pytest.raises(UserError, match="no such file, which the layout .* of the layout 'xc'"):
            read_corpus(folder, layout)


def test_every_layout_has_a_reader_and_a_marker():
    assert set(READERS) == set(MARKERS) == set(Layout.__args__)
