"""Readers of texts and labels, and what they say about damaged input."""

import json
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp

from pumlc.errors import UserError
from pumlc.text.data.readers import read_corpus, read_lines
from pumlc.text.data.text_split import TextSplit

TRAIN = np.array([[1, 0, 0], [0, 2, 1]])
TEST = np.array([[0, 0, 3]])


def write_xmc(root, *, labels="fruit\ncar\nbird\n", train: Any = TRAIN, test: Any = TEST):
    (root / "raw").mkdir(exist_ok=True)
    (root / "raw" / "trn_X.txt").write_text("red apple\nblue car\x85 flies\n", "utf-8")
    (root / "raw" / "tst_X.txt").write_text("ein Vögelchen\n", "utf-8")
    (root / "raw" / "Y.txt").write_text(labels, "utf-8")
    sp.save_npz(root / "Y.trn.npz", sp.csr_matrix(train))
    sp.save_npz(root / "Y.tst.npz", sp.coo_matrix(test))


def test_xmc_folder(tmp_path):
    write_xmc(tmp_path)
    train, test = read_corpus(tmp_path, "xmc")
    # \x85 ends a line for str.splitlines, not in this format
    assert list(train.texts) == ["red apple", "blue car\x85 flies"]
    assert list(test.texts) == ["ein Vögelchen"]
    assert train.label_texts is test.label_texts
    assert train.positives.dtype == bool
    assert train.positives.toarray().tolist() == (TRAIN > 0).tolist()
    assert test.truth.toarray().tolist() == (TEST > 0).tolist()
    assert train.excluded is None


def test_windows_line_ends_and_a_missing_last_one(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes(b"a\r\n\r\nb")
    assert read_lines(path) == ["a", "", "b"]


def test_filter_files_take_pairs_out_of_the_truth(tmp_path):
    write_xmc(tmp_path)
    (tmp_path / "filter_labels_train.txt").write_text("1 2\n0 1\n")
    train, test = read_corpus(tmp_path, "xmc")
    assert train.excluded is not None
    assert sorted(zip(*train.excluded.nonzero(), strict=True)) == [(0, 1), (1, 2)]
    assert train.truth.toarray().tolist() == [[True, False, False], [False, True, False]]
    assert train.positives.nnz == 3
    assert test.excluded is None


def test_stored_zeros_are_no_positives(tmp_path):
    matrix = sp.csr_array((np.array([1.0, 0.0, 1.0]), [2, 0, 1], [0, 2, 3]), (2, 3))
    write_xmc(tmp_path, train=matrix)
    train, _ = read_corpus(tmp_path, "xmc")
    assert train.positives.indices.tolist() == [2, 1]
    assert train.positives.indptr.tolist() == [0, 1, 2]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.float32, bool])
def test_a_pair_listed_256_times_is_one_positive(tmp_path, dtype):
    """The sum of 256 ones is 0 in a byte."""
    places = np.array([0] * 256 + [1]), np.array([1] * 256 + [2])
    matrix = sp.coo_array((np.ones(257, dtype), places), (2, 3))
    write_xmc(tmp_path)
    sp.save_npz(tmp_path / "Y.trn.npz", matrix)
    train, _ = read_corpus(tmp_path, "xmc")
    assert train.positives.toarray().tolist() == [[False, True, False], [False, False, True]]


def write_parts(root, **changes):
    """Y.trn.npz as scipy writes it, some of its arrays changed."""
    parts = {
        "format": b"csr",
        "shape": np.array([2, 3]),
        "data": np.ones(3),
        "indices": np.array([0, 1, 2], np.int32),
        "indptr": np.array([0, 1, 3], np.int32),
    }
    np.savez(root / "Y.trn.npz", **parts | changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"indices": np.array([0, 1, 3], np.int32)}, "indices"),
        ({"indices": np.array([0, -1, 2], np.int32)}, "indices"),
        ({"format": b"csc", "indptr": np.array([0, 1, 2, 3]), "indices": [0, 1, 2]}, "indices"),
        ({"indptr": np.array([0, 3, 1], np.int32)}, "ind"),
        ({"indptr": np.array([0, 1, 9], np.int32)}, "ind"),
        ({"format": b"coo", "row": [0, 0, 2], "col": [0, 1, 2]}, "index 2 exceeds"),
        ({"shape": np.array([2, 3, 4])}, "shape|dim"),
        ({"format": b"nonsense"}, "."),
        ({"data": np.array(["a", "b", "c"])}, "."),
        ({"data": np.ones(3) * 1j}, "it holds complex128, not numbers"),
        ({"data": np.ones(1)}, "."),
    ],
)
def test_a_matrix_that_contradicts_itself(tmp_path, changes, message):
    write_xmc(tmp_path)
    write_parts(tmp_path)
    read_corpus(tmp_path, "xmc")
    write_parts(tmp_path, **changes)
    with pytest.raises(ValueError, match=rf"Y\.trn\.npz: not a sparse matrix.*\(.*{message}"):
        read_corpus(tmp_path, "xmc")


