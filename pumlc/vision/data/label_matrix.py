"""The labels of a table as a run takes them: dense where that is small, else sparse."""

from collections.abc import Mapping

import numpy as np
from scipy.sparse import csr_array

from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN, LabelMatrix, SparseLabels, sparse
from pumlc.vision.data.label_table import UNCERTAIN_CODE, LabelTable, Policy, uncertain_labels


def label_matrix(
    table: LabelTable, uncertain: Policy | Mapping[str, Policy] = "unknown"
) -> LabelMatrix:
    """The labels of a run.

    Args:
        table: what a file says.
        uncertain: what uncertain labels become, see `LabelTable.labels`.

    Returns:
        [N, C] in {1, 0, -1}: int8 up to `sparse.DENSE_LIMIT` labels; of more what the file lists.

    Raises:
        UserError: see `LabelTable.labels`.
    """
    if len(table) * len(table.classes) <= sparse.DENSE_LIMIT:
        return table.labels(uncertain)
    of_code = np.array([UNKNOWN, POSITIVE, NEGATIVE, UNKNOWN, UNKNOWN], np.int8)
    codes: np.ndarray = table.listed.data
    columns: np.ndarray = table.listed.indices
    labels: np.ndarray = of_code[codes]
    doubtful = codes == UNCERTAIN_CODE
    labels[doubtful] = uncertain_labels(uncertain, table.classes)[columns[doubtful]]
    stored = csr_array((labels, columns, table.listed.indptr), shape=table.listed.shape)
    return SparseLabels.of(stored, of_code[table.rest])
