from . import (
    estimators as estimators,
    labels as labels,
    losses as losses,
    metrics as metrics,
    text as text,
    vision as vision,
)
from .predictor import load as load
from .version import __version__ as __version__