def test_a_matrix_of_one_dimension(tmp_path):
    write_xmc(tmp_path)
    sp.save_npz(tmp_path / "Y.trn.npz", sp.coo_array(np.ones(3)))
    with pytest.raises(ValueError, match="it has 1 dimensions, a matrix has 2"):
        read_corpus(tmp_path, "xmc")


def test_damage_anywhere_in_a_matrix_file_is_one_line_naming_it(tmp_path):
    """Bits flipped and ends cut off: another matrix at best, never another error."""
    write_xmc(tmp_path)
    path = tmp_path / "Y.trn.npz"
    whole = path.read_bytes()
    random = np.random.RandomState(0)
    for number in range(400):
        damaged = bytearray(whole)
        damaged[random.randint(len(damaged))] ^= 1 << random.randint(8)
        path.write_bytes(damaged if number % 4 else whole[: random.randint(len(whole))])
        message = "Y.trn.npz"
        try:
            read_corpus(tmp_path, "xmc")
        except ValueError as error:
            message = str(error)
        assert "Y.trn.npz" in message
        assert "\n" not in message


@pytest.mark.parametrize("layout", ["xmc", "xc", "jsonl", "csv"])
def test_a_folder_that_is_not_there_is_named_with_its_setting(tmp_path, layout):
    with pytest.raises(UserError, match=r"nowhere: no such folder \(data.root\)"):
        read_corpus(tmp_path / "nowhere", layout)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda root: (root / "raw" / "Y.txt").unlink(), "Y.txt: no such file"),
        (lambda root: (root / "Y.trn.npz").unlink(), "Y.trn.npz: no such file"),
        (lambda root: (root / "Y.trn.npz").write_bytes(b"PK\x03\x04 cut"), "not a sparse matrix"),
        (lambda root: (root / "Y.trn.npz").write_bytes(b""), "not a sparse matrix"),
        (lambda root: np.savez(root / "Y.trn.npz", x=np.ones(3)), "not a sparse matrix"),
        (lambda root: write_xmc(root, labels="fruit\ncar\n"), "2 lines but .* has 3 columns"),
        (lambda root: write_xmc(root, labels="fruit\n \nbird\n"), "Y.txt, line 2: empty label"),
        (lambda root: write_xmc(root, labels=""), "Y.txt: no label in this file"),
        (lambda root: (root / "raw" / "tst_X.txt").write_text(""), "tst_X.txt: no text in this"),
        (lambda root: write_xmc(root, train=TRAIN[:1]), "2 lines but .* has 1 rows"),
        (lambda root: write_xmc(root, test=TEST[:, :2]), "3 lines but .*tst.* has 2 columns"),
        (lambda root: write_xmc(root, train=-TRAIN), "row 0 holds -1"),
        (
            lambda root: write_xmc(root, train=np.where(TRAIN == 2, np.nan, TRAIN)),
            "row 1 holds nan",
        ),
        (
            lambda root: (root / "raw" / "trn_X.txt").write_bytes(b"a\n\xff\n"),
            "trn_X.txt, line 2: not UTF-8",
        ),
        (
            lambda root: (root / "filter_labels_test.txt").write_text("0 1 2\n"),
            "test.txt, line 1: expected",
        ),
        (
            lambda root: (root / "filter_labels_test.txt").write_text("0 -1\n"),
            "test.txt, line 1: expected",
        ),
        (
            lambda root: (root / "filter_labels_test.txt").write_text("\n0 3\n"),
            "test.txt, line 2: .* outside",
        ),
    ],
)
def test_damaged_xmc_folders(tmp_path, damage, message):
    write_xmc(tmp_path)
    damage(tmp_path)
    with pytest.raises(ValueError, match=message):
        read_corpus(tmp_path, "xmc")


RECORDS = {
    "train": [("red apple", ["fruit"]), ('a, "b"\nc', ["car", "bird", "car"]), ("none", [])],
    "test": [("plum", ["fruit", "unseen"])],
}


