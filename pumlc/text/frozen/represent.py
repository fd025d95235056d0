"""Documents as the kernel sees them, from their texts."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from accelerate import Accelerator

from pumlc.progress import ShowProgress
from pumlc.text.config import TextConfig
from pumlc.text.data.tokens import TokenizedTexts, cached_tokens, tokenize
from pumlc.text.frozen.kernel import Documents, unit_rows
from pumlc.text.frozen.model import FrozenModel
from pumlc.text.models.embedding import Embedder


def represent(
    texts: Sequence[str],
    model: FrozenModel,
    config: TextConfig,
    *,
    accelerator: Accelerator | None = None,
    cached: bool = False,
    batch_size: int | None = None,
    progress: ShowProgress | None = None,
) -> Documents:
    """Embeddings and words of texts.

    Args:
        texts: N texts.
        model: encoder, tokenizer and words; one that is None is not computed.
        config: the settings of the run.
        accelerator: its processes embed a share each; None: this process alone.
        cached: keep the tokens below ``data.token_cache``.
        batch_size: documents encoded at a time; by default as in the run.
        progress: told how many documents are embedded.
    """
    words = sp.csr_array((len(texts), 0), dtype=np.float32)
    if model.words is not None:
        words = model.words.vectors(texts)
    if model.encoders is None:
        return Documents(np.empty((len(texts), 0), np.float32), words)
    embedder = Embedder(
        model.encoders,
        document_chunk=batch_size or config.encoder.document_chunk,
        label_chunk=config.encoder.label_chunk,
        accelerator=accelerator,
        progress=progress,
    )
    embeddings = embedder.documents(_tokens(texts, model, config, cached=cached))
    return Documents(unit_rows(embeddings), words)


def _tokens(
    texts: Sequence[str], model: FrozenModel, config: TextConfig, *, cached: bool
) -> TokenizedTexts:
    assert model.tokenizer is not None  # that of the encoder
    length = config.data.document_length
    if not cached:
        return tokenize(texts, model.tokenizer, max_length=length)
    folder = Path(config.data.token_cache).expanduser()
    return cached_tokens(texts, model.tokenizer, max_length=length, folder=folder)
