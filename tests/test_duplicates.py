"""Near-duplicates with different tags: found as by a loop over all pairs."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pumlc.audit import duplicates
from pumlc.audit.duplicates import near_duplicates


@given(
    hnp.arrays(np.int8, (12, 3), elements=st.integers(0, 3)),
    hnp.arrays(np.int8, (12, 2), elements=st.sampled_from([1, 0, -1])),
)
def test_pairs_are_those_of_a_loop(vectors, labels):
    expected = {}
    for first in range(12):
        for second in range(first + 1, 12):
            a, b = vectors[first].astype(float), vectors[second].astype(float)
            lengths = np.linalg.norm(a) * np.linalg.norm(b)
            if lengths and a @ b / lengths >= 0.9:
                differ = [
                    c for c in range(2) if (labels[first, c] == 1) != (labels[second, c] == 1)
                ]
                if differ:
                    expected[first, second] = differ
    found = near_duplicates(vectors, labels)
    assert {(p.first, p.second): p.columns.tolist() for p in found} == expected
    assert [p.similarity for p in found] == sorted((p.similarity for p in found), reverse=True)


def test_blocks_change_nothing_and_the_list_ends(monkeypatch):
    random = np.random.RandomState(0)
    vectors, labels = random.rand(50, 3), random.choice([1, -1], (50, 4))
    whole = near_duplicates(vectors, labels)
    monkeypatch.setattr(duplicates, "_BLOCK", 300)
    parts = near_duplicates(vectors, labels)
    assert [p[:2] for p in parts] == [p[:2] for p in whole]
    assert len(near_duplicates(vectors, labels, most=3)) == 3
    with pytest.raises(ValueError, match="50 vectors, but 49 rows"):
        near_duplicates(vectors, labels[1:])
