"""The label convention, partial-label protocols, label noise and the manifest of what was changed.

Every label of the package is POSITIVE = 1, UNKNOWN = 0 or NEGATIVE = -1; a label matrix is int8
[N, C].
"""

from pumlc.labels.convention import NEGATIVE, POSITIVE, UNKNOWN, validate
from pumlc.labels.lists import read_positive_list
from pumlc.labels.manifest import (
    LabelManifest,
    PackedLabels,
    compare,
    mask_hash,
    read_manifest,
    write_manifest,
)
from pumlc.labels.noise import flip
from pumlc.labels.noise_protocols import (
    mislabel,
    miss_all_but_one,
    miss_by_visibility,
    pair_flip,
    subtract_and_add,
    symmetric_noise,
)
from pumlc.labels.protocols import (
    drop_proportion,
    keep_fixed_per_class,
    keep_proportion,
    keep_proportion_torch,
    keep_single_positive,
)
from pumlc.labels.sparse import LabelMatrix, SparseLabels, dense
from pumlc.labels.sparse_manifest import SparseManifest

__all__ = [
    "NEGATIVE",
    "POSITIVE",
    "UNKNOWN",
    "LabelManifest",
    "LabelMatrix",
    "PackedLabels",
    "SparseLabels",
    "SparseManifest",
    "compare",
    "dense",
    "drop_proportion",
    "flip",
    "keep_fixed_per_class",
    "keep_proportion",
    "keep_proportion_torch",
    "keep_single_positive",
    "mask_hash",
    "mislabel",
    "miss_all_but_one",
    "miss_by_visibility",
    "pair_flip",
    "read_manifest",
    "read_positive_list",
    "subtract_and_add",
    "symmetric_noise",
    "validate",
    "write_manifest",
]
