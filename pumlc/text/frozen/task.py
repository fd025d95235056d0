"""A text run whose encoder is frozen: embeddings once, least squares on them, a run folder."""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator

from pumlc.engine.checkpoint import save_weights
from pumlc.engine.run import RunFolder
from pumlc.errors import warn_user
from pumlc.files import write_json
from pumlc.metrics import PROPENSITY_PRESETS, inverse_propensities
from pumlc.progress import Progress, ShowProgress
from pumlc.text.config import TextConfig
from pumlc.text.data.checks import check_truth, warn_of_similar_labels
from pumlc.text.data.corpus import Corpus, load_corpus
from pumlc.text.frozen.fit import LEFT_OUT, FittedHeads, fit_heads
from pumlc.text.frozen.held_out import HeldOut, encoder_saw
from pumlc.text.frozen.kernel import Documents
from pumlc.text.frozen.left_out import write_left_out
from pumlc.text.frozen.model import FrozenModel, KernelHeads
from pumlc.text.frozen.represent import represent
from pumlc.text.frozen.words import Words, first_words
from pumlc.text.joint.config import JOINT
from pumlc.text.joint.fit import HeldOutTexts, TextEvidence, fit_joint
from pumlc.text.joint.model import JointHeads
from pumlc.text.joint.represent import document_texts, embed_labels, label_texts
from pumlc.text.models.build import TextModel, check_lengths, new_model

NAME = "last"
"""The name of the weights that such a run saves; there are no others."""


class FrozenTextTask:
    """Encoder, documents and labels; satisfies `pumlc.engine.task.TrainsItself`.

    Args:
        config: the settings of the run, with ``heads``.
        folder: of a run that goes on; nothing of it is needed.

    Raises:
        UserError: the encoder is missing, which is found first; see also the readers.
    """

    def __init__(self, config: TextConfig, folder: Path | None = None) -> None:
        self.config = config
        self.encoder: TextModel | None = None
        if config.kernel.embeddings:
            self.encoder = new_model(config.encoder, labels_with_vector=0)
            check_lengths(self.encoder, config)
        self.corpus = load_corpus(config.data, seed=config.train.seed)
        check_truth(self.corpus, config.data.source)
        warn_of_similar_labels(self.corpus.source.label_texts, config.data.source)
        encoders, tokenizer = None, None
        self.held_out_judges = False
        if self.encoder is not None:
            saw, self.held_out_judges = encoder_saw(config, self.corpus)
            if saw:
                _warn_of_seen_documents(config, self.corpus, self.held_out_judges)
            encoders, tokenizer = self.encoder.encoders, self.encoder.tokenizer
        self.model = FrozenModel(encoders, None, tokenizer, None)

    def facts(self) -> dict[str, Any]:
        """What run.json records of data and model."""
        corpus = self.corpus
        seen = int(corpus.labels_seen().sum())
        facts = {
            "train_texts": len(corpus.train),
            "validation_texts": len(corpus.validation),
            "test_texts": len(corpus.test),
            "labels": len(corpus.source.label_texts),
            "labels_seen_in_training": seen,
            "data": corpus.fingerprints(),
        }
        if self.encoder is not None:
            facts["head"] = dataclasses.asdict(self.encoder.encoders.documents.head)
        return facts

    def write_files(self, folder: Path) -> None:
        """Write what a predictor needs: label texts, shape of the encoder, tokenizer."""
        write_json(folder / "labels.json", list(self.corpus.source.label_texts))
        if self.encoder is not None:
            self.encoder.write_shape(folder)

    def represent(self, accelerator: Accelerator, progress: ShowProgress | None) -> Documents:
        """The training documents as the kernel sees them; the model learns its words."""
        if self.config.kernel.words:
            self.model.words = Words.fit(self._texts(), self.config.kernel.word_count)
        if self.model.encoders is not None:
            self.model.encoders.to(accelerator.device).eval()
        return self._represented(self._texts(), accelerator, progress)

    def represent_held_out(
        self, accelerator: Accelerator, progress: ShowProgress | None
    ) -> HeldOut | None:
        """The held-out documents after `represent`, if they judge in place of leave-one-out."""
        if not self.held_out_judges:
            return None
        split = self.corpus.source.rows(self.corpus.validation)
        texts = list(split.texts)
        documents = self._represented(texts, accelerator, progress)
        return HeldOut(texts, documents, split.truth, split.excluded)

    def _represented(
        self, texts: list[str], accelerator: Accelerator, progress: ShowProgress | None
    ) -> Documents:
        return represent(
            texts,
            self.model,
            self.config,
            accelerator=accelerator,
            cached=True,
            progress=progress,
        )

    def fit(
        self, documents: Documents, held_out: HeldOut | None, show: Callable[[str], None]
    ) -> FittedHeads:
        """Least squares on the training documents; ``show`` takes lines of progress."""
        config, corpus = self.config, self.corpus
        constants = PROPENSITY_PRESETS[config.data.propensity]
        inverse = inverse_propensities(corpus.source.positives, **constants)
        excluded = corpus.source.excluded
        return fit_heads(
            documents,
            corpus.source.truth[corpus.train],
            config.kernel,
            groups=same_texts(self._texts(), config.kernel.word_count),
            label_weights=inverse**config.kernel.rare_labels,
            excluded=None if excluded is None else excluded[corpus.train],
            seed=config.train.seed,
            held_out=held_out,
            show=show,
        )

    def add_label_texts(
        self,
        documents: Documents,
        held_out: HeldOut | None,
        heads: FittedHeads,
        show: Callable[[str], None],
        progress: ShowProgress | None = None,
    ) -> FittedHeads:
        """Score labels by their text too; the model gets what that needs."""
        config, source, model = self.config, self.corpus.source, self.model
        texts, count = self._texts(), config.kernel.word_count
        model.letters = Words.fit([*texts, *source.label_texts], count, config.joint.letters)
        embeddings = embed_labels(source.label_texts, model, config, cached=True, progress=progress)
        excluded = source.excluded
        evidence = TextEvidence(
            document_texts(texts, documents, documents.embeddings, model),
            label_texts(source.label_texts, embeddings, model),
            source.truth[self.corpus.train],
            same_texts(texts, count),
            None if excluded is None else excluded[self.corpus.train],
        )
        others = None
        if held_out is not None:
            own = document_texts(
                held_out.texts, held_out.documents, held_out.documents.embeddings, model
            )
            others = HeldOutTexts(own, held_out.truth, held_out.excluded)
        fit = fit_joint(heads, evidence, config.joint, others, show)
        model.joint = JointHeads.of(fit, embeddings, model.letters)
        return fit.heads

    def _texts(self) -> list[str]:
        return list(self.corpus.source.rows(self.corpus.train).texts)

    def create_trainer(self, run: RunFolder, accelerator: Accelerator) -> "FrozenTextTrainer":
        """What fills the run folder."""
        return FrozenTextTrainer(self, run, accelerator)


