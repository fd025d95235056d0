"""Multi-label classification when the labels are incomplete or wrong.

`load` turns a run folder into a predictor; the parts are `labels`, `losses`, `metrics`,
`estimators`, `vision` and `text`. They are imported when they are first used: ``import pumlc``
loads neither torch nor timm nor transformers.
"""

from importlib import import_module
from typing import Any

from pumlc.version import __version__

_PARTS = ("estimators", "labels", "losses", "metrics", "vision", "text")

__all__ = ["__version__", "load", *_PARTS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> Any:
    if name == "load":
        return import_module("pumlc.predictor").load
    if name in _PARTS:
        return import_module(f"pumlc.{name}")
    raise AttributeError(f"module 'pumlc' has no attribute {name!r}")
