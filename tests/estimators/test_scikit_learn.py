"""The estimator among scikit-learn's own tools."""

from sklearn.utils.estimator_checks import parametrize_with_checks

from pumlc.estimators import PartialLabelClassifier


@parametrize_with_checks(
    [
        PartialLabelClassifier(),
        PartialLabelClassifier(penalties=1.0),
        PartialLabelClassifier(kernel="both"),
    ]
)
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)