class FrozenTextTrainer:
    """Embeddings, least squares, and what is saved; satisfies `pumlc.engine.task.OwnTrainer`."""

    def __init__(self, task: FrozenTextTask, run: RunFolder, accelerator: Accelerator) -> None:
        self.task, self.run, self.accelerator = task, run, accelerator

    def resume(self) -> None:
        """Nothing is left to read: a run is complete or starts again."""
        self._print("starting again; the tokens of the texts are in the cache")

    def train(self) -> None:
        """Embed the training documents, fit, save."""
        started = time.perf_counter()
        task = self.task
        progress = Progress().show if self.accelerator.is_main_process else None
        documents = task.represent(self.accelerator, progress)
        held_out = task.represent_held_out(self.accelerator, progress)
        embedded = time.perf_counter()
        if not self.accelerator.is_main_process:
            return
        heads = task.fit(documents, held_out, self._print)
        if task.config.heads == JOINT:
            heads = task.add_label_texts(documents, held_out, heads, self._print, progress)
        task.model.heads = KernelHeads.of(
            documents.rows(heads.anchors), task.model.words, heads.labels, heads.coefficients
        )
        row = {
            "epoch": 1,
            "seconds": round(time.perf_counter() - started, 1),
            "seconds_of_embedding": round(embedded - started, 1),
            **{f"{heads.judged_by}/{name}": value for name, value in heads.metrics.items()},
        }
        self._save(heads, row)
        self._print(", ".join(f"{name} {value:.4g}" for name, value in row.items()))

    def _save(self, heads: FittedHeads, row: dict[str, Any]) -> None:
        """The weights, and the file that says which there are, are last."""
        write_left_out(self.run.path, heads.left_out.stored)
        self.task.model.write_terms(self.run.path)
        entry = {
            "epoch": 1,
            "score": None,
            "chosen_by": heads.judged_by,
            "metrics": heads.metrics,
            "penalty": heads.fit.penalty,
            "extras": {"decisions": heads.decisions.to_json()},
        }
        file = self.run.weights / f"{NAME}.safetensors"
        self.run.add_metrics(row)
        self.run.add_to_index(NAME, save_weights(file, self.task.model.state_dict(), entry))

    def _print(self, text: str) -> None:
        if self.accelerator.is_main_process:
            print(text, flush=True)


def _warn_of_seen_documents(config: TextConfig, corpus: Corpus, held_out_judges: bool) -> None:
    """Warn that the encoder has seen the labels that leave-one-out hides from the heads."""
    begin = (
        f"encoder.model {config.encoder.model} was trained on documents of {config.data.source}, "
        f"with their labels: {LEFT_OUT} hides a label from the heads alone, so "
    )
    if held_out_judges:
        warn_user(
            f"{begin}an audit finds less; figures, probabilities and threshold are those of the "
            f"{len(corpus.validation)} documents that both trainings hold out"
        )
        return
    warn_user(
        f"{begin}its figures, probabilities and threshold are too good, and an audit finds less; "
        "pumlc evaluate RUN has the figures of other documents. To have all of it right, train the "
        "encoder and these heads with the same part held out, for example with --data.validation "
        "0.1, and the same data.train_rows and train.seed"
    )


def same_texts(texts: list[str], count: int | None) -> np.ndarray:
    """A number for each text, the same for texts that differ in case and blanks at most.

    >>> same_texts(["a b c", "d", "A  B"], 2).tolist()
    [0, 1, 0]
    """
    seen: dict[str, int] = {}
    keys = (" ".join(first_words(text, count).lower().split()) for text in texts)
    return np.array([seen.setdefault(key, row) for row, key in enumerate(keys)], np.int64)
