"""Multi-label classification when the labels are incomplete or wrong.

`load` turns a run folder into a predictor; the parts are `labels`, `losses`, `metrics`,
`estimators`, `vision` and `text`. They are imported when they are first used: ``import pumlc``
loads neither torch nor timm nor transformers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
