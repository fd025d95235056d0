"""Decisions about labels of documents: applied to the table, and not asked for again."""

import csv
import json

import pytest
from test_own_tables import COLUMNS, write_csv_table

from pumlc.audit.corrections import read_corrections
from pumlc.cli.correct import main
from pumlc.cli.inspect import main as tool_inspect
from pumlc.errors import PumlcWarning, UserError
from pumlc.text.data.readers.table import Columns, read_table

TOLD = ["--text-column", "body", "--label-column", "tags", "--id-column", "doc"]
DECIDED = [
    ("a1", "red", "present", "absent"),
    ("a2", "blue", "unknown", "absent"),
    ("a4", "red", "unknown", "present"),
    ("a5", "green", "unknown", "present"),
]


def decided(path, rows=DECIDED):
    path.write_text("image,class,given,corrected\n" + "".join(",".join(r) + "\n" for r in rows))
    return str(path)


def cells(form):
    labels = [["red", "fruit"], ["green", "fruit"], ["green"], ["blue"], []]
    spelled = {
        "bar": "|".join,
        "semicolon": ";".join,
        "one": lambda names: names[0] if names else "",
        "json": json.dumps,
        "python": lambda names: repr(names) if names else "",
    }[form]
    return [spelled(names) for names in labels]


@pytest.mark.parametrize("form", ["bar", "semicolon", "one", "json", "python"])
def test_only_the_decided_labels_change_in_every_form(tmp_path, form, capsys):
    rows = [(f"a{n}", f"text, {n}", cell, "") for n, cell in enumerate(cells(form), 1)]
    file, out = write_csv_table(tmp_path / "docs.csv", rows), tmp_path / "new.csv"
    before = read_table(file, COLUMNS)
    main([str(file), decided(tmp_path / "c.csv"), *TOLD, "--out", str(out)])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["changed"], result["confirmed"], result["missing"]) == (3, 1, 0)
    after = read_table(out, COLUMNS)
    expected = [list(names) for names in before.labels]
    expected[0].remove("red")
    expected[3].append("red")
    expected[4].append("green")
    assert after.labels == expected
    assert (after.texts, after.names, after.groups) == (before.texts, before.names, before.groups)
    known = read_corrections([tmp_path / "new.csv.decisions.csv"])
    assert [c.key for c in known] == [row[:2] for row in DECIDED]


def test_a_spreadsheet_with_a_mark_and_lines_of_json_keep_their_form(tmp_path):
    said = decided(tmp_path / "c.csv", [("ä", "b", "present", "absent")])
    table = tmp_path / "docs.csv"
    table.write_bytes("\ufeffdoc;body;tags\r\nä;x, y;a|b\r\nc;z;b\r\n".encode())
    main([str(table), said, *TOLD, "--out", str(tmp_path / "new.csv")])
    written = (tmp_path / "new.csv").read_bytes().decode()
    assert written == "\ufeffdoc;body;tags\r\nä;x, y;a\r\nc;z;b\r\n"
    lines = tmp_path / "docs.jsonl"
    lines.write_text('{"doc":"ä","body":"ü","tags":["a","b"]}\n\n{"doc": "c",  "body": "z"}\n')
    main([str(lines), said, *TOLD, "--out", str(tmp_path / "new.jsonl")])
    first, *rest = (tmp_path / "new.jsonl").read_text().splitlines()
    assert first == '{"doc": "ä", "body": "ü", "tags": ["a"]}'
    assert rest == ["", '{"doc": "c",  "body": "z"}']


def test_documents_without_names_are_called_by_their_rows(tmp_path):
    file, out = write_csv_table(tmp_path / "docs.csv"), tmp_path / "new.csv"
    said = decided(tmp_path / "c.csv", [("4", "blue", "present", "absent")])
    main([str(file), said, *TOLD[:4], "--out", str(out)])
    assert [len(names) for names in read_table(out, COLUMNS).labels] == [2, 2, 1, 0, 0]


