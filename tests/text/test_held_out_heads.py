"""Heads on an encoder that was trained on the same documents: what both hold out judges."""

import json
import shutil
import warnings

import numpy as np
import pytest

import pumlc
from pumlc.engine.config import from_plain
from pumlc.engine.run import RunFolder
from pumlc.errors import PumlcWarning
from pumlc.text.config import TextConfig
from pumlc.text.data.corpus import load_corpus
from pumlc.text.decisions import fit_decisions
from pumlc.text.frozen.held_out import drawn_documents
from pumlc.text.retrieval.ranking import hits_of

SETTINGS = """
task: text
data: {{root: {root}, document_length: 16, label_length: 8, validation: 0.3, token_cache: {folder}}}
encoder: {{model: {folder}/encoder}}
heads: {heads}
joint: {{shortlist: 5, cost: 5.0}}
loss: {{name: least_squares, temperature: 1.0}}
train: {{epochs: 1, batch_size: 24, learning_rate: 1.0, seed: 3}}
"""


@pytest.fixture(params=["least_squares", "joint"])
def config(request, corpus_folder, bert_folder, tmp_path):
    """Of heads on an encoder that says it was trained on the same documents, with that part out."""
    shutil.copytree(bert_folder, tmp_path / "encoder")
    path = tmp_path / "heads.yaml"
    path.write_text(SETTINGS.format(root=corpus_folder, folder=tmp_path, heads=request.param))
    say(tmp_path, path)
    return path


def say(folder, path, **changed):
    """Write what ``pumlc export`` writes beside an encoder."""
    import yaml

    config = from_plain(TextConfig, yaml.safe_load(path.read_text()))
    corpus = load_corpus(config.data, seed=config.train.seed)
    content = {**corpus.fingerprints(), "drawn": {**drawn_documents(config), **changed}}
    (folder / "encoder" / "training_data.json").write_text(json.dumps(content))


def trained(config, tool, out, *options):
    tool("train").main(["--config", str(config), "--out", str(out), *options])
    return RunFolder(out).index()["last"]


def test_the_held_out_documents_judge(config, tool, tmp_path, capsys):
    out = tmp_path / "run"
    with pytest.warns(PumlcWarning, match=r"probabilities and threshold are those of the \d+ docu"):
        entry = trained(config, tool, out)
    assert entry["chosen_by"] == entry["extras"]["decisions"]["fitted_on"] == "validation"
    assert "validation/P@1" in (out / "metrics.csv").read_text()
    tool("evaluate").main([str(out), "--split", "validation"])
    measured = json.loads(capsys.readouterr().out.splitlines()[-1])["weights"]["last"]["all"]
    for name, value in entry["metrics"].items():
        assert measured[name] == pytest.approx(value), name
    predictor = pumlc.load(out, device="cpu")
    corpus = load_corpus(predictor.config.data, seed=predictor.config.train.seed)
    held_out = corpus.source.rows(corpus.validation)
    scores = predictor.score_split(held_out)
    hits = hits_of(scores.ids, held_out.truth)
    refitted = fit_decisions(scores.best, hits, held_out.truth.nnz, fitted_on="validation")
    for name in ("slope", "bias", "threshold"):
        stored = entry["extras"]["decisions"][name]
        assert stored == pytest.approx(getattr(refitted, name), rel=1e-4), name


def test_it_is_another_fit_than_that_of_leave_one_out(config, tool, tmp_path):
    with pytest.warns(PumlcWarning, match="are those of the"):
        judged = trained(config, tool, tmp_path / "judged")
    (tmp_path / "encoder" / "training_data.json").unlink()
    with warnings.catch_warnings():
        warnings.simplefilter("error", PumlcWarning)
        left_out = trained(config, tool, tmp_path / "left_out")
    assert left_out["chosen_by"] == left_out["extras"]["decisions"]["fitted_on"] == "leave-one-out"
    slopes = [entry["extras"]["decisions"]["slope"] for entry in (judged, left_out)]
    assert not np.isclose(*slopes)
    audits = []
    for run in ("judged", "left_out"):  # every training document has its scores all the same
        tool("audit").main([str(tmp_path / run), "--folds", "2", "--out", str(tmp_path / "audit")])
        audits.append((tmp_path / "audit" / "suspects.csv").read_text().count("\n"))
    assert min(audits) > 10


@pytest.mark.parametrize("changed", [{"seed": 4}, {"validation": 0.2}, {"train_rows": 50}])
def test_other_documents_held_out_judge_nothing(config, tool, tmp_path, changed):
    say(tmp_path, config, **changed)
    with pytest.warns(PumlcWarning, match="train the encoder and these heads with the same part"):
        entry = trained(config, tool, tmp_path / "run")
    assert entry["chosen_by"] == "leave-one-out"


def test_an_export_says_which_documents_were_drawn(make, accelerator, tmp_path, tool):
    from pumlc.engine.config import plain
    from pumlc.engine.loop import Trainer

    task = make()
    run = RunFolder(tmp_path / "run")
    run.start(plain(task.config), task.facts(), 1)
    task.write_files(run.path)
    Trainer(task, task.config.train, run, accelerator).train()
    tool("export").main([str(run.path), "--out", str(tmp_path / "exported")])
    content = json.loads((tmp_path / "exported" / "training_data.json").read_text())
    assert content["train"] == task.corpus.fingerprints()["train"]
    assert content["drawn"] == drawn_documents(task.config)
