"""What is refused and warned of before a run on texts is trained."""

from collections.abc import Sequence

from pumlc.errors import UserError, warn_user
from pumlc.labels.names import similar_names
from pumlc.text.data.corpus import Corpus

_GROUPS_SHOWN = 5  # of labels with similar texts


def check_truth(corpus: Corpus, source: str) -> None:
    """Refuse documents from which nothing is to learn, or in which nothing is to be found.

    Test documents without labels may be there to be predicted: these are only warned of.

    Raises:
        UserError: no training document has a label, or none that is held out.
    """
    truth = corpus.source.truth
    if truth[corpus.train].nnz == 0:
        raise UserError(f"{source}: no training document has a label")
    if len(corpus.validation) and truth[corpus.validation].nnz == 0:
        raise UserError(
            f"{source}: none of the {len(corpus.validation)} documents held out by data.validation "
            "has a label"
        )
    if len(corpus.test) and corpus.test.truth.nnz == 0:
        warn_user(
            f"{source}: none of the {len(corpus.test)} documents of the split test has a label, so "
            "that an evaluation will have nothing to measure"
        )


def warn_of_similar_labels(label_texts: Sequence[str], source: str) -> None:
    """Warn of labels that an encoder may not tell apart."""
    groups = similar_names(label_texts)
    if not groups:
        return
    shown = ", ".join(" / ".join(map(repr, group)) for group in groups[:_GROUPS_SHOWN])
    if len(groups) > _GROUPS_SHOWN:
        shown += f" and {len(groups) - _GROUPS_SHOWN} more such groups"
    warn_user(
        f"{source}: {shown} differ only in case, blanks, '_', '-' or Unicode form and are separate "
        "labels, which an encoder may not tell apart; if one is meant, spell it one way"
    )
