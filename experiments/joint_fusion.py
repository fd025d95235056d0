"""Labels with and without documents on one scale: how much depends on where the scale is fitted.

    python experiments/joint_fusion.py RUN [--documents 2000]

RUN is a joint run that was trained on a part of the training documents (data.train_rows). Its
encoder may have been trained on that part, so that leave-one-out is too good there. The same two
regressions are fitted anew on other training documents, which nothing has seen, and once more with
gradient boosting in place of the one for labels without a document. For each weight of such labels
a line has P@1 and P@5 on the test documents, and P@1 that counts labels without a document alone.
"""

import argparse
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from sklearn.ensemble import HistGradientBoostingClassifier

from pumlc.metrics import precision_at_k
from pumlc.text.data.corpus import Corpus, load_corpus
from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.data.text_split import TextSplit
from pumlc.text.joint.fit import fit_fusion, label_entries
from pumlc.text.joint.fusion import text_columns, weighted
from pumlc.text.joint.pairs import Pairs, ranked
from pumlc.text.joint.predictor import JointTextPredictor

WEIGHTS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
RARE = 2
"""Boosting learns from labels of so few training documents, as the regression does."""


class Measured:
    """The figures of scores on the test documents.

    Args:
        pairs: of the test documents.
        truth: bool CSR [N, L].
        counts: [L], training documents of each label.
    """

    def __init__(self, pairs: Pairs, truth: SparseMatrix, counts: np.ndarray) -> None:
        self.pairs, self.truth = pairs, truth
        unseen = sp.csr_array(truth.multiply(counts == 0), dtype=bool)
        unseen.eliminate_zeros()
        self._rows = np.flatnonzero(np.diff(unseen.indptr))
        self._unseen = unseen[self._rows]

    def __call__(self, scores: np.ndarray) -> str:
        ids, _ = ranked(self.pairs, scores, self.pairs.listed, self.truth.shape[0], 5)
        first, fifth = (precision_at_k(ids, self.truth, k) for k in (1, 5))
        new = precision_at_k(ids[self._rows], self._unseen, 1)
        return f"P@1 {first:.2f}, P@5 {fifth:.2f}, labels without a document {new:.2f}"


def other_documents(corpus: Corpus, count: int) -> TextSplit:
    """So many training documents that the run did not draw."""
    rest = np.setdiff1d(np.arange(len(corpus.source)), [*corpus.train, *corpus.validation])
    if len(rest) < count:
        raise SystemExit(f"only {len(rest)} training documents are left: --documents {len(rest)}")
    return corpus.source.rows(np.sort(np.random.RandomState(0).permutation(rest)[:count]))


def boosted(held: Pairs, found: np.ndarray, beside: np.ndarray, test: Pairs) -> np.ndarray:
    """Probabilities of the pairs of the test documents by their texts alone."""
    rare = held.listed & (beside <= RARE)
    model = HistGradientBoostingClassifier(
        max_iter=150, learning_rate=0.05, max_leaf_nodes=15, min_samples_leaf=40, random_state=0
    )
    model.fit(text_columns(held)[rare], found[rare])
    return model.predict_proba(text_columns(test))[:, 1]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--documents", type=int, default=2000)
    options = parser.parse_args()
    predictor = JointTextPredictor(options.run)
    corpus = load_corpus(predictor.config.data, seed=predictor.config.train.seed)
    other = other_documents(corpus, options.documents)
    held, test = (
        predictor.pairs(split.texts, given=split.truth, excluded=split.excluded, cached=True)
        for split in (other, corpus.test)
    )
    counts = np.bincount(
        corpus.source.truth[corpus.train].indices, minlength=len(corpus.source.label_texts)
    )
    measured = Measured(test, corpus.test.truth, counts)
    print("the run:", measured(predictor.fusion.scores(test)))
    found, beside = label_entries(other.truth, held).astype(bool), counts[held.labels]
    _, fusion = fit_fusion(held, found, beside)
    probabilities = fusion.probabilities(test)
    by_boosting = np.where(test.by_text, boosted(held, found, beside, test), probabilities)
    for name, values in (("regressions", probabilities), ("boosting", by_boosting)):
        for weight in WEIGHTS:
            print(f"{name}, weight {weight:g}:", measured(weighted(values, test, weight)))


if __name__ == "__main__":
    main()
