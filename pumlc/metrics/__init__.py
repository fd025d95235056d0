"""Evaluation in numpy: multi-label classification and retrieval; arrays in, floats out.

No function guesses what it was given: ``scores`` are any real numbers to be ranked,
``probabilities`` lie in [0, 1], ``targets`` hold 1 (positive), 0 (unknown) and -1 (negative).
UNKNOWN entries are ignored: they count neither for nor against a prediction. Retrieval takes
``top_ids``, label indices best first, and ``positives``, a sparse matrix.
"""

from pumlc.metrics.calibration import (
    Reliability,
    expected_calibration_error,
    reliability_curve,
)
from pumlc.metrics.guarantees import (
    labels_needed,
    positives_needed,
    precision_thresholds,
    recall_thresholds,
)
from pumlc.metrics.intervals import paired_interval
from pumlc.metrics.multilabel import (
    average_precision,
    mean_average_precision,
    num_averaged_classes,
    precision_recall_f1,
)
from pumlc.metrics.resampling import (
    interval_over_seeds_and_rows,
    resample_counts,
    resampled_average_precision,
    resampled_mean_average_precision,
)
from pumlc.metrics.retrieval import (
    PROPENSITY_PRESETS,
    drop_excluded,
    inverse_propensities,
    ndcg_at_k,
    ndcg_of_rows,
    precision_at_k,
    propensity_precision_at_k,
    recall_at_k,
)
from pumlc.metrics.scorers import make_scorers
from pumlc.metrics.thresholds import expected_thresholds, fit_thresholds, oracle_thresholds

__all__ = [
    "PROPENSITY_PRESETS",
    "Reliability",
    "average_precision",
    "drop_excluded",
    "expected_calibration_error",
    "expected_thresholds",
    "fit_thresholds",
    "interval_over_seeds_and_rows",
    "inverse_propensities",
    "labels_needed",
    "mean_average_precision",
    "ndcg_at_k",
    "ndcg_of_rows",
    "num_averaged_classes",
    "oracle_thresholds",
    "paired_interval",
    "positives_needed",
    "precision_at_k",
    "precision_recall_f1",
    "precision_thresholds",
    "propensity_precision_at_k",
    "recall_at_k",
    "recall_thresholds",
    "reliability_curve",
    "resample_counts",
    "resampled_average_precision",
    "resampled_mean_average_precision",
]
