"""What inspect says of pictures: near duplicates, huge, tiny and grey ones."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFilter

from pumlc.vision.data import decode, picture_inspection
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.inspection import inspect_labels
from pumlc.vision.data.picture_inspection import alike


def scene(seed: int) -> Image.Image:
    """A picture with structure, unlike that of any other seed."""
    random = np.random.RandomState(seed)
    small = Image.fromarray(random.randint(0, 255, (8, 8, 3)).astype(np.uint8))
    return small.resize((120, 96), Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(1))


def problems(folder: Path, splits: dict[str, str]) -> dict[str, list[str]]:
    rows = "".join(f"{split},{name},cat\n" for name, split in splits.items())
    (folder / "l.csv").write_text("split,image,labels\n" + rows)
    found: dict[str, list[str]] = {}
    for problem in inspect_labels(read_table(folder / "l.csv")[0], root=folder).problems:
        found.setdefault(problem.kind, []).append(problem.message)
    return found


def test_pictures_that_look_alike_are_named_once(tmp_path):
    pytest.importorskip("imagehash")
    for seed in range(12):
        scene(seed).save(tmp_path / f"{seed}.png")
    scene(3).resize((90, 72)).save(tmp_path / "smaller.jpg", quality=60)
    scene(5).save(tmp_path / "again.png")  # the same bytes: identical, and not alike as well
    for name in ("black.png", "dark.png"):
        level = 0 if name == "black.png" else 2
        Image.fromarray(np.full((40, 40, 3), level, np.uint8)).save(tmp_path / name)
    names = [path.name for path in sorted(tmp_path.glob("*.*g"))]
    found = problems(tmp_path, {n: "test" if n == "smaller.jpg" else "train" for n in names})
    (message,) = found["near duplicates in two splits"]
    assert set(message.split("'")[1::2]) == {"3.png", "smaller.jpg"}
    assert "near duplicates" not in found
    (message,) = found["identical pictures"]
    assert set(message.split("'")[1::2]) == {"5.png", "again.png"}


def test_tiny_grey_huge_and_broken_pictures(tmp_path, monkeypatch):
    scene(0).save(tmp_path / "right.png")
    scene(1).resize((200, 20)).save(tmp_path / "tiny.png")
    scene(2).convert("L").save(tmp_path / "grey.png")
    scene(4).resize((600, 600)).save(tmp_path / "huge.png")
    (tmp_path / "broken.png").write_bytes((tmp_path / "right.png").read_bytes()[:300])
    monkeypatch.setattr(
        picture_inspection,
        "load_image",
        lambda *args, **options: decode.load_image(*args, **options, max_pixels=300_000),
    )
    names = ("right", "tiny", "grey", "huge", "broken")
    found = problems(tmp_path, {f"{name}.png": "train" for name in names})
    for kind, name in (
        ("below 32 pixels", "tiny"),
        ("grey", "grey"),
        ("huge picture", "huge"),
        ("broken picture", "broken"),
    ):
        (message,) = found[kind]
        assert f"{name}.png" in message
        assert not any(f"{other}.png" in message for other in names if other != name)
    assert "600 x 600" in found["huge picture"][0]


@given(st.data())
def test_groups_are_those_of_all_pairs(data):
    base = st.integers(0, 2**64 - 1)
    first = data.draw(st.lists(base, min_size=1, max_size=4))
    hashes = {}
    for row in range(data.draw(st.integers(1, 8))):
        value = data.draw(st.sampled_from(first))
        for bit in data.draw(st.lists(st.integers(0, 63), max_size=4, unique=True)):
            value ^= 1 << bit
        hashes[row] = value
    groups = {row: {row} for row in hashes}
    for row in hashes:  # naive: every pair, and what hangs together
        for other in hashes:
            if (hashes[row] ^ hashes[other]).bit_count() <= 4 and groups[row] is not groups[other]:
                joined = groups[row] | groups[other]
                for each in joined:
                    groups[each] = joined
    expected = sorted({tuple(sorted(group)) for group in groups.values() if len(group) > 1})
    assert sorted(map(tuple, alike(hashes))) == expected
