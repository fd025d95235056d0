"""What docs/estimators.md shows runs, on embeddings that need no download."""

import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.feature_extraction.text import HashingVectorizer

PAGE = (Path(__file__).parents[2] / "docs" / "estimators.md").read_text()


class HashedWords:
    """Stands for SentenceTransformer: ``encode`` gives a dense array [N, D]."""

    def __init__(self, name: str) -> None:
        self.name = name

    def encode(self, texts: list[str]) -> np.ndarray:
        counts: Any = HashingVectorizer(n_features=64).transform(texts)
        return counts.toarray().astype(np.float32)


class PatchMeans:
    """Stands for a CLIP model: ``encode_image`` gives a tensor [N, D]."""

    def encode_image(self, pictures):
        return pictures.unfold(2, 8, 8).mean(-1).flatten(1)


def test_python_blocks_run_one_after_the_other(monkeypatch):
    torch = pytest.importorskip("torch")
    sentences = types.SimpleNamespace(SentenceTransformer=HashedWords)
    clip = types.SimpleNamespace(
        create_model_and_transforms=lambda name, pretrained: (PatchMeans(), None, torch.as_tensor)
    )
    monkeypatch.setitem(sys.modules, "sentence_transformers", sentences)
    monkeypatch.setitem(sys.modules, "open_clip", clip)
    random = np.random.default_rng(0)
    names: dict[str, Any] = {"pictures": random.random((40, 3, 32, 32), np.float32)}
    for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL):
        if "open_clip" in block:
            names["Y"] = (random.random((40, 3)) < 0.4).astype(float)
            names["Y"][random.random((40, 3)) < 0.3] = np.nan
        exec(compile(block, "estimators.md", "exec"), names)
        if "SentenceTransformer" in block:
            encode, heads = names["encoder"].encode, names["heads"]
            (both,) = heads.predict_proba(encode(["a car and a dog"]))
            (neither,) = heads.predict_proba(encode(["red flowers"]))
            assert (both > neither).all()
    assert names["search"].best_score_ > 0
