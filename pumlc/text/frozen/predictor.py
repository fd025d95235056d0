"""A frozen run, ready to name the labels of texts."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from pumlc.engine.config import from_plain
from pumlc.engine.device import choose_device
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.progress import ShowProgress
from pumlc.text.config import TextConfig
from pumlc.text.data.text_split import TextSplit
from pumlc.text.decisions import Decisions
from pumlc.text.frozen.fit import LabelScores, best_columns, blocks_of, collect_scores
from pumlc.text.frozen.kernel import Documents, Kernel
from pumlc.text.frozen.model import load_model
from pumlc.text.frozen.represent import represent
from pumlc.text.models.build import check_lengths, trained_model
from pumlc.text.predictor import TextPrediction, check_labels, read_labels_file, strings


class FrozenTextPredictor:
    """The encoder and the coefficients of a run folder.

    Args:
        run_dir: the run folder.
        weights: name of saved weights; there is one, "last".
        device: where the encoder runs; by default a GPU if there is one.

    Attributes:
        labels: the label texts that texts are matched with; see `use_labels`.
        trained_labels: those of the run; some may have had no training document.
        decisions: probabilities and threshold.
        config: the settings of the run.

    Raises:
        UserError: not a run folder, no such weights, weights of another model, or no such device.
    """

    def __init__(
        self, run_dir: Path | str, weights: str | None = None, device: str | None = None
    ) -> None:
        self.run = RunFolder(run_dir)
        content = self.run.read()
        self.config: TextConfig = from_plain(TextConfig, content["config"])
        self.weights = weights or self.run.preferred_weights()
        file = self.run.weights_file(self.weights)
        encoders, tokenizer = None, None
        if self.config.kernel.embeddings:
            shape = trained_model(self.run.path, content, self.config.encoder)
            check_lengths(shape, self.config, where=f"{self.run.path / 'run.json'}: ")
            encoders, tokenizer = shape.encoders, shape.tokenizer
        self.model = load_model(self.run.path, file, self.config, encoders, tokenizer)
        if self.model.encoders is not None:
            self.model.encoders.to(choose_device(device))
        assert self.model.heads is not None
        self.trained_labels = read_labels_file(self.run.path)
        self._known = self.model.heads.labels.numpy()  # the label of each column of coefficients
        if len(self._known) and self._known[-1] >= len(self.trained_labels):
            raise UserError(f"{file}: heads.labels has a label that labels.json lacks")
        self._kernel = Kernel(self.model.heads.anchors(), self.config.kernel)
        entry = self.run.index().get(self.weights, {})
        self.decisions = Decisions.from_entry(entry, str(self.run.weights / "index.json"))
        self._use_trained_labels()

    def _use_trained_labels(self) -> None:
        """Choose among the labels that the run can find."""
        self.use_labels([self.trained_labels[label] for label in self._known])

    def use_labels(self, texts: Iterable[str]) -> None:
        """Choose among these labels from now on.

        Raises:
            ValueError: a label is blank or no string, or ``texts`` is a single string.
            UserError: a label had no training document.
        """
        labels = strings(texts, "labels")
        check_labels(labels)
        place_of = {self.trained_labels[label]: place for place, label in enumerate(self._known)}
        unknown = [label for label in labels if label not in place_of]
        if unknown:
            raise UserError(
                f"{self.run.path} fits its labels on training documents, and {len(unknown)} of "
                f"{len(labels)} labels have none, the first is {unknown[0]!r}; heads joint "
                "or a dual encoder (heads none) find labels by their text"
            )
        self.labels = tuple(labels)
        self._columns = np.array([place_of[label] for label in labels], np.int64)

    def predict(
        self,
        texts: Iterable[str],
        *,
        top: int = 10,
        precision: str = "fp32",
        progress: ShowProgress | None = None,
    ) -> TextPrediction:
        """Name the best labels of each text.

        Args:
            texts: N texts.
            top: labels wanted; with fewer labels, all of them.
            precision: fp32; embeddings are not rounded here.
            progress: called with what is embedded, the texts done and their number.

        Raises:
            ValueError: ``top < 1``, a text is no string, or ``texts`` is a single string.
            UserError: another precision.
        """
        texts = strings(texts, "texts")
        self._check(top, precision)
        scores, labels = [np.empty((0, min(top, len(self.labels))), np.float32)], []
        documents = represent(texts, self.model, self.config, progress=progress)
        for _, block in self._blocks(documents, self._columns):
            best = best_columns(block, top)
            scores.append(np.take_along_axis(block, best, axis=1))
            labels += [[self.labels[place] for place in row] for row in best]
        return TextPrediction(np.concatenate(scores), labels)

    def _check(self, top: int, precision: str) -> None:
        """Refuse what `predict` cannot do."""
        if not isinstance(top, int) or top < 1:
            raise ValueError(f"top must be at least 1, an int, got {top}")
        if precision != "fp32":
            raise UserError(
                f"search_precision {precision}: {self.run.path} has heads "
                f"{self.config.heads}, which search no index; leave it out"
            )

    def score_split(
        self,
        documents: TextSplit,
        accelerator: Accelerator | None = None,
        *,
        batch_size: int | None = None,
        progress: ShowProgress | None = None,
    ) -> LabelScores:
        """Scores of the documents of a split for their best labels and for those they have."""
        represented = represent(
            documents.texts,
            self.model,
            self.config,
            accelerator=accelerator,
            cached=True,
            batch_size=batch_size,
            progress=progress,
        )
        every = np.arange(len(self._known))
        blocks = self._blocks(represented, every)
        return collect_scores(blocks, self._known, documents.truth, documents.excluded)

    def _blocks(
        self, documents: Documents, columns: Sequence[int] | np.ndarray
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Rows [n] and their scores [n, columns]."""
        assert self.model.heads is not None
        coefficients = self.model.heads.coefficients.numpy()[:, columns]
        for rows in blocks_of(len(documents)):
            yield rows, self._kernel(documents.rows(rows)) @ coefficients
