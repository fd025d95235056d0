"""Least squares on the training documents of a run, with what leave-one-out says of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import scipy.sparse as sp

from pumlc.estimators.kernel_ridge import KernelFit, KernelProblem
from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.decisions import Decisions, fit_decisions
from pumlc.text.frozen.config import KernelConfig
from pumlc.text.frozen.held_out import HELD_OUT, HeldOut
from pumlc.text.frozen.kernel import Documents, Kernel
from pumlc.text.retrieval.ranking import DEPTH, hits_of, retrieval_metrics

LEFT_OUT = "leave-one-out"
_ROWS = 512  # documents that are scored at a time


@dataclass(frozen=True)
class LabelScores:
    """Scores of N documents for their best labels and for the labels that they have.

    Attributes:
        ids: int64 [N, DEPTH], best first; -1 where there is none.
        best: float32 [N, DEPTH], their scores; -inf there.
        stored: float32 CSR [N, L], the same scores and those of the labels that a document has.
        by_text: int64 [N, DEPTH], the best of the labels without a training document, which only a
            joint run ranks.
    """

    ids: np.ndarray
    best: np.ndarray
    stored: SparseMatrix
    by_text: np.ndarray | None = None


@dataclass(frozen=True)
class FittedHeads:
    """What a fit gave.

    Attributes:
        anchors: [M] rows of the documents.
        labels: [S] the labels that a document has, ascending; others have no score.
        coefficients: float32 [M, S].
        fit: that of the penalty that leave-one-out chose.
        left_out: of all documents, each by the fit without it and all that have the same text.
        judged_by: `LEFT_OUT`, or `HELD_OUT` where there are such documents.
        metrics: of the scores of these documents, in percent.
        decisions: fitted on the same scores.
        held_out: float32 [V, M], the kernel of the held-out documents and the anchors; or None.
    """

    anchors: np.ndarray
    labels: np.ndarray
    coefficients: np.ndarray
    fit: KernelFit
    left_out: LabelScores
    judged_by: str
    metrics: dict[str, float]
    decisions: Decisions
    held_out: np.ndarray | None

    def judged(self, scores: LabelScores, truth: SparseMatrix, judged_by: str) -> "FittedHeads":
        """With the metrics and decisions of other scores.

        Args:
            scores: of N documents.
            truth: bool CSR [N, L].
            judged_by: what the documents are.
        """
        hits = hits_of(scores.ids, truth)
        return replace(
            self,
            judged_by=judged_by,
            metrics=retrieval_metrics(scores.ids, truth),
            decisions=fit_decisions(scores.best, hits, truth.nnz, fitted_on=judged_by),
        )


def fit_heads(
    documents: Documents,
    truth: SparseMatrix,
    config: KernelConfig,
    *,
    groups: np.ndarray,
    label_weights: np.ndarray,
    excluded: SparseMatrix | None,
    seed: int,
    held_out: HeldOut | None = None,
    show: Callable[[str], None] = lambda line: None,
) -> FittedHeads:
    """Fit the labels of documents with each penalty and keep that of the best leave-one-out.

    Args:
        documents: the N training documents.
        truth: bool CSR [N, L].
        config: kernel, penalties and number of anchors.
        groups: [N], equal for documents that are left out together.
        label_weights: [L], what the scores of a label are multiplied by.
        excluded: pairs that are neither ranked nor counted.
        seed: of the anchors, where they are fewer than the documents.
        held_out: documents that judge in place of leave-one-out, the penalty apart.
        show: takes a line of progress.
    """
    labels = np.flatnonzero(np.bincount(truth.indices, minlength=truth.shape[1]))
    drawn = None
    if len(documents) > config.anchors:
        order = np.random.RandomState(seed).permutation(len(documents))
        drawn = np.sort(order[: config.anchors])
    anchors = np.arange(len(documents)) if drawn is None else drawn
    kernel = Kernel(documents.rows(anchors), config)
    problem = KernelProblem(
        lambda rows: kernel(documents.rows(rows)),
        sp.csr_array(truth[:, labels], dtype=np.float32),
        groups=groups,
        anchors=drawn,
    )
    best: tuple[KernelFit, LabelScores, dict[str, float]] | None = None
    for penalty in sorted(config.penalties):
        fit = problem.solve(penalty)
        scores = collect_scores(
            ((rows, block * label_weights[labels]) for rows, block in fit.left_out()),
            labels,
            truth,
            excluded,
        )
        metrics = retrieval_metrics(scores.ids, truth)
        show(f"penalty {penalty:g}: {LEFT_OUT} nDCG@5 {metrics['nDCG@5']:.2f}")
        if best is None or metrics["nDCG@5"] > best[2]["nDCG@5"]:
            best = fit, scores, metrics
    assert best is not None  # the settings have a penalty
    fit, scores, metrics = best
    heads = FittedHeads(
        anchors,
        labels,
        fit.coefficients * label_weights[labels].astype(np.float32),
        fit,
        scores,
        LEFT_OUT,
        metrics,
        fit_decisions(scores.best, hits_of(scores.ids, truth), truth.nnz, fitted_on=LEFT_OUT),
        None,
    )
    if held_out is None:
        return heads
    block = kernel(held_out.documents)
    others = collect_scores(
        ((rows, block[rows] @ heads.coefficients) for rows in blocks_of(len(block))),
        labels,
        held_out.truth,
        held_out.excluded,
    )
    return replace(heads.judged(others, held_out.truth, HELD_OUT), held_out=block)


def blocks_of(count: int) -> Iterator[np.ndarray]:
    """Numbers of rows, some hundred at a time."""
    for start in range(0, count, _ROWS):
        yield np.arange(start, min(start + _ROWS, count))


def collect_scores(
    blocks: Iterator[tuple[np.ndarray, np.ndarray]],
    labels: np.ndarray,
    truth: SparseMatrix,
    excluded: SparseMatrix | None,
    depth: int = DEPTH,
) -> LabelScores:
    """Keep what ranking and audit need of scores that come in blocks of rows.

    Args:
        blocks: rows [n] and their scores [n, S].
        labels: [S] the labels of the columns.
        truth: bool CSR [N, L].
        excluded: pairs that are not ranked.
        depth: labels kept of a row.
    """
    ids = np.full((truth.shape[0], depth), -1, np.int64)
    best = np.full(ids.shape, -np.inf, np.float32)
    given = truth[:, labels].tocsr()
    triples: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for rows, block in blocks:
        own = given[rows].tocoo()
        scores = np.asarray(block, np.float32)
        triples.append((rows[own.row], labels[own.col], scores[own.row, own.col]))
        if excluded is not None:
            scores = np.where(excluded[rows][:, labels].toarray(), -np.inf, scores)
        columns = best_columns(scores, depth)
        values = np.take_along_axis(scores, columns, axis=1)
        found = np.where(values == -np.inf, -1, labels[columns])
        ids[rows, : found.shape[1]], best[rows, : found.shape[1]] = found, values
    places = np.nonzero(ids >= 0)
    triples.append((places[0], ids[places], best[places]))
    rows, columns, values = (np.concatenate(parts) for parts in zip(*triples, strict=True))
    unique = np.unique(rows * truth.shape[1] + columns, return_index=True)[1]
    entries = values[unique], (rows[unique], columns[unique])
    return LabelScores(ids, best, sp.csr_array(entries, truth.shape))


def best_columns(scores: np.ndarray, depth: int) -> np.ndarray:
    """[n, at most depth] columns of the largest scores of each row, best first.

    >>> best_columns(np.array([[1.0, 3.0, 2.0]]), 2).tolist()
    [[1, 2]]
    """
    depth = min(depth, scores.shape[1])
    columns = np.argpartition(-scores, depth - 1, axis=1)[:, :depth]
    columns.sort(axis=1)  # of equal scores the lower label comes first
    order = np.argsort(-np.take_along_axis(scores, columns, axis=1), axis=1, kind="stable")
    return np.take_along_axis(columns, order, axis=1)
