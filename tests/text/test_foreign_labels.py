"""Labels of texts that hold formulas and terminal commands: on screen and in tables."""

import csv
import json

import pytest
from small_texts import LABELS, write_corpus

from pumlc.cli.main import main

pytestmark = pytest.mark.filterwarnings("ignore")
NAMES = (
    "=cmd|' /C calc'!A1",
    "@SUM(1+1)",
    "+1 or -1",
    "\x1b]0;owned\x07\x1b[31mred",
    "\u202eabc",
    'a,b"c',
    "<script>alert(1)</script>",
)
SETTINGS = """
task: text
data: {{root: {root}, document_length: 16, label_length: 8, token_cache: {cache}, validation: 0.2}}
encoder: {{model: {model}, document_chunk: 24, label_chunk: 32}}
loss: {{name: {loss}, temperature: 0.05}}
heads: {heads}
train: {{epochs: 1, batch_size: 24, learning_rate: 1e-3}}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    (folder / "raw" / "Y.txt").write_text("\n".join([*NAMES, *LABELS[len(NAMES) :]]) + "\n")
    return folder


@pytest.mark.parametrize(("heads", "loss"), [("none", "softmax"), ("least_squares",) * 2])
def test_no_command_lets_a_label_act(heads, loss, corpus, bert_folder, tmp_path, tool, capsys):
    settings, run = tmp_path / "run.yaml", tmp_path / "run"
    places = {"root": corpus, "cache": tmp_path / "tokens", "model": bert_folder}
    settings.write_text(SETTINGS.format(heads=heads, loss=loss, **places))
    documents, table = tmp_path / "documents.txt", tmp_path / "table.jsonl"
    documents.write_text("red car runs\n")
    table.write_text(json.dumps({"text": "red car", "labels": NAMES}) + "\n")
    predictions, audit = tmp_path / "predictions.csv", tmp_path / "audit"
    for command, *arguments in (
        ("train", "--config", settings, "--out", run),
        ("evaluate", run, "--per-label"),
        ("audit", run),
        ("audit", run, "--out", audit),
        ("predict", run, documents, "--top", 27, "--out", predictions),
    ):
        tool(command).main([str(argument) for argument in arguments])
    main(["inspect", str(table), "--text-column", "text", "--encoder", str(bert_folder)])
    shown = "".join(capsys.readouterr())
    assert "owned" in shown
    assert not set("\x1b\x07\u202e") & set(shown)
    cells: set[str] = set()
    for place in (run / "audit.csv", audit / "suspects.csv", predictions):
        with place.open(newline="") as file:
            cells.update(cell for row in csv.reader(file) for cell in row)
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "@")]
    assert "'=cmd|' /C calc'!A1" in cells
    assert "<script>alert(1)" not in (audit / "review.html").read_text()