def write_records(root, layout):
    for split, rows in RECORDS.items():
        path = root / f"{split}.{layout}"
        if layout == "jsonl":
            lines = (json.dumps({"text": text, "labels": labels}) for text, labels in rows)
            path.write_text("\n".join(lines) + "\n\n")
        else:
            import csv

            with path.open("w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["text", "labels"])
                writer.writerows((text, "|".join(labels)) for text, labels in rows)


@pytest.mark.parametrize("layout", ["jsonl", "csv"])
def test_records_give_the_same_split_in_either_layout(tmp_path, layout):
    write_records(tmp_path, layout)
    train, test = read_corpus(tmp_path, layout)
    assert list(train.label_texts) == ["bird", "car", "fruit", "unseen"]
    assert list(train.texts) == [text for text, _ in RECORDS["train"]]
    assert train.positives.toarray().astype(int).tolist() == [[0, 0, 1, 0], [1, 1, 0, 0], [0] * 4]
    assert test.positives.toarray().astype(int).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize("layout", ["jsonl", "csv"])
def test_a_label_file_fixes_the_order_and_adds_labels(tmp_path, layout):
    write_records(tmp_path, layout)
    (tmp_path / "labels.txt").write_text("unseen\nnever\nfruit\ncar\nbird\n")
    train, _ = read_corpus(tmp_path, layout)
    assert train.positives.toarray().astype(int)[0].tolist() == [0, 0, 1, 0, 0]


@pytest.mark.parametrize("layout", ["jsonl", "csv"])
def test_space_around_a_label_is_no_part_of_it(tmp_path, layout):
    write_records(tmp_path, layout)
    (tmp_path / "labels.txt").write_text(" fruit\ncar \nbird\t\nunseen\n")
    path = tmp_path / f"test.{layout}"
    path.write_text(path.read_text().replace("fruit", " fruit "))
    train, test = read_corpus(tmp_path, layout)
    assert list(train.label_texts) == ["fruit", "car", "bird", "unseen"]
    assert test.positives.indices.tolist() == [0, 3]


@pytest.mark.parametrize("layout", ["xmc", "jsonl", "csv"])
def test_a_byte_order_mark_is_no_part_of_a_file(tmp_path, layout):
    if layout == "xmc":
        write_xmc(tmp_path)
    else:
        write_records(tmp_path, layout)
        (tmp_path / "labels.txt").write_text("fruit\ncar\nbird\nunseen\n")
    plain = read_corpus(tmp_path, layout)
    for path in tmp_path.rglob("*"):
        if path.suffix in (".txt", ".jsonl", ".csv"):
            path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    for split, expected in zip(read_corpus(tmp_path, layout), plain, strict=True):
        assert list(split.texts) == list(expected.texts)
        assert split.label_texts == expected.label_texts
        assert (split.positives != expected.positives).nnz == 0
    for path in tmp_path.glob("labels.txt"):
        path.write_bytes(path.read_bytes() + b"\xff\n")
        with pytest.raises(ValueError, match=r"labels\.txt, line 5: not UTF-8"):
            read_corpus(tmp_path, layout)


def test_a_long_text_in_a_csv_file(tmp_path):
    import csv

    write_records(tmp_path, "csv")
    before = csv.field_size_limit(1000)
    (tmp_path / "test.csv").write_text(f"text,labels\n{'a ' * 100_000},fruit\n")
    assert len(read_corpus(tmp_path, "csv")[1].texts[0]) == 200_000
    assert csv.field_size_limit(before) == 1000


@pytest.mark.parametrize(
    ("layout", "name", "content", "message"),
    [
        (
            "jsonl",
            "train.jsonl",
            '{"text": "a", "labels": ["b"]}\n{"text": 1}',
            "jsonl, line 2: expected",
        ),
        ("jsonl", "train.jsonl", "[1]", "jsonl, line 1: expected"),
        ("jsonl", "train.jsonl", '{"text": "a', "jsonl, line 1: not JSON"),
        ("jsonl", "train.jsonl", '{"text": "a", "labels": [" "]}', "jsonl, line 1: empty label"),
        (
            "jsonl",
            "train.jsonl",
            '{"text": "a", "labels": [3]}',
            "jsonl, line 1: a label is a string",
        ),
        (
            "jsonl",
            "labels.txt",
            "fruit\ncar\nbird\n",
            "test.jsonl, line 1: label 'unseen' is not in labels.txt",
        ),
        (
            "jsonl",
            "labels.txt",
            "unseen\nfruit\ncar\nbird\ncar\n",
            "labels.txt, line 5: label 'car' is listed",
        ),
        ("jsonl", "labels.txt", "fruit\n \n", "labels.txt, line 2: empty label"),
        ("csv", "labels.txt", "", "labels.txt: no label in this file"),
        ("csv", "labels.txt", "fruit\n", "train.csv, line 4: label 'car' is not in labels.txt"),
        ("jsonl", "train.jsonl", "\n", "train.jsonl: no text in this file"),
        ("csv", "test.csv", "text,labels\n", "test.csv: no text in this file"),
        ("jsonl", "train.jsonl", "\n" + "1" * 5000, "train.jsonl, line 2: not JSON"),
        ("jsonl", "train.jsonl", "\n" + "[" * 100_000, "train.jsonl, line 2: not JSON"),
        ("csv", "train.csv", "text,label\na,b\n", r"no column \['labels'\]"),
        ("csv", "train.csv", "", "no column"),
        ("csv", "train.csv", "text,labels\na,b||c\n", "csv, line 2: empty label"),
        ("csv", "train.csv", "text,labels\na\n", "csv, line 2: wrong number of fields"),
        ("csv", "train.csv", "labels,text\na\n", "csv, line 2: wrong number of fields"),
        ("csv", "train.csv", "text,labels\na,b,c\n", "csv, line 2: wrong number of fields"),
        (
            "csv",
            "train.csv",
            'text,labels\na,b\nc,"d\ne,f\n',
            "csv, line 3: the row that begins here",
        ),
        (
            "csv",
            "train.csv",
            'text,labels\na,"b\nc,d\ne,"f\n',
            "csv, line 2: the row that begins here",
        ),
        ("csv", "train.csv", 'text,labels\na,"b\nc"\n', "csv, line 3: a label with a line break"),
        ("csv", "train.csv", 'text,labels\n"a"b,c\n', "csv, line 2: the row that begins here"),
        ("csv", "train.csv", "text,labels,labels\na,b,c\n", "a column occurs twice"),
        (
            "jsonl",
            "train.jsonl",
            '{"text": "\\ud800", "labels": []}',
            "jsonl, line 1: half of a surr",
        ),
        (
            "jsonl",
            "train.jsonl",
            '{"text": "a", "labels": ["\\ud800"]}',
            "jsonl, line 1: a label with",
        ),
        (
            "jsonl",
            "train.jsonl",
            '{"text": "a", "labels": ["b\\nc"]}',
            "jsonl, line 1: a label with",
        ),
    ],
)
def test_damaged_records(tmp_path, layout, name, content, message):
    write_records(tmp_path, layout)
    (tmp_path / name).write_text(content)
    with pytest.raises(ValueError, match=message):
        read_corpus(tmp_path, layout)


def test_missing_files_and_unknown_layouts(tmp_path):
    for layout in ("xmc", "jsonl", "csv"):
        with pytest.raises(ValueError, match="no such file"):
            read_corpus(tmp_path, layout)
    with pytest.raises(ValueError, match="layout must be one of"):
        read_corpus(tmp_path, "parquet")  # type: ignore[arg-type]


def test_a_split_checks_itself():
    positives = sp.csr_array(np.eye(2, dtype=bool))
    with pytest.raises(ValueError, match=r"positives has shape \[2, 2\].* 3 texts and 2 label"):
        TextSplit(["a", "b", "c"], ["x", "y"], positives)
    with pytest.raises(ValueError, match="excluded has shape"):
        TextSplit(["a", "b"], ["x", "y"], positives, sp.csr_array((2, 3), dtype=bool))
    with pytest.raises(ValueError, match="label 1 of 2 has an empty text"):
        TextSplit(["a", "b"], ["x", ""], positives)


def test_rows_keep_texts_and_labels_together():
    positives = sp.csr_array(np.eye(3, dtype=bool))
    split = TextSplit(["a", "b", "c"], ["x", "y", "z"], positives, positives)
    part = split.rows(np.array([2, 0]))
    assert list(part.texts) == ["c", "a"]
    assert part.positives.indices.tolist() == [2, 0]
    assert part.truth.nnz == 0


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "rows", "labels", "seen", "positives"),
    [
        ("EURLEX57K", (45000, 6000), 4271, 4108, 228322),
        ("TIBcore-79K", (41899, 6980), 78741, 15453, 87838),
    ],
)
def test_published_counts(shared, name, rows, labels, seen, positives):
    train, test = read_corpus(shared / "data" / "xmc" / name, "xmc")
    assert (len(train), len(test)) == rows
    assert len(train.label_texts) == labels
    assert (np.bincount(train.positives.indices, minlength=labels) > 0).sum() == seen
    assert train.positives.nnz == positives
