"""The version: that of the git tag, which a build or an installation writes into ``_version.py``.

A source tree that was never installed has no such file. Nothing here imports more than that.
"""

try:
    from pumlc._version import __version__  # pyright: ignore[reportMissingImports]
except ImportError:
    __version__ = "0.0.0"
