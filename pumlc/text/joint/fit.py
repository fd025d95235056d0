"""The joint model of a fit of least squares: what leave-one-out says of label texts.

Leave-one-out withholds labels by itself: a label that one document alone has is a label without a
document for that one. So its pairs are what labels without a training document will be like, and
there are as many of them, in expectation, as the next document will meet (Good & Turing).

Source: Good, "The population frequencies of species and the estimation of population parameters"
(Biometrika, 1953).
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from pumlc.errors import UserError
from pumlc.estimators.label_map import described_targets
from pumlc.metrics import precision_at_k
from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.frozen.fit import FittedHeads, LabelScores
from pumlc.text.joint.comparisons import DocumentTexts, LabelTexts
from pumlc.text.joint.config import JointConfig
from pumlc.text.joint.fusion import Fusion, Logistic, fitted_columns, text_columns, weighted
from pumlc.text.joint.pairs import Pairs, ranked
from pumlc.text.joint.scorer import PairLister
from pumlc.text.retrieval.ranking import DEPTH

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
class HeldOutTexts:
    """Documents that judge in place of leave-one-out.

    Attributes:
        documents: V documents; ``mapped`` is not read.
        truth: bool CSR [V, L].
        excluded: CSR [V, L], pairs that are not ranked; or None.
    """

    documents: DocumentTexts
    truth: SparseMatrix
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
    held_out: HeldOutTexts | None = None,
    show: Callable[[str], None] = lambda line: None,
) -> JointFit:
    """Put labels with and without documents on one scale, by leave-one-out or held-out documents.

    Args:
        heads: the fit of least squares.
        evidence: the texts it was fitted on.
        config: the settings.
        held_out: those that ``heads`` was judged by; None: leave-one-out judged it.
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
    columns = np.full(truth.shape[1], -1, np.int64)
    columns[known] = np.arange(len(known))
    lister = PairLister(evidence.labels, columns, config.shortlist)
    own = documents_of_group(truth, evidence.groups)
    left_out = _left_out_pairs(heads, evidence, own, lister)
    counts = np.bincount(truth.indices, minlength=truth.shape[1])
    if held_out is None:
        pairs, own_truth = left_out, truth
        beside = counts[pairs.labels] - label_entries(own, pairs)
    else:
        pairs, own_truth = _held_out_pairs(heads, held_out, coefficients, lister), held_out.truth
        beside = counts[pairs.labels]
    found = label_entries(own_truth, pairs).astype(bool)
    probabilities, fusion = fit_fusion(pairs, found, beside)
    weight = _weight(pairs, probabilities, own_truth, config.cost)
    show(
        f"weight {weight.value:g} of labels without a document: {heads.judged_by} P@1 "
        f"{weight.precision:.2f}, {weight.without:.2f} with weight 1"
    )
    fusion = replace(fusion, weight=weight.value)
    scores = label_scores(left_out, fusion.scores(left_out), truth.shape)
    own_scores = scores
    if held_out is not None:
        own_scores = label_scores(pairs, fusion.scores(pairs), own_truth.shape)
    joint = replace(heads, left_out=scores).judged(own_scores, own_truth, heads.judged_by)
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
    heads: FittedHeads, evidence: TextEvidence, own: SparseMatrix, lister: PairLister
) -> Pairs:
    """The pairs of all training documents, each by the fit without its group."""
    truth = evidence.truth
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


def _held_out_pairs(
    heads: FittedHeads, held_out: HeldOutTexts, coefficients: np.ndarray, lister: PairLister
) -> Pairs:
    """The pairs of the held-out documents.

    Args:
        heads: with their kernel.
        held_out: the documents.
        coefficients: of the map.
        lister: of all labels.
    """
    kernel, excluded = heads.held_out, held_out.excluded
    assert kernel is not None
    documents = replace(held_out.documents, mapped=kernel @ coefficients)
    return Pairs.joined(
        [
            lister(
                rows,
                kernel[rows] @ heads.coefficients,
                documents.rows(rows),
                given=held_out.truth[rows],
                excluded=None if excluded is None else excluded[rows],
            )
            for rows in lister.blocks(len(documents))
        ]
    )


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
            "heads joint: the documents that judge have no label among those that their texts and "
            "least squares propose; take heads least_squares, or a larger joint.shortlist, or "
            "where data.validation judges, a larger part"
        )
    return Logistic.fit(columns[chosen], found[chosen])


class _Weight(NamedTuple):
    """Of labels without a document; P@1 in percent with it, and with weight 1."""

    value: float
    precision: float
    without: float


def _weight(pairs: Pairs, probabilities: np.ndarray, truth: SparseMatrix, cost: float) -> _Weight:
    """The largest weight that costs no more than ``cost`` points of P@1 beside none."""
    first = _first_precision(pairs, probabilities, WEIGHTS[0], truth)
    best = _Weight(WEIGHTS[0], first, first)
    for weight in WEIGHTS[1:]:
        precision = _first_precision(pairs, probabilities, weight, truth)
        if precision < first - cost:
            break
        best = _Weight(weight, precision, first)
    return best


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
