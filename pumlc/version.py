"""The version: that of the git tag, which a build or an installation writes into ``_version.py``.

A source tree that was never installed has no such file. Nothing here imports more than that.
"""

from importlib import import_module

try:
    __version__: str = import_module("pumlc._version").__version__
except ImportError:
    __version__ = "0.0.0"
