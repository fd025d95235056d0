"""Documents that neither the encoder nor the heads have seen, which say what scores mean.

An encoder that was trained on the documents of the heads knows the labels that leave-one-out hides
from the heads, so leave-one-out scores are too good. If both trainings hold out the same documents,
these tell instead.
"""

from dataclasses import dataclass

from pumlc.text.config import TextConfig
from pumlc.text.data.corpus import Corpus, fingerprint
from pumlc.text.data.matrix import SparseMatrix
from pumlc.text.frozen.kernel import Documents
from pumlc.text.models.model_folder import training_data

HELD_OUT = "validation"


@dataclass(frozen=True)
class HeldOut:
    """The V held-out documents of a run.

    Attributes:
        texts: V texts.
        documents: as the kernel sees them.
        truth: bool CSR [V, L].
        excluded: CSR [V, L], pairs that are neither ranked nor counted; or None.
    """

    texts: list[str]
    documents: Documents
    truth: SparseMatrix
    excluded: SparseMatrix | None


def drawn_documents(config: TextConfig) -> dict[str, float | int | None]:
    """What decides which documents of a data set a run trains on, and which it holds out."""
    data, seed = config.data, config.train.seed
    return {"train_rows": data.train_rows, "validation": data.validation, "seed": seed}


def encoder_saw(config: TextConfig, corpus: Corpus) -> tuple[bool, bool]:
    """What the encoder of a run was trained on, by its ``training_data.json``.

    Returns:
        Whether these are the documents of the run, and whether those that the run holds out were
        held out there too.

    Raises:
        UserError: the file is not JSON.
    """
    found = training_data(config.encoder.model)
    same = found.get("train") is not None and found["train"] == fingerprint(corpus.source)
    drawn_alike = found.get("drawn") == drawn_documents(config)
    return same, same and drawn_alike and len(corpus.validation) > 0
