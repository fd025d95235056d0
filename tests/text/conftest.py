"""A transformer small enough for tests, with a tokenizer made on the spot."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from accelerate import Accelerator
from small_texts import fresh_accelerator, text_config, write_corpus
from tiny_bert import save_bert, word_tokenizer
from transformers import PreTrainedTokenizerFast

from pumlc.text.task import TextTask


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    return word_tokenizer()


@pytest.fixture(scope="session")
def bert_folder(tokenizer, tmp_path_factory) -> Path:
    """A saved BERT of two layers with its tokenizer; dropout is on."""
    return save_bert(tmp_path_factory.mktemp("bert"), tokenizer, 0.2)


@pytest.fixture(scope="session")
def steady_bert_folder(tokenizer, tmp_path_factory) -> Path:
    """The same without dropout, for comparisons of runs that draw in another order."""
    return save_bert(tmp_path_factory.mktemp("steady"), tokenizer, 0.0)


@pytest.fixture(scope="session")
def corpus_folder(tmp_path_factory) -> Path:
    """120 + 40 documents naming some of 27 labels, three of which training never sees."""
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder)
    return folder


@pytest.fixture
def accelerator() -> Accelerator:
    return fresh_accelerator()


@pytest.fixture
def make(corpus_folder, bert_folder, tmp_path):
    """A task with changed settings, from a fixed random state."""

    def build(model=bert_folder, **changes):
        torch.manual_seed(0)
        return TextTask(text_config(corpus_folder, model, tmp_path / "cache", **changes))

    return build
