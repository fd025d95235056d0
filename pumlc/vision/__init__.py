"""Image classifiers: data, LG-conv, heads, model, task.

These names are imported when they are first used: ``import pumlc.vision`` does not load timm.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
