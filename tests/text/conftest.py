"""A transformer small enough for tests, with a tokenizer made on the spot."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("transformers")

from accelerate import Accelerator
from small_texts import WORDS, fresh_accelerator, text_config, write_corpus
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from pumlc.text.task import TextTask

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    vocabulary = {word: index for index, word in enumerate([*SPECIAL, *WORDS])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    core.pre_tokenizer = pre_tokenizers.Whitespace()
    core.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(token, vocabulary[token]) for token in ("[CLS]", "[SEP]")],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=32,
    )


def save_bert(folder: Path, tokenizer, dropout: float) -> Path:
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=32,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


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