def test_what_cannot_be_applied_is_said(tmp_path):
    rows = [("a1", "x", "red|fruit", ""), ("a1", "y", "red", "")]
    file, out = write_csv_table(tmp_path / "docs.csv", rows), str(tmp_path / "new.csv")
    said = decided(tmp_path / "c.csv", DECIDED[:1])
    with pytest.raises(UserError, match=r"c.csv, line 2: 2 documents .* called 'a1' .lines 2, 3."):
        main([str(file), said, *TOLD, "--out", out])
    with pytest.raises(UserError, match="no correction is about"):
        main([str(file), said, *TOLD[:4], "--out", out])
    with pytest.raises(UserError, match="--format is for label files of pictures"):
        main([str(file), said, *TOLD, "--out", out, "--format", "csv"])
    with pytest.raises(UserError, match="--id-column is for tables of documents; .* --text-column"):
        main([str(file), said, *TOLD[4:], "--out", out])
    with pytest.raises(UserError, match="no known format[^$]*--text-column NAME"):
        main([str(file), said, "--out", out])
    with pytest.raises(UserError, match=r"--out: .* keeps its form, so name a file \*.csv"):
        main([str(file), said, *TOLD, "--out", str(tmp_path / "new.jsonl")])
    assert not list(tmp_path.glob("new*"))


def test_cells_that_the_corrections_make_ambiguous_are_told(tmp_path):
    rows = [("a1", "x", "red, fruit", ""), ("a2", "y", "red", "")]
    file, out = write_csv_table(tmp_path / "docs.csv", rows), tmp_path / "new.csv"
    said = decided(tmp_path / "c.csv", [("a2", "red", "present", "absent")])
    with pytest.warns(PumlcWarning, match="two ways; write data.separator ','"):
        main([str(file), said, *TOLD, "--out", str(out)])
    assert read_table(out, COLUMNS, separator=",").labels == [["red", "fruit"], []]


def test_documents_are_not_corrected_as_pictures(tmp_path, capsys):
    """Written as a file of pictures the table would lose its texts."""
    rows = [("a1", "one text", "red|fruit"), ("a2", "another", "red")]
    file = write_csv_table(tmp_path / "docs.csv", rows, ("id", "text", "labels"))
    said, out = decided(tmp_path / "c.csv", DECIDED[:1]), tmp_path / "new.csv"
    with pytest.raises(UserError, match="docs.csv: columns of it would be lost; .*--text-column"):
        main([str(file), said, "--out", str(out)])
    assert not out.exists()
    tool_inspect([str(file)])
    assert "if it is a table of documents" in capsys.readouterr().out
    told = ["--text-column", "text", "--id-column", "id"]
    main([str(file), said, *told, "--out", str(out)])
    assert read_table(out, Columns()).labels == [["fruit"], ["red"]]


def test_an_audit_of_the_corrected_table_does_not_ask_again(tmp_path, bert_folder, tool, capsys):
    """A table without names: documents are called by their rows, not by their place in a split."""
    texts = [f"{'red' if n % 2 else 'blue'} {'apple' if n % 3 else 'car'} {n}" for n in range(60)]
    rows = [(text, "|".join(text.split()[:2])) for text in texts]
    rows[13] = (texts[13], "blue|apple")  # it is red
    file, new = tmp_path / "my docs.csv", tmp_path / "new.csv"
    write_csv_table(file, rows, ("text", "tags"))
    options = ["--config", "texts_frozen", "--data.train_rows", "null", "--kernel.embeddings"]
    options += ["false", "--encoder.model", str(bert_folder), "--data.label_column", "tags"]
    options += ["--data.token_cache", str(tmp_path / "tokens")]

    def audited(table, name):
        tool("train").main([*options, "--data.labels", str(table), "--out", str(tmp_path / name)])
        tool("audit").main([str(tmp_path / name), "--out", str(tmp_path / f"{name}-audit")])
        return list(csv.DictReader((tmp_path / f"{name}-audit" / "suspects.csv").open()))

    suspects = audited(file, "before")
    assert all(
        (row["class"] in rows[int(row["image"]) - 1][1].split("|")) == (row["given"] == "present")
        for row in suspects
    )
    present = [(row["image"], row["class"]) for row in suspects if row["given"] == "present"]
    wrong = ("14", "blue")
    assert wrong in present
    page = (tmp_path / "before-audit" / "review.html").read_text()
    assert f"'{file}' corrections.csv --text-column text --label-column tags --out NEW" in page
    kept = next(pair for pair in present if pair != wrong)
    said = [(*wrong, "present", "absent"), ("14", "red", "unknown", "present")]
    said.append((*kept, "present", "present"))
    told = ["--text-column", "text", "--label-column", "tags"]
    main([str(file), decided(tmp_path / "c.csv", said), *told, "--out", str(new)])
    again = {(row["image"], row["class"]) for row in audited(new, "after")}
    assert again
    assert not again & {row[:2] for row in said}
