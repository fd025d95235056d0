"""Dual encoders for tagging texts, from a thousand to a million labels.

The names here are imported when they are first used: ``import pumlc.text`` loads neither torch nor
transformers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
