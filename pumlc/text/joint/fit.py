"""The joint model of a fit of least squares: what leave-one-out says of label texts.

Leave-one-out withholds labels by itself: a label that one document alone has is a label without a
document for that one. So its pairs are what labels without a training document will be like, and
there are as many of them, in expectation, as the next document will meet (Good & Turing).

Source: Good, "The population frequencies of species and the estimation of population parameters"
(Biometrika, 1953).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from pumlc.errors import UserError
from pumlc.estimators.label_map import described_targets
from pumlc.metrics import precision_at_k
from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.decisions import fit_decisions
from pumlc.text.frozen.fit import LEFT_OUT, FittedHeads, LabelScores
from pumlc.text.joint.comparisons import DocumentTexts, LabelTexts
from pumlc.text.joint.config import JointConfig
from pumlc.text.joint.fusion import Fusion, Logistic, fitted_columns, text_columns, weighted
from pumlc.text.joint.pairs import Pairs, ranked
from pumlc.text.joint.scorer import PairLister
from pumlc.text.retrieval.ranking import DEPTH, hits_of, retrieval_metrics

WEIGHTS = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0, 12.0, 16.0)
"""Candidates for the weight of labels without a document."""

_RARE = (2, 4, 8, 16)  # the text of a label counts on labels of so few other documents
_ENOUGH = 100  # positive pairs that a regression on texts needs to go without more frequent labels


@dataclass(frozen=True)
class TextEvidence:
    """The training documents and all labels as texts, for `fit_joint`.

    Attributes:
        documents: embeddings, letters and words of the N documents; ``mapped`` is not read.
        labels: of the L labels.
        truth: bool CSR [N, L].
        groups: [N], equal for documents of the same text.
        excluded: CSR [N, L], pairs that are not ranked; or None.
    """

    documents: DocumentTexts
    labels: LabelTexts
    truth: SparseMatrix
    groups: np.ndarray
    excluded: SparseMatrix | None


@dataclass(frozen=True)
class JointFit:
    """What `fit_joint` gives.

    Attributes:
        heads: least squares, with the scores, metrics and decisions of the joint model.
        map_coefficients: float32 [M, D], of the map from documents to embeddings of labels.
        fusion: from pairs to scores.
    """

    heads: FittedHeads
    map_coefficients: np.ndarray
    fusion: Fusion


def fit_joint(
    heads: FittedHeads,
    evidence: TextEvidence,
    config: JointConfig,
    show: Callable[[str], None] = lambda line: None,
) -> JointFit:
    """Put labels with and without documents on one scale, by leave-one-out.

    Args:
        heads: the fit of least squares.
        evidence: the texts it was fitted on.
        config: the settings.
        show: takes a line of progress.

    Raises:
        UserError: no document has a label whose text it resembles.
    """
    known, truth = heads.labels, evidence.truth
    targets = described_targets(
        sp.csr_array(truth[:, known], dtype=np.float32),
        evidence.labels.embeddings[known],
        config.map_penalty,
    )
    coefficients, mapped = heads.fit.further(targets)
    evidence = replace(evidence, documents=replace(evidence.documents, mapped=mapped))
    own = documents_of_group(truth, evidence.groups)
    pairs = _left_out_pairs(heads, evidence, own, config.shortlist)
    found = label_entries(truth, pairs).astype(bool)
    counts = np.bincount(truth.indices, minlength=truth.shape[1])[pairs.labels]
    beside = counts - label_entries(own, pairs)
    probabilities, fusion = fit_fusion(pairs, found, beside)
    fusion = replace(fusion, weight=_weight(pairs, probabilities, truth, config.cost, show))
    scores = weighted(probabilities, pairs, fusion.weight)
    left_out = label_scores(pairs, scores, truth.shape)
    metrics = retrieval_metrics(left_out.ids, truth)
    hits = hits_of(left_out.ids, truth)
    decisions = fit_decisions(left_out.best, hits, truth.nnz, fitted_on=LEFT_OUT)
    joint = replace(heads, left_out=left_out, metrics=metrics, decisions=decisions)
    return JointFit(joint, coefficients, fusion)


def documents_of_group(truth: SparseMatrix, groups: np.ndarray) -> SparseMatrix:
    """int CSR [N, L]: how many documents of a document's own group have each label.

    >>> truth = sp.csr_array(np.array([[1, 0], [1, 1], [0, 1]]))
    >>> documents_of_group(truth, np.array([0, 0, 1])).toarray().tolist()
    [[2, 1], [2, 1], [0, 1]]
    """
    _, own = np.unique(groups, return_inverse=True)
    count = len(groups)
    members = sp.csr_array((np.ones(count, np.int64), (own, np.arange(count))))
    return (members @ truth.astype(np.int64)).tocsr()[own]


def _left_out_pairs(
    heads: FittedHeads, evidence: TextEvidence, own: SparseMatrix, depth: int
) -> Pairs:
    """The pairs of all training documents, each by the fit without its group."""
    truth = evidence.truth
    columns = np.full(truth.shape[1], -1, np.int64)
    columns[heads.labels] = np.arange(len(heads.labels))
    lister = PairLister(evidence.labels, columns, depth)
    counts = np.bincount(truth.indices, minlength=truth.shape[1])
    alone = own.copy()
    alone.data = (own.data == counts[own.indices]).astype(np.int64)
    alone.eliminate_zeros()
    parts = []
    for rows, scores in heads.fit.left_out():
        for places in lister.blocks(len(rows)):
            chosen = rows[places]
            parts.append(
                lister(
                    chosen,
                    scores[places],
                    evidence.documents.rows(chosen),
                    alone=alone[chosen],
                    given=truth[chosen],
                    excluded=None if evidence.excluded is None else evidence.excluded[chosen],
                )
            )
    return Pairs.joined(parts)


def fit_fusion(pairs: Pairs, found: np.ndarray, beside: np.ndarray) -> tuple[np.ndarray, Fusion]:
    """Probabilities [P] of the pairs, and the regressions that give them.

    Args:
        pairs: those of leave-one-out.
        found: bool [P], the document has the label.
        beside: [P], other documents that have the label.
    """
    with_documents = pairs.listed & ~pairs.by_text
    fitted = _logistic(fitted_columns(pairs), found, with_documents)
    columns = text_columns(pairs)
    rare = pairs.listed
    for most in _RARE:
        rare = pairs.listed & (beside <= most)
        if found[rare].sum() >= _ENOUGH:
            break
    text = _logistic(columns, found, rare)
    without = pairs.listed & pairs.by_text
    if found[without].sum() >= _ENOUGH:  # the same ranking, on the scale of such labels
        scale = _logistic(text.logits(columns)[:, None], found, without)
        if scale.weights[0] > 0:
            bias = scale.weights[0] * text.bias + scale.bias
            text = Logistic(scale.weights[0] * text.weights, bias)
    fusion = Fusion(fitted, text, 1.0)
    return fusion.probabilities(pairs), fusion


def _logistic(columns: np.ndarray, found: np.ndarray, chosen: np.ndarray) -> Logistic:
    if not found[chosen].any() or found[chosen].all():
        raise UserError(
            "heads joint: no label of a training document is among those that its text and least "
            "squares propose; take heads least_squares, or a larger joint.shortlist"
        )
    return Logistic.fit(columns[chosen], found[chosen])


def _weight(
    pairs: Pairs,
    probabilities: np.ndarray,
    truth: SparseMatrix,
    cost: float,
    show: Callable[[str], None],
) -> float:
    """The largest weight that costs no more than ``cost`` points of P@1 beside none."""
    first = _first_precision(pairs, probabilities, WEIGHTS[0], truth)
    best = WEIGHTS[0], first
    for weight in WEIGHTS[1:]:
        precision = _first_precision(pairs, probabilities, weight, truth)
        if precision < first - cost:
            break
        best = weight, precision
    show(
        f"weight {best[0]:g} of labels without a document: {LEFT_OUT} P@1 {best[1]:.2f}, "
        f"{first:.2f} with weight 1"
    )
    return best[0]


def _first_precision(
    pairs: Pairs, probabilities: np.ndarray, weight: float, truth: SparseMatrix
) -> float:
    scores = weighted(probabilities, pairs, weight)
    return precision_at_k(ranked(pairs, scores, pairs.listed, truth.shape[0], 1)[0], truth, 1)


def label_scores(pairs: Pairs, scores: np.ndarray, shape: tuple[int, int]) -> LabelScores:
    """The best labels of N documents, those without a document apart, and the given ones.

    Args:
        pairs: the pairs; those that are not listed have a score, and no rank.
        scores: [P].
        shape: N, L.
    """
    ids, best = ranked(pairs, scores, pairs.listed, shape[0], DEPTH)
    among, _ = ranked(pairs, scores, pairs.listed & pairs.by_text, shape[0], DEPTH)
    entries = scores.astype(np.float32), (pairs.rows, pairs.labels)
    return LabelScores(ids, best, sp.csr_array(entries, shape), among)


def label_entries(matrix: SparseMatrix, pairs: Pairs) -> np.ndarray:
    """[P] what a CSR matrix [N, L] has at the pairs."""
    values = sp.csr_array(matrix)[pairs.rows, pairs.labels]
    return np.asarray(values).ravel()
