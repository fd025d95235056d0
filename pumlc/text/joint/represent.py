"""Documents and label texts as they are compared, from their texts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pumlc.progress import ShowProgress
from pumlc.text.config import TextConfig
from pumlc.text.data.tokens import cached_tokens, tokenize
from pumlc.text.frozen.kernel import Documents, unit_rows
from pumlc.text.frozen.model import FrozenModel
from pumlc.text.joint.comparisons import DocumentTexts, LabelTexts
from pumlc.text.models.embedding import Embedder


def document_texts(
    texts: Sequence[str], documents: Documents, mapped: np.ndarray, model: FrozenModel
) -> DocumentTexts:
    """Documents as label texts are compared with them.

    Args:
        texts: of the N documents.
        documents: the same, as the kernel sees them.
        mapped: float32 [N, D].
        model: has the pieces of words.
    """
    assert model.letters is not None
    letters = model.letters.vectors(texts)
    return DocumentTexts(documents.embeddings, mapped, letters, documents.words)


def label_texts(texts: Sequence[str], embeddings: np.ndarray, model: FrozenModel) -> LabelTexts:
    """Label texts as documents are compared with them.

    Args:
        texts: of the L labels.
        embeddings: float32 [L, D], see `embed_labels`.
        model: has words, and pieces of words.
    """
    assert model.letters is not None
    assert model.words is not None
    return LabelTexts(embeddings, model.letters.vectors(texts), model.words.vectors(texts))


def embed_labels(
    texts: Sequence[str],
    model: FrozenModel,
    config: TextConfig,
    *,
    cached: bool = False,
    progress: ShowProgress | None = None,
) -> np.ndarray:
    """Embeddings of label texts, float32 [L, D] of length 1.

    Args:
        texts: L label texts.
        model: encoder and tokenizer.
        config: the settings of the run.
        cached: keep the tokens below ``data.token_cache``.
        progress: told how many labels are embedded.
    """
    assert model.encoders is not None
    assert model.tokenizer is not None
    length = config.data.label_length
    if cached:
        folder = Path(config.data.token_cache).expanduser()
        tokens = cached_tokens(texts, model.tokenizer, max_length=length, folder=folder)
    else:
        tokens = tokenize(texts, model.tokenizer, max_length=length)
    embedder = Embedder(
        model.encoders,
        document_chunk=config.encoder.document_chunk,
        label_chunk=config.encoder.label_chunk,
        progress=progress,
    )
    return unit_rows(embedder.label_texts(tokens))
