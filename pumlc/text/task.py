"""The text task: what the training loop drives for documents and label texts."""

import dataclasses
from collections.abc import Iterable, Sequence
from functools import cached_property
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
from pumlc.progress import Progress, ShowProgress, working
from pumlc.text.config import TextConfig
from pumlc.text.data.checks import check_truth, warn_of_similar_labels
from pumlc.text.data.corpus import load_corpus
from pumlc.text.data.tokens import TokenizedTexts, cached_tokens
from pumlc.text.decisions import fit_decisions
from pumlc.text.models.build import check_lengths, new_model
from pumlc.text.models.embedding import Embedder
from pumlc.text.models.fused_vectors import FusedLabelVectors
from pumlc.text.retrieval.ranking import (
    DEPTH,
    hits_of,
    rank_labels,
    resampled_ndcg,
    retrieval_metrics,
)
from pumlc.text.training.fused_step import FusedStep
from pumlc.text.training.negatives import candidate_labels, draw_negatives, entries_among
from pumlc.text.training.objective import Objective
from pumlc.text.training.sharding import gather_embeddings, shard_of, sum_gradients
from pumlc.text.training.sides import TextSide, backward_through

MOMENTS = "label_vectors."
"""What names the moments of fused label vectors in a checkpoint."""


class TextTask:
    """Model, data and loss of a text run; satisfies `pumlc.engine.task.Task`.

    Each process holds a shard of the documents and a shard of the labels of a step. Embeddings of
    documents are exchanged, scores are not: every process scores all documents against its labels.

    Args:
        config: the settings of the run.
        folder: of a run that goes on; it is not needed here.

    Raises:
        UserError: data, encoder or loss do not fit the settings.
    """

    def __init__(self, config: TextConfig, folder: Path | None = None) -> None:
        self.config = config
        with working(f"reading {config.data.source}"):
            self.corpus = load_corpus(config.data, seed=config.train.seed)
        check_truth(self.corpus, config.data.source)
        with working("comparing the texts of labels"):
            warn_of_similar_labels(self.corpus.source.label_texts, config.data.source)
        self.objective = Objective(config.loss)
        seen = int(self.corpus.labels_seen().sum())
        self.text_model = new_model(
            config.encoder, labels_with_vector=seen, may_fuse=config.may_fuse
        )
        check_lengths(self.text_model, config)
        self.model, self.tokenizer = self.text_model.encoders, self.text_model.tokenizer
        self.documents = self._tokens(self.corpus.source.texts, "document_length")
        self.labels = self._tokens(self.corpus.source.label_texts, "label_length")
        # [N, shortlist], see `_mine`
        self.shortlists: np.ndarray | None = None
        # embedded texts [.., D] of the labels without a vector, if other labels have one
        self.unseen_texts: Tensor | None = None
        if config.loss.selected >= len(self.labels):
            raise UserError(
                f"loss.parameters: k must be below the {len(self.labels)} labels of "
                f"{config.data.source}, got {config.loss.selected}"
            )

    def _tokens(self, texts: Sequence[str], option: str) -> TokenizedTexts:
        length = getattr(self.config.data, option)
        folder = Path(self.config.data.token_cache).expanduser()
        require(not folder.is_file(), "data.token_cache", str(folder), "a folder or a new one")
        return cached_tokens(
            texts, self.tokenizer, max_length=length, folder=folder, progress=_progress()
        )

    def facts(self) -> dict[str, Any]:
        """What run.json records of data and model."""
        return {
            "train_texts": len(self.corpus.train),
            "validation_texts": len(self.corpus.validation),
            "test_texts": len(self.corpus.test),
            "labels": len(self.labels),
            "labels_seen_in_training": int(self.corpus.labels_seen().sum()),
            "data": self._fingerprints,
            "head": dataclasses.asdict(self.model.documents.head),
        }

    def write_files(self, folder: Path) -> None:
        """Write what a predictor needs: label texts, shape of the model, tokenizer."""
        write_json(folder / "labels.json", list(self.corpus.source.label_texts))
        self.text_model.write_shape(folder)

    def start(self, accelerator: Accelerator) -> None:
        """Let the label vectors start at the embedded texts of their labels."""
        if self.model.label_vectors is not None:
            seen = np.flatnonzero(self.corpus.labels_seen())
            texts = self._embedder(accelerator).label_texts(self.labels, seen)
            self.model.label_vectors.start(seen, texts)
        if self.fused_vectors is not None:
            self.fused_vectors.divide(accelerator.process_index, accelerator.num_processes)

    @property
    def fused_vectors(self) -> FusedLabelVectors | None:
        """The label vectors, if they update themselves."""
        vectors = self.model.label_vectors
        return vectors if isinstance(vectors, FusedLabelVectors) else None

    def state_dict(self) -> dict[str, Tensor]:
        """What resuming needs beside the weights: the data's fingerprint, and the shortlists."""
        state = {"data": self._data()}
        if self.shortlists is not None:
            state["shortlists"] = torch.from_numpy(self.shortlists)
        if self.unseen_texts is not None:
            state["unseen_texts"] = self.unseen_texts.cpu()
        if self.fused_vectors is not None:
            moments = self.fused_vectors.moments_state(_process_group())
            state |= {f"{MOMENTS}{name}": value for name, value in moments.items()}
        return state

    @cached_property
    def _fingerprints(self) -> dict[str, str]:
        with working("comparing the data with those of the run"):
            return self.corpus.fingerprints()

    def _data(self) -> Tensor:
        data = bytearray.fromhex(self._fingerprints["train"])
        return torch.frombuffer(data, dtype=torch.uint8)

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Take over the state of an interrupted run.

        Raises:
            UserError: it was trained on other texts, labels or pairs.
        """
        # a checkpoint of an earlier version has no fingerprint
        if "data" in state and not torch.equal(state["data"], self._data()):
            raise UserError(
                f"{self.config.data.source}: texts, labels or their pairs are not those that the "
                "run was trained on; resume with the same data"
            )
        shortlists = state.get("shortlists")
        self.shortlists = None if shortlists is None else shortlists.numpy()
        unseen, device = state.get("unseen_texts"), next(self.model.parameters()).device
        self.unseen_texts = None if unseen is None else unseen.to(device)
        if self.fused_vectors is not None:
            found = {k.removeprefix(MOMENTS): v for k, v in state.items() if k.startswith(MOMENTS)}
            try:
                self.fused_vectors.load_moments(found)
            except ValueError as error:
                raise UserError(
                    f"the checkpoint has {error}: the run was trained with another "
                    "encoder.label_vector_update or encoder.label_vector_moments; write those "
                    "into run.json"
                ) from error

    def steps_per_epoch(self, world_size: int) -> int:
        """Number of optimizer steps in an epoch.

        Raises:
            UserError: the loss or the labels cannot be divided over so many processes.
        """
        excluded = self.corpus.source.excluded is not None
        self.objective.check(excluded=excluded, world_size=world_size)
        if len(self.labels) < world_size:
            raise UserError(
                f"{len(self.labels)} labels cannot be divided over {world_size} processes"
            )
        return len(self._global_batches(world_size))

    def _global_batches(self, world_size: int) -> EpochBatches:
        """Whole batches on every process: each needs all rows to look up positives."""
        train = self.config.train
        return EpochBatches(len(self.corpus.train), train.batch_size * world_size, seed=train.seed)

    def batches(self, epoch: int, accelerator: Accelerator, first: int = 0) -> Iterable[np.ndarray]:
        """Rows of ``corpus.train``, the same global batches on every process."""
        negatives = self.config.negatives
        due = epoch % negatives.refresh == 0 and first == 0  # else done before the run stopped
        if self.model.label_vectors is not None and (due or self.unseen_texts is None):
            self.unseen_texts = self._embed_unseen(accelerator)
        if negatives.kind == "mined" and (due or self.shortlists is None):
            self.shortlists = self._mine(accelerator)
        batches = self._global_batches(accelerator.num_processes)
        batches.epoch, batches.first = epoch, first
        for pairs in batches:
            yield np.array([row for _, row in pairs])

    def _mine(self, accelerator: Accelerator) -> np.ndarray:
        """The best labels that each training document does not have, [N, shortlist]; -1 pads."""
        rows = self.corpus.train
        known = self.corpus.source.positives
        if self.corpus.source.excluded is not None:
            known = known + self.corpus.source.excluded
        queries, labels = self._embeddings(rows, accelerator)
        k = self.config.negatives.shortlist
        ids, _ = rank_labels(
            queries, labels, k, accelerator, excluded=known[rows], progress=_progress()
        )
        return ids.astype(np.int32)

    def _embed_unseen(self, accelerator: Accelerator) -> Tensor:
        """Embedded texts of the labels without a vector, by the current weights.

        They are scored as negatives of every document. Without them a softmax would determine the
        scores of the label vectors only up to a shift, and these could not be compared with the
        scores of texts.
        """
        unseen = np.flatnonzero(~self.corpus.labels_seen())
        texts = self._embedder(accelerator).label_texts(self.labels, unseen)
        return torch.from_numpy(texts).to(accelerator.device)

    def _embeddings(
        self, rows: np.ndarray, accelerator: Accelerator
    ) -> tuple[np.ndarray, np.ndarray]:
        """Embeddings of some documents and of all labels by the current weights."""
        embedder, texts = self._embedder(accelerator), self.corpus.source.label_texts
        documents = embedder.documents(self.documents, rows)
        return documents, embedder.labels(self.labels, texts, texts)

    def _embedder(self, accelerator: Accelerator) -> Embedder:
        encoder = self.config.encoder
        return Embedder(
            self.model,
            document_chunk=encoder.document_chunk,
            label_chunk=encoder.label_chunk,
            accelerator=accelerator,
            progress=_progress(),
        )

    def training_step(
        self, network: nn.Module, batch: np.ndarray, accelerator: Accelerator, step: int
    ) -> dict[str, Tensor]:
        """Forward and backward over the documents of ``batch`` and the labels of the step.

        ``network`` is not used: gradients are summed over the processes here, which DDP would
        average.
        """
        if self.fused_vectors is not None:
            return self._fused_step(self.fused_vectors, batch, accelerator)
        rank, world_size = accelerator.process_index, accelerator.num_processes
        group = _process_group()
        rows = self.corpus.train[batch]
        source = self.corpus.source
        labels = self._step_labels(batch, source.truth[rows], step, world_size)
        shard = shard_of(len(rows), rank, world_size)
        own_labels = labels[shard_of(len(labels), rank, world_size)]
        positives = entries_among(source.truth[rows], own_labels)
        excluded = None
        if source.excluded is not None:
            excluded = entries_among(source.excluded[rows], own_labels)

        def loss(documents: Tensor, label_texts: Tensor | None = None) -> Tensor:
            documents = gather_embeddings(documents, shard, len(rows), group)
            embedded = self._label_vectors(own_labels) if label_texts is None else label_texts
            return self.objective(
                documents, embedded, positives, process_group=group, excluded=excluded
            )

        encoder = self.config.encoder
        sides = [
            TextSide(self.model.documents, self.documents, rows[shard], encoder.document_chunk)
        ]
        if self.model.label_vectors is None:
            sides.append(TextSide(self.model.labels, self.labels, own_labels, encoder.label_chunk))
        value = backward_through(sides, loss, accelerator, gradient_cache=encoder.gradient_cache)
        sum_gradients(self.model.parameters(), group)
        return {"loss": value}

    def _fused_step(
        self, vectors: FusedLabelVectors, batch: np.ndarray, accelerator: Accelerator
    ) -> dict[str, Tensor]:
        """`training_step` where the label vectors are updated while the loss is computed."""
        rank, world_size = accelerator.process_index, accelerator.num_processes
        assert self.unseen_texts is not None
        step = FusedStep(vectors, self.unseen_texts, self.config.loss, rank, world_size)
        rows, source, group = self.corpus.train[batch], self.corpus.source, _process_group()
        shard = shard_of(len(rows), rank, world_size)
        excluded = None if source.excluded is None else source.excluded[rows]

        def loss(documents: Tensor) -> Tensor:
            documents = gather_embeddings(documents, shard, len(rows), group)
            return step.loss(documents, source.truth[rows], excluded, group)

        encoder = self.config.encoder
        side = TextSide(self.model.documents, self.documents, rows[shard], encoder.document_chunk)
        value = backward_through([side], loss, accelerator, gradient_cache=encoder.gradient_cache)
        vectors.exchange(group)
        sum_gradients(self.model.parameters(), group)
        return {"loss": value}

    def _label_vectors(self, labels: np.ndarray) -> Tensor:
        assert self.model.label_vectors is not None
        assert self.unseen_texts is not None
        return self.model.label_vectors(labels, self.unseen_texts)

    def _step_labels(
        self, batch: np.ndarray, positives: Any, step: int, world_size: int
    ) -> np.ndarray:
        """Numbers of the labels that the documents of a step are scored against, ascending."""
        if self.config.negatives.kind == "all":
            return np.arange(len(self.labels))
        assert self.shortlists is not None
        random = np.random.default_rng([self.config.train.seed, step])
        drawn = draw_negatives(self.shortlists[batch], self.config.negatives.per_document, random)
        at_least = max(world_size, self.config.loss.selected + 1)
        return candidate_labels(positives, drawn, at_least)

    def validate(self, accelerator: Accelerator) -> Validation | None:
        """Rank all labels for the held-out documents; the score is nDCG@5 in percent."""
        rows = self.corpus.validation
        if not len(rows):
            return None
        split = self.corpus.source.rows(rows)
        queries, labels = self._embeddings(rows, accelerator)
        ids, scores = rank_labels(
            queries, labels, DEPTH, accelerator, excluded=split.excluded, progress=_progress()
        )
        metrics = retrieval_metrics(ids, split.truth)
        hits, positives = hits_of(ids, split.truth), split.truth.nnz
        decisions = fit_decisions(scores, hits, positives, fitted_on="validation")
        resamples = None
        if self.config.train.selection == "one-standard-error":
            resamples = resampled_ndcg(ids, split.truth, 5)
        return Validation(metrics["nDCG@5"], metrics, {"decisions": decisions.to_json()}, resamples)


def _process_group() -> torch.distributed.ProcessGroup | None:
    """All processes, None if there is one."""
    alone = not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1
    return None if alone else torch.distributed.group.WORLD


def _is_main() -> bool:
    return not torch.distributed.is_initialized() or torch.distributed.get_rank() == 0


def _progress() -> ShowProgress | None:
    """Of the main process alone."""
    return Progress().show if _is_main() else None
