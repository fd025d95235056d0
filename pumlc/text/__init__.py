"""Dual encoders for tagging texts, from a thousand to a million labels.

The names here are imported when they are first used: ``import pumlc.text`` loads neither torch nor
transformers.
"""

from importlib import import_module
from typing import Any

_LAZY = {
    "TextSplit": "pumlc.text.data.text_split",
    "read_corpus": "pumlc.text.data.readers",
    "TokenizedTexts": "pumlc.text.data.tokens",
    "tokenize": "pumlc.text.data.tokens",
    "cached_tokens": "pumlc.text.data.tokens",
    "Head": "pumlc.text.models.head",
    "TextEncoder": "pumlc.text.models.encoder",
    "DualEncoder": "pumlc.text.models.encoder",
    "LabelVectors": "pumlc.text.models.label_vectors",
    "load_encoder": "pumlc.text.models.pretrained",
    "load_tokenizer": "pumlc.text.models.pretrained",
    "read_head": "pumlc.text.models.sentence_transformers",
    "embed": "pumlc.text.models.embedding",
    "Side": "pumlc.text.training.gradcache",
    "cached_backward": "pumlc.text.training.gradcache",
    "search": "pumlc.text.retrieval.search",
    "faiss_search": "pumlc.text.retrieval.search",
    "TextPredictor": "pumlc.text.predictor",
    "TextPrediction": "pumlc.text.predictor",
}

__all__ = [*_LAZY]  # pyright: ignore


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'pumlc.text' has no attribute {name!r}")
