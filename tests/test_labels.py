"""The label convention, the partial-label protocols and label noise."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pumlc.errors import UserError
from pumlc.labels import (
    NEGATIVE,
    POSITIVE,
    UNKNOWN,
    LabelManifest,
    PackedLabels,
    compare,
    convention,
    drop_proportion,
    flip,
    keep_fixed_per_class,
    keep_proportion,
    keep_proportion_torch,
    keep_single_positive,
    mask_hash,
    read_manifest,
    read_positive_list,
    validate,
    write_manifest,
)

label_matrices = hnp.arrays(
    np.int8,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=0, max_side=8),
    elements=st.sampled_from([POSITIVE, UNKNOWN, NEGATIVE]),
)
PROTOCOLS = {
    "keep_proportion": lambda labels, seed, **o: keep_proportion(labels, 0.5, seed=seed, **o),
    "keep_proportion_torch": lambda labels, seed, **o: keep_proportion_torch(
        labels, 0.5, seed=seed, **o
    ),
    "drop_proportion": lambda labels, seed, **o: drop_proportion(labels, 0.3, seed=seed, **o),
    "keep_fixed_per_class": lambda labels, seed, **o: keep_fixed_per_class(
        labels, 2, seed=seed, **o
    ),
    "keep_single_positive": lambda labels, seed, **o: keep_single_positive(labels, seed=seed, **o),
    "flip": lambda labels, seed, **o: flip(
        labels, false_negative=0.5, false_positive=0.3, seed=seed, **o
    ),
}
protocols = pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=PROTOCOLS.keys())


def complete_labels(num_rows, num_classes, seed=7):
    draws = np.random.default_rng(seed).random((num_rows, num_classes))
    return np.where(draws < 0.3, POSITIVE, NEGATIVE).astype(np.int8)


def test_validate_names_the_entry():
    labels = complete_labels(5, 4)
    labels[3, 2] = 7
    with pytest.raises(ValueError, match=r"^train\.csv: row 3, column 2 is 7, not 1"):
        validate(labels, "train.csv")


def test_validate_names_the_row_of_a_later_block(monkeypatch):
    monkeypatch.setattr(convention, "BLOCK_ENTRIES", 8)
    labels = complete_labels(9, 4).astype(np.float32)
    labels[7, 1] = np.nan
    with pytest.raises(ValueError, match="row 7, column 1 is nan"):
        validate(labels, "x")


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([1, 0, -1], r"shape \(3,\), not \[N, C\]"),
        ([[True, False]], "type bool"),
        ([["1", "0"]], "type <U1"),
        ([[0.5, 1.0]], "row 0, column 0 is 0.5"),
        (np.array([[1, 255]], np.uint8), "row 0, column 1 is 255"),
    ],
)
def test_validate_refuses(labels, message):
    with pytest.raises(ValueError, match=message):
        validate(labels, "x")


def test_validate_copies_nothing_that_is_int8_already():
    labels = complete_labels(3, 4)
    assert validate(labels, "x") is labels
    converted = validate(labels.astype(np.float64), "x")
    assert converted.dtype == np.int8
    np.testing.assert_array_equal(converted, labels)


@protocols
@settings(deadline=None)
@given(labels=label_matrices, seed=st.integers(0, 2**32 - 1))
def test_protocols_are_seeded_and_touch_nothing_else(protocol, labels, seed):
    before, state = labels.copy(), pickle.dumps(np.random.get_state())  # noqa: NPY002
    first = protocol(labels, seed)
    assert first.dtype == np.int8
    assert first.shape == labels.shape
    assert not np.shares_memory(first, labels) or not labels.size
    np.testing.assert_array_equal(first, protocol(labels, seed))
    np.testing.assert_array_equal(labels, before)
    assert pickle.dumps(np.random.get_state()) == state  # noqa: NPY002


@protocols
def test_protocols_write_in_place(protocol):
    labels = complete_labels(31, 7)
    expected, own, other = protocol(labels, 3), labels.copy(), np.ones_like(labels)
    assert protocol(own, 3, out=own) is own
    np.testing.assert_array_equal(own, expected)
    assert protocol(labels, 3, out=other) is other
    np.testing.assert_array_equal(other, expected)
    for wrong in (np.ones((31, 6), np.int8), np.ones((31, 7))):
        with pytest.raises(ValueError, match=r"out is .*, the labels need int8 \[31, 7\]"):
            protocol(labels, 3, out=wrong)


@protocols
def test_protocols_depend_on_the_seed(protocol):
    labels = complete_labels(50, 20)
    assert (protocol(labels, 0) != protocol(labels, 1)).any()


@protocols
def test_protocols_do_not_depend_on_the_blocks(protocol, monkeypatch):
    labels = complete_labels(31, 7)
    whole = protocol(labels, 3)
    monkeypatch.setattr(convention, "BLOCK_ENTRIES", 30)  # 4 rows a block, a ragged last one
    np.testing.assert_array_equal(protocol(labels, 3), whole)


@settings(deadline=None)
@given(labels=label_matrices, proportion=st.floats(0, 1))
def test_keep_proportion_only_hides(labels, proportion):
    kept = keep_proportion(labels, proportion)
    assert ((kept == labels) | (kept == UNKNOWN)).all()


@pytest.mark.parametrize(
    ("shape", "counts", "first", "rows_without", "sha1"),
    [
        ((5011, 20), (10108, 50163, 90174), [14, 15, 16, 34, 43], 533, "ac15b0166619"),
        ((82783, 80), (662191, 3310164, 5960741), None, 27, "873ff4cc9371"),
    ],
    ids=["voc2007", "coco2014"],
)
def test_keep_proportion_is_the_published_mask(shape, counts, first, rows_without, sha1):
    """The masks of HCP-MLR-PL and PU-MLC, by their counts and hashes."""
    labels = complete_labels(*shape)
    for proportion, count in zip((0.1, 0.5, 0.9), counts, strict=True):
        assert (keep_proportion(labels, proportion) != UNKNOWN).sum() == count
    kept = keep_proportion(labels, 0.1)
    assert mask_hash(kept) == sha1
    assert (kept == UNKNOWN).all(axis=1).sum() == rows_without
    if first is not None:
        assert np.flatnonzero(kept)[:5].tolist() == first


@pytest.mark.parametrize("proportion", [0.1, 0.3, 0.7, 1.0])
def test_keep_proportion_torch_is_torchs(proportion):
    labels = complete_labels(997, 80)
    known = torch.rand(997, 80, generator=torch.Generator().manual_seed(42)) < proportion
    expected = np.where(known.numpy(), labels, UNKNOWN)
    np.testing.assert_array_equal(keep_proportion_torch(labels, proportion, seed=42), expected)
    assert (keep_proportion(labels, proportion, seed=42) != expected).any() or proportion == 1


def test_single_positive_draws_as_the_benchmark_does():
    """Row by row: shuffle the positives, take the first; shuffle the negatives, take none."""
    labels = complete_labels(40, 20)
    random = np.random.RandomState(1200)
    expected = np.zeros_like(labels)
    for row in range(40):
        for value, count in ((POSITIVE, 1), (NEGATIVE, 0)):
            columns = np.nonzero(labels[row] == value)[0]
            random.shuffle(columns)
            expected[row, columns[:count]] = value
    np.testing.assert_array_equal(keep_single_positive(labels, seed=1200), expected)


def test_fixed_per_class_keeps_the_counts():
    labels = complete_labels(200, 6)
    labels[:, 5] = NEGATIVE
    labels[0, 5] = POSITIVE
    kept = keep_fixed_per_class(labels, 30, seed=0)
    assert (kept == POSITIVE).sum(axis=0).tolist() == [30] * 5 + [1]
    assert (kept == NEGATIVE).sum(axis=0).tolist() == [30] * 6
    assert ((kept == labels) | (kept == UNKNOWN)).all()
    assert (keep_fixed_per_class(labels, 0, seed=0) == UNKNOWN).all()
    np.testing.assert_array_equal(keep_fixed_per_class(labels, 200, seed=0), labels)
    with pytest.raises(ValueError, match="count is -1"):
        keep_fixed_per_class(labels, -1, seed=0)


def test_drop_proportion_drops_where_keep_would_keep():
    labels = complete_labels(60, 8)
    dropped, kept = drop_proportion(labels, 0.3, seed=4), keep_proportion(labels, 0.3, seed=4)
    np.testing.assert_array_equal(dropped + kept, labels)


def test_keep_proportion_at_the_ends():
    labels = complete_labels(20, 5)
    np.testing.assert_array_equal(keep_proportion(labels, 1.0), labels)
    assert (keep_proportion(labels, 0.0) == UNKNOWN).all()
    for proportion in (-0.1, 1.1, np.nan):
        with pytest.raises(ValueError, match=r"proportion is .* outside \[0, 1\]"):
            keep_proportion(labels, proportion)


@settings(deadline=None)
@given(labels=label_matrices)
def test_single_positive_keeps_one_where_there_is_one(labels):
    kept = keep_single_positive(labels, seed=1)
    np.testing.assert_array_equal(
        (kept == POSITIVE).sum(axis=1), (labels == POSITIVE).any(axis=1).astype(int)
    )
    assert (kept[kept != UNKNOWN] == POSITIVE).all()
    assert (labels[kept == POSITIVE] == POSITIVE).all()


def test_single_positive_is_uniform_over_the_positives():
    kept = keep_single_positive(np.tile([1, -1, 1, 1, -1], (30_000, 1)), seed=0)
    counts = (kept == POSITIVE).sum(axis=0)
    assert (counts[[1, 4]] == 0).all()
    np.testing.assert_allclose(counts[[0, 2, 3]], 10_000, atol=400)  # five standard deviations


def test_flip_rates_per_class_and_unknown_untouched():
    labels = complete_labels(40_000, 3)
    labels[::5] = UNKNOWN
    noisy = flip(labels, false_negative=[0.0, 0.2, 1.0], false_positive=[0.1, 0.0, 0.05], seed=5)
    assert (noisy[labels == UNKNOWN] == UNKNOWN).all()
    for value, rates in ((POSITIVE, [0.0, 0.2, 1.0]), (NEGATIVE, [0.1, 0.0, 0.05])):
        for column, rate in enumerate(rates):
            chosen = labels[:, column] == value
            flipped = (noisy[chosen, column] == -value).mean()
            assert flipped == pytest.approx(rate, abs=5 * np.sqrt(rate / chosen.sum()))


def test_flip_is_monotone_in_the_rate():
    labels = complete_labels(300, 9)
    low = flip(labels, false_negative=0.1, false_positive=0.05, seed=2) != labels
    high = flip(labels, false_negative=0.3, false_positive=0.2, seed=2) != labels
    assert low.any()
    assert (high | ~low).all()
    assert high.sum() > low.sum()


def test_flip_refuses_bad_rates():
    labels = complete_labels(4, 3)
    with pytest.raises(ValueError, match="false_positive is 1.5"):
        flip(labels, false_negative=0.1, false_positive=1.5, seed=0)
    with pytest.raises(ValueError, match=r"false_negative has shape \(2,\)"):
        flip(labels, false_negative=[0.1, 0.2], false_positive=0.0, seed=0)


def test_positive_list_of_splc(tmp_path):
    path = tmp_path / "coco_train_0.4left.txt"
    path.write_text("\ufeffb.jpg, 0 3\na.jpg ,2\n\nc.jpg,\n", encoding="utf-8")
    names, labels = read_positive_list(path, 4)
    assert names.tolist() == ["b.jpg", "a.jpg", "c.jpg"]
    assert labels.dtype == np.int8
    np.testing.assert_array_equal(labels, [[1, 0, 0, 1], [0, 0, 1, 0], [0, 0, 0, 0]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a.jpg,1\nb.jpg 2\n", "list.txt, line 2: 'b.jpg 2' is not NAME,INDEX"),
        ("a.jpg,1\nb.jpg,1,2\n", "line 2: 'b.jpg,1,2' is not NAME,INDEX .* one comma"),
        ("b,1.jpg,2\n", "line 1: 'b,1.jpg,2' is not NAME,INDEX .* one comma"),
        (" ,2\n", "line 1: ',2' is not NAME,INDEX"),
        ("a.jpg,1\nb.jpg,1 4\n", r"line 2: '4' is no class index in \[0, 4\)"),
        ("a.jpg,-1\n", "line 1: '-1' is no class index"),
        ("a.jpg,person\n", "line 1: 'person' is no class index"),
        (f"a.jpg,{'9' * 5000}\n", "line 1: '9{40}' is no class index"),
        ("a.jpg,1\na.jpg,2\n", "line 2: a.jpg is listed already"),
        ("\n", "list.txt lists no picture"),
        ("a.jpg,1\nch\u00eane.jpg,2\n", "list.txt, line 2: not UTF-8"),
    ],
)
def test_positive_list_errors_name_the_line(tmp_path, text, message):
    path = tmp_path / "list.txt"
    path.write_text(text, encoding="latin-1")
    with pytest.raises(UserError, match=message):
        read_positive_list(path, 4)


def test_mask_hash_tells_masks_apart_but_not_values():
    labels = complete_labels(9, 5)
    labels[0, 0] = UNKNOWN
    assert mask_hash(labels) == mask_hash(-labels)
    assert mask_hash(labels) == mask_hash(np.asfortranarray(labels))
    assert mask_hash(labels) != mask_hash(labels[::-1])
    assert mask_hash(np.zeros((0, 5))) == mask_hash(np.zeros((0, 3)))


def dense_manifest(path: Path) -> LabelManifest:
    """The manifest of a matrix of labels."""
    manifest = read_manifest(path)
    assert isinstance(manifest, LabelManifest)
    return manifest


@protocols
@settings(deadline=None)
@given(labels=label_matrices)
def test_manifest_gives_the_true_labels_back(protocol, labels, tmp_path_factory):
    seen = protocol(labels, 3)
    path = tmp_path_factory.mktemp("run") / "label_manifest.npz"
    parameters = {"proportion": 0.5}
    made = {"protocol": "any", "seed": 3, "parameters": parameters}
    write_manifest(path, compare(PackedLabels.pack(labels), seen, **made))
    manifest = dense_manifest(path)
    np.testing.assert_array_equal(manifest.changed(), labels != seen)
    np.testing.assert_array_equal(manifest.restore(seen), labels)
    assert (manifest.protocol, manifest.seed, manifest.parameters) == (
        "any",
        3,
        {"proportion": 0.5},
    )
    assert manifest.mask_hash == mask_hash(seen)
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_manifest_does_not_depend_on_the_blocks(tmp_path, monkeypatch):
    labels = complete_labels(31, 7)
    seen = keep_proportion(labels, 0.4)
    whole = mask_hash(seen)
    monkeypatch.setattr(convention, "BLOCK_ENTRIES", 16)
    assert mask_hash(seen) == whole
    made = {"protocol": "keep_proportion", "seed": 0, "parameters": {}}
    write_manifest(tmp_path / "m.npz", compare(PackedLabels.pack(labels), seen, **made))
    np.testing.assert_array_equal(dense_manifest(tmp_path / "m.npz").restore(seen), labels)


def test_manifest_refuses_what_does_not_fit(tmp_path):
    labels = complete_labels(6, 4)
    path = tmp_path / "m.npz"
    made = {"protocol": "p", "seed": 0, "parameters": {}}
    true = PackedLabels.pack(labels)
    with pytest.raises(ValueError, match=r"shape \(6, 3\), true ones \(6, 4\)"):
        compare(true, labels[:, :3], **made)
    unknown = labels.copy()
    unknown[4, 2] = UNKNOWN
    with pytest.raises(ValueError, match="row 4, column 2 is .*, the truth unknown"):
        compare(PackedLabels.pack(unknown), labels, **made)
    write_manifest(path, compare(true, unknown, **made))
    with pytest.raises(UserError, match="are not those of the manifest.*data set has changed"):
        dense_manifest(path).restore(labels)


def manifest_arrays(**changes) -> dict[str, np.ndarray]:
    """The arrays of a sound manifest of 3 x 5 labels, with some replaced; None: left out."""
    header = {"protocol": "p", "seed": 0, "parameters": {}}
    sound = {
        "header": np.array(json.dumps(header)),
        "shape": np.array([3, 5]),
        "mask_hash": np.array("0123456789ab"),
        "changed": np.zeros(2, np.uint8),
        "positive": np.zeros(2, np.uint8),
    }
    return {name: a for name, a in {**sound, **changes}.items() if a is not None}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": None, "changed": None}, "it lacks changed, shape"),
        ({"shape": np.array([3, -5])}, r"its shape is \[3, -5\], not N and C"),
        ({"shape": np.array([3.0, 5.0])}, "its shape is"),
        ({"shape": np.array(15)}, "its shape is 15"),
        ({"shape": np.array([300, 500])}, "not the 18750 bytes of 300 x 500 labels"),
        ({"changed": np.zeros(3, np.uint8)}, r"changed is uint8 \[3\], not the 2 bytes"),
        ({"positive": np.zeros(2, np.int64)}, "positive is int64"),
        ({"header": np.array("{")}, "its header is not JSON"),
        ({"header": np.array("[" * 100_000)}, "its header is not JSON"),
        ({"header": np.array('{"protocol": "p"}')}, "its header is not protocol, seed, parameters"),
        (
            {"header": np.array('{"protocol": "p", "seed": "0", "parameters": {}}')},
            "seed is '0', not of type int",
        ),
        ({"changed": np.array([{}, {}], dtype=object)}, "Object arrays cannot be loaded"),
    ],
)
def test_what_is_no_manifest_is_refused(tmp_path, changes, message):
    path = tmp_path / "other.npz"
    np.savez(path, allow_pickle=True, **manifest_arrays())
    assert read_manifest(path).shape == (3, 5)
    np.savez(path, allow_pickle=True, **manifest_arrays(**changes))
    with pytest.raises(UserError, match=f"other.npz is no label manifest: .*{message}"):
        read_manifest(path)


def test_files_that_are_no_manifest(tmp_path):
    with pytest.raises(UserError, match="m.npz: no such file"):
        read_manifest(tmp_path / "m.npz")
    (tmp_path / "text").write_text("x")
    with pytest.raises(UserError, match="text is no label manifest: no npz file"):
        read_manifest(tmp_path / "text")
    path = tmp_path / "damaged.npz"
    np.savez_compressed(
        path, allow_pickle=True, **manifest_arrays(changed=np.arange(4096, dtype=np.uint8))
    )
    content = bytearray(path.read_bytes())
    place = content.index(b"changed.npy")
    content[place + 60 : place + 80] = b"x" * 20
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged.npz is no label manifest"):
        read_manifest(path)


def test_a_manifest_replaces_a_link_and_leaves_nothing_beside_it(tmp_path):
    labels = complete_labels(4, 3)
    target = tmp_path / "target"
    target.write_text("untouched")
    path = tmp_path / "m.npz"
    path.symlink_to(target)
    made = {"protocol": "p", "seed": 0, "parameters": {}}
    write_manifest(path, compare(PackedLabels.pack(labels), labels, **made))
    assert target.read_text() == "untouched"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.npz", "target"]
    np.testing.assert_array_equal(dense_manifest(path).restore(labels), labels)
