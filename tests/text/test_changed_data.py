"""Data that changed after training: resuming refuses, evaluation says so."""

import shutil
import warnings

import pytest
import scipy.sparse as sp
import torch
from small_texts import fresh_accelerator, text_config

from pumlc.engine.config import plain
from pumlc.engine.loop import Trainer
from pumlc.engine.run import RunFolder
from pumlc.files import read_json, write_json
from pumlc.text.data.corpus import fingerprint
from pumlc.text.data.readers import read_corpus
from pumlc.text.evaluation import evaluate_run
from pumlc.text.task import TextTask


@pytest.fixture(scope="module")
def trained(corpus_folder, bert_folder, tmp_path_factory):
    """Data set, run and config of one epoch with a validation part."""
    folder = tmp_path_factory.mktemp("changed")
    data = shutil.copytree(corpus_folder, folder / "data")
    config = text_config(
        data, bert_folder, folder / "cache", data__validation="0.2", train__epochs="1"
    )
    torch.manual_seed(0)
    task, run = TextTask(config), RunFolder(folder / "run")
    run.start(plain(config), task.facts(), 1)
    task.write_files(run.path)
    Trainer(task, config.train, run, fresh_accelerator()).train()
    return data, run, config


def change_line(path, line, text):
    lines = path.read_text().split("\n")
    lines[line] = text
    path.write_text("\n".join(lines))


def swap_text(data):
    change_line(data / "raw" / "trn_X.txt", 3, "red plum")


def swap_label(data):
    change_line(data / "raw" / "Y.txt", 3, "orange plum")


def swap_pairs(data):
    sp.save_npz(data / "Y.trn.npz", sp.load_npz(data / "Y.trn.npz")[::-1])


def add_filter(data):
    (data / "filter_labels_train.txt").write_text("0 1\n")


def swap_test_text(data):
    change_line(data / "raw" / "tst_X.txt", 3, "red plum")


TRAINING = [swap_text, swap_label, swap_pairs, add_filter]


@pytest.fixture
def changed(request, trained, tmp_path):
    data = shutil.copytree(trained[0], tmp_path / "data")
    request.param(data)
    return data


@pytest.mark.parametrize("changed", TRAINING, indirect=True)
def test_resuming_refuses(trained, changed, accelerator):
    _, run, config = trained
    task = TextTask(config)
    Trainer(task, config.train, run, accelerator).resume()
    config = text_config(changed, config.encoder.model, config.data.token_cache)
    task = TextTask(config)
    with pytest.raises(ValueError, match="not those that the run was trained on"):
        Trainer(task, config.train, run, accelerator).resume()


@pytest.mark.parametrize("changed", TRAINING, indirect=True)
def test_evaluation_of_the_validation_part_refuses_and_others_warn(trained, changed, accelerator):
    _, run, _ = trained
    with pytest.raises(ValueError, match="pairs of train.* are not those of .*cannot be told"):
        evaluate_run(run.path, accelerator, split="validation", root=str(changed))
    for split in ("test", "train"):
        with pytest.warns(UserWarning, match="pairs of train.* are not those of"):
            evaluate_run(run.path, accelerator, split=split, root=str(changed), weights=["last"])


@pytest.mark.parametrize("changed", [swap_test_text], indirect=True)
def test_another_test_split_is_said(trained, changed, accelerator):
    _, run, _ = trained
    with pytest.warns(UserWarning, match="pairs of test are not those of"):
        evaluate_run(run.path, accelerator, root=str(changed), weights=["last"])


def test_the_same_data_elsewhere_are_the_same(trained, accelerator, tmp_path):
    data, run, _ = trained
    moved = shutil.copytree(data, tmp_path / "moved")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        evaluate_run(run.path, accelerator, split="validation", root=str(moved), weights=["last"])
    earlier = shutil.copytree(run.path, tmp_path / "earlier")
    content = read_json(earlier / "run.json")
    del content["data"]
    write_json(earlier / "run.json", content)
    swap_text(moved)
    evaluate_run(earlier, accelerator, split="validation", root=str(moved), weights=["last"])


def test_a_run_goes_on_with_its_data_elsewhere(trained, tool, tmp_path):
    data, run, _ = trained
    resume = ["--out", str(shutil.copytree(run.path, tmp_path / "run")), "--resume"]
    changed = shutil.copytree(data, tmp_path / "changed")
    swap_text(changed)
    with pytest.raises(ValueError, match="its data are not those that the run started with"):
        tool("train").main([*resume, "--data.root", str(changed)])
    tool("train").main([*resume, "--data.root", str(shutil.copytree(data, tmp_path / "moved"))])
    with pytest.raises(ValueError, match="--data.csv does not apply to .*another task"):
        tool("train").main([*resume, "--data.csv", "x.csv"])


def test_a_run_that_was_killed_before_its_labels_were_written_goes_on(trained, tool, tmp_path):
    _, run, _ = trained
    cut = shutil.copytree(run.path, tmp_path / "run")
    (cut / "labels.json").unlink()
    shutil.rmtree(cut / "encoder")
    tool("train").main(["--out", str(cut), "--resume"])
    assert (cut / "labels.json").read_text() == (run.path / "labels.json").read_text()
    assert (cut / "encoder" / "config.json").is_file()


def test_a_fingerprint_tells_where_a_text_ends(tmp_path):
    prints = set()
    for first, second in (("red", "apple"), ("red ", "apple"), ("re", "dapple"), ("apple", "red")):
        (tmp_path / "train.csv").write_text(f"text,labels\n{first},a\n{second},a\n")
        (tmp_path / "test.csv").write_text("text,labels\nx,a\n")
        prints.add(fingerprint(read_corpus(tmp_path, "csv")[0]))
    assert len(prints) == 4
