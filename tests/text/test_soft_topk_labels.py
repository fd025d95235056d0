"""Soft top-k with few candidates: filled up, or refused before the first step."""

import pytest
import torch
from small_texts import text_config

from pumlc.text.task import TextTask


@pytest.fixture
def make(corpus_folder, steady_bert_folder, tmp_path):
    def build(k):
        torch.manual_seed(0)
        changes = {"loss__name": "soft_topk", "loss.parameters": f"{{k: {k}, alpha: 2}}"}
        changes |= {"negatives__kind": "mined", "negatives__per_document": "1"}
        return TextTask(text_config(corpus_folder, steady_bert_folder, tmp_path, **changes))

    return build


def test_candidates_are_filled_up_to_more_than_k(make, accelerator):
    task = make(26)
    batch = next(iter(task.batches(0, accelerator)))[:2]
    truth = task.corpus.source.truth[task.corpus.train[batch]]
    assert len(task._step_labels(batch, truth, 0, 1)) == 27
    assert task.training_step(task.model, batch, accelerator, 0)["loss"] >= 0


def test_more_than_all_labels_are_refused(make):
    with pytest.raises(ValueError, match="k must be below the 27 labels of .*, got 27"):
        make(27)
