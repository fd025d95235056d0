"""A joint run, ready to name the labels of texts, with and without training documents."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from accelerate import Accelerator

from pumlc.errors import UserError
from pumlc.progress import ShowProgress
from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.data.text_split import TextSplit
from pumlc.text.frozen.fit import LabelScores
from pumlc.text.frozen.predictor import FrozenTextPredictor
from pumlc.text.frozen.represent import represent
from pumlc.text.joint.fit import label_scores
from pumlc.text.joint.model import JointHeads
from pumlc.text.joint.pairs import Pairs, no_pairs, ranked
from pumlc.text.joint.represent import document_texts, embed_labels, label_texts
from pumlc.text.joint.scorer import PairLister
from pumlc.text.predictor import TextPrediction, check_labels, strings


class JointTextPredictor(FrozenTextPredictor):
    """Encoder, coefficients and label texts of a run folder; see `FrozenTextPredictor`.

    Attributes:
        fusion: from pairs to scores.
    """

    def __init__(
        self, run_dir: Path | str, weights: str | None = None, device: str | None = None
    ) -> None:
        super().__init__(run_dir, weights, device)
        heads = self._joint
        assert self.model.heads is not None
        try:
            heads.check(
                anchors=len(self.model.heads.coefficients),
                labels=len(self.trained_labels),
                dimension=self.model.heads.anchor_embeddings.shape[1],
            )
        except ValueError as error:
            raise UserError(f"{self.run.weights_file(self.weights)}: {error}") from error
        self.fusion = heads.fusion()

    @property
    def _joint(self) -> JointHeads:
        assert self.model.joint is not None  # the settings say heads joint
        return self.model.joint

    def _use_trained_labels(self) -> None:
        self.use_labels(self.trained_labels)

    def use_labels(self, texts: Iterable[str]) -> None:
        """Choose among these labels from now on; nothing is trained.

        A label whose text is that of a label of the run is that label. Any other one is scored by
        its text. Both are on one scale. Of several labels of one text the first with a training
        document counts; space around a label does not. A label is compared with all labels of the
        run, also with those that are not chosen, so that its score does not depend on the choice.

        Raises:
            ValueError: a label is blank or no string, or ``texts`` is a single string.
        """
        labels = strings(texts, "labels")
        check_labels(labels)
        self.labels = tuple(labels)
        self._beside = np.empty(0, np.int64)  # labels of the run that are not chosen
        if self.labels == tuple(self.trained_labels):
            self._trained = np.arange(len(labels))
        else:
            known = set(self._known.tolist())
            order = sorted(range(len(self.trained_labels)), key=lambda label: label not in known)
            place_of = {self.trained_labels[label].strip(): label for label in reversed(order)}
            self._trained = np.array([place_of.get(each.strip(), -1) for each in labels], np.int64)
            self._beside = np.setdiff1d(np.arange(len(self.trained_labels)), self._trained)
        self._lister: PairLister | None = None

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
            top: labels wanted. A text has fewer, with scores of -inf behind them, where the
                shortlists propose fewer.
            precision: fp32; embeddings are not rounded here.
            progress: called with what is embedded, the texts done and their number.

        Raises:
            ValueError: ``top < 1``, a text is no string, or ``texts`` is a single string.
            UserError: another precision.
        """
        texts = strings(texts, "texts")
        self._check(top, precision)
        top = min(top, len(self.labels))
        pairs = self.pairs(texts, progress=progress)
        scores = self.fusion.scores(pairs)
        chosen = pairs.listed & (pairs.labels < len(self.labels))
        ids, best = ranked(pairs, scores, chosen, len(texts), top)
        names = [[self.labels[label] for label in row if label >= 0] for row in ids]
        return TextPrediction(best, names)

    def score_split(
        self,
        documents: TextSplit,
        accelerator: Accelerator | None = None,
        *,
        batch_size: int | None = None,
        progress: ShowProgress | None = None,
    ) -> LabelScores:
        """Scores of the documents of a split for their best labels and for those they have."""
        self._use_trained_labels()
        pairs = self.pairs(
            documents.texts,
            given=documents.truth,
            excluded=documents.excluded,
            accelerator=accelerator,
            cached=True,
            batch_size=batch_size,
            progress=progress,
        )
        return label_scores(pairs, self.fusion.scores(pairs), documents.truth.shape)

    def pairs(
        self,
        texts: Sequence[str],
        *,
        given: SparseMatrix | None = None,
        excluded: SparseMatrix | None = None,
        accelerator: Accelerator | None = None,
        cached: bool = False,
        batch_size: int | None = None,
        progress: ShowProgress | None = None,
    ) -> Pairs:
        """The pairs of texts and labels, before they have a score: first those that are chosen
        among, in their order, then the others of the run.

        Args:
            texts: N texts.
            given: CSR [N, L], pairs that are kept in any case.
            excluded: CSR [N, L], pairs that are not listed.
            accelerator: its processes embed a share each; None: this process alone.
            cached: keep the tokens below ``data.token_cache``.
            batch_size: documents encoded at a time; by default as in the run.
            progress: told how many documents are embedded.
        """
        lister = self._label_lister(progress)
        documents = represent(
            texts,
            self.model,
            self.config,
            accelerator=accelerator,
            cached=cached,
            batch_size=batch_size,
            progress=progress,
        )
        assert self.model.heads is not None
        coefficients = self.model.heads.coefficients.numpy()
        to_labels = self._joint.map_coefficients.numpy()
        parts = []
        for rows in lister.blocks(len(texts)):
            block = documents.rows(rows)
            kernel = self._kernel(block)
            own = [texts[int(row)] for row in rows]
            parts.append(
                lister(
                    rows,
                    kernel @ coefficients,
                    document_texts(own, block, kernel @ to_labels, self.model),
                    given=None if given is None else given[rows],
                    excluded=None if excluded is None else excluded[rows],
                )
            )
        return Pairs.joined(parts) if parts else no_pairs()

    def _label_lister(self, progress: ShowProgress | None) -> PairLister:
        """Compares with the labels that are chosen among and the others; new ones are embedded."""
        if self._lister is None:
            trained = np.concatenate([self._trained, self._beside])
            known = trained >= 0
            stored = self._joint.label_embeddings.numpy()
            embeddings = stored[np.where(known, trained, 0)] if len(stored) else stored
            if not known.all():
                new = [self.labels[place] for place in np.flatnonzero(~known)]
                embeddings[~known] = embed_labels(new, self.model, self.config, progress=progress)
            column_of = np.full(len(self.trained_labels) + 1, -1, np.int64)
            column_of[self._known] = np.arange(len(self._known))
            every = [*self.labels, *(self.trained_labels[label] for label in self._beside)]
            self._lister = PairLister(
                label_texts(every, embeddings, self.model),
                column_of[trained],
                self.config.joint.shortlist,
                np.arange(len(every)) < len(self.labels) if len(self._beside) else None,
            )
        return self._lister
