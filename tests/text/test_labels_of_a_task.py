"""What a task says of labels before it trains: similar texts, and parts without any."""

import json
import warnings

import pytest
from small_texts import text_config

from pumlc.errors import UserError
from pumlc.text.frozen.task import FrozenTextTask
from pumlc.text.task import TextTask


def write(folder, train, test=("red",)):
    for split, labels in (("train", train), ("test", test)):
        lines = (json.dumps({"text": "red car", "labels": [name] * bool(name)}) for name in labels)
        (folder / f"{split}.jsonl").write_text("\n".join(lines) + "\n")


HEADS = {"heads": "least_squares", "loss__name": "least_squares", "loss__temperature": "1"}


@pytest.fixture(params=[TextTask, FrozenTextTask])
def build(request, bert_folder, tmp_path):
    """A task, of trained encoders or of heads."""

    def task(**changes):
        changes = {"data__layout": "jsonl", "train__batch_size": "2"} | changes
        changes |= HEADS if request.param is FrozenTextTask else {}
        return request.param(text_config(tmp_path, bert_folder, tmp_path / "cache", **changes))

    return task


def test_labels_that_an_encoder_may_not_tell_apart(build, tmp_path):
    write(tmp_path, ["Tax", "tax", "fish_quota", "fish quota", "milk"])
    with pytest.warns(UserWarning, match="'Tax' / 'tax', 'fish quota' / 'fish_quota' differ only"):
        build()


def test_few_of_many_such_labels_are_shown(build, tmp_path):
    write(tmp_path, [name for i in range(9) for name in (f"a{i}", f"A{i}")])
    with pytest.warns(UserWarning, match="'A4' / 'a4' and 4 more such groups differ"):
        build()


def test_no_warning_of_other_labels(build, tmp_path):
    write(tmp_path, ["red", "red car", "blue"])
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        build()


def test_a_held_out_part_without_labels(build, tmp_path):
    write(tmp_path, ["red", *[""] * 19])
    with pytest.raises(UserError, match="none of the 10 documents held out by data.validation"):
        build(data__validation="0.5", train__seed="1")


def test_training_documents_without_labels(build, tmp_path):
    write(tmp_path, [""] * 4)
    with pytest.raises(UserError, match="no training document has a label"):
        build()


def test_test_documents_without_labels_are_said_before_training(build, tmp_path):
    write(tmp_path, ["red", "blue"], test=["", ""])
    with pytest.warns(UserWarning, match="none of the 2 documents of the split test has a label"):
        build()
