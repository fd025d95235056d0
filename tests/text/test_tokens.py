"""The token cache: what it holds, when it is made anew, and what a kill leaves behind."""

import copy
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from pumlc.errors import UserError
from pumlc.text.data import tokens as tokens_module
from pumlc.text.data.tokens import TokenizedTexts, cached_tokens, tokenize

TEXTS = ["red apple", "", "blue bird flies fruit colour", "unheard words", "fish"]


def assert_same(left: TokenizedTexts, right: TokenizedTexts) -> None:
    assert np.array_equal(left.ids, right.ids)
    assert np.array_equal(left.offsets, right.offsets)
    assert left.ids.dtype == right.ids.dtype
    assert left.pad_id == right.pad_id


@pytest.mark.parametrize("length", [3, 5, 32])
@pytest.mark.parametrize("texts_per_call", [1, 2, 8192])
def test_cache_equals_the_tokenizer(tokenizer, tmp_path, monkeypatch, length, texts_per_call):
    monkeypatch.setattr(tokens_module, "TEXTS_PER_CALL", texts_per_call)
    cached = cached_tokens(TEXTS, tokenizer, max_length=length, folder=tmp_path / "new" / "folder")
    expected = [tokenizer(text, truncation=True, max_length=length)["input_ids"] for text in TEXTS]
    for row, ids in enumerate(expected):
        assert cached.ids[cached.offsets[row] : cached.offsets[row + 1]].tolist() == ids
    assert cached.ids.dtype == np.uint8  # 19 words
    assert isinstance(cached.ids, np.memmap)
    assert_same(cached, tokenize(TEXTS, tokenizer, max_length=length))


def test_a_batch_is_what_the_tokenizer_pads(tokenizer):
    tokens = tokenize(TEXTS, tokenizer, max_length=8)
    rows = np.array([3, 1, 2, 2])
    batch = tokens.batch(rows)
    expected = tokenizer([TEXTS[row] for row in rows], padding=True, return_tensors="pt")
    assert batch["input_ids"].tolist() == expected["input_ids"].tolist()
    assert batch["attention_mask"].tolist() == expected["attention_mask"].tolist()
    assert tokens.batch(np.array([], np.int64))["input_ids"].shape == (0, 1)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.data())
def test_batches_of_any_lengths(lengths, data):
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = TokenizedTexts(np.arange(1, offsets[-1] + 1), offsets, pad_id=0)
    rows = np.array(data.draw(st.lists(st.integers(0, len(lengths) - 1), min_size=1)))
    batch = tokens.batch(rows)
    assert batch["input_ids"].shape[1] == max(1, max(lengths[row] for row in rows))
    for row, ids, mask in zip(rows, batch["input_ids"], batch["attention_mask"], strict=True):
        own = list(range(offsets[row] + 1, offsets[row + 1] + 1))
        assert ids[mask.bool()].tolist() == own
        assert mask.tolist() == [1] * len(own) + [0] * (len(mask) - len(own))
        assert ids[~mask.bool()].eq(0).all()


def test_an_entry_is_used_again_and_any_change_makes_another(tokenizer, tmp_path, monkeypatch):
    calls = []
    write = tokens_module._write_entry
    monkeypatch.setattr(
        tokens_module, "_write_entry", lambda *arguments: (calls.append(1), write(*arguments))
    )

    def build(texts=TEXTS, tokenizer=tokenizer, length=8):
        before = len(calls)
        cached_tokens(texts, tokenizer, max_length=length, folder=tmp_path)
        return len(calls) > before

    assert build()
    tokenizer(TEXTS, truncation=True, max_length=3, padding=True)  # leaves traces in the tokenizer
    assert not build()
    assert build(length=9)
    assert build(texts=[*TEXTS[:-1], "fisH"])
    assert build(texts=["red ", "apple", *TEXTS[1:]])
    assert build(texts=["red", " apple", *TEXTS[1:]])  # the same characters, divided otherwise
    other = copy.deepcopy(tokenizer)
    other.add_tokens(["words"])
    assert build(tokenizer=other)
    other = copy.deepcopy(tokenizer)
    other.truncation_side = "left"
    assert build(tokenizer=other)
    assert not build()
    assert len(calls) == 7


def test_the_type_grows_with_the_vocabulary(tokenizer, tmp_path):
    large = copy.deepcopy(tokenizer)
    large.add_tokens([f"word{i}" for i in range(300)])
    cached = cached_tokens(["word299 red"], large, max_length=8, folder=tmp_path)
    assert cached.ids.dtype == np.uint16
    assert cached.ids.tolist() == large("word299 red")["input_ids"]
    assert cached.ids.max() > 255


def test_the_type_fits_the_largest_id_of_a_vocabulary_with_gaps(tmp_path):
    core = Tokenizer(models.WordLevel({"[UNK]": 0, "red": 70_000}, unk_token="[UNK]"))
    gaps = PreTrainedTokenizerFast(tokenizer_object=core, unk_token="[UNK]")
    cached = cached_tokens(["red"], gaps, max_length=8, folder=tmp_path)
    assert cached.ids.dtype == np.uint32
    assert cached.ids.tolist() == [70_000]
    assert cached.pad_id == 0


def test_a_tokenizer_without_fast_backend_is_cached_by_its_files(tokenizer, tmp_path):
    class Slow:
        """Hides the backend."""

        truncation_side = "right"
        backend_tokenizer = None
        save_pretrained = tokenizer.save_pretrained

    slow: Any = Slow()
    kept = list(tokens_module._tokenizer_content(slow))
    assert len(kept) > 2
    assert kept == list(tokens_module._tokenizer_content(slow))


def test_no_texts_and_no_room(tokenizer, tmp_path):
    assert len(cached_tokens([], tokenizer, max_length=8, folder=tmp_path)) == 0
    assert len(tokenize([], tokenizer, max_length=8)) == 0
    with pytest.raises(ValueError, match="max_length must be above 2"):
        tokenize(TEXTS, tokenizer, max_length=2)


def test_a_killed_build_leaves_no_entry(tokenizer, tmp_path, monkeypatch):
    def killed(folder, chunks):
        (folder / "ids.bin").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tokens_module, "_write_entry", killed)
        with pytest.raises(KeyboardInterrupt):
            cached_tokens(TEXTS, tokenizer, max_length=8, folder=tmp_path)
    assert not any(tmp_path.iterdir())
    cached = cached_tokens(TEXTS, tokenizer, max_length=8, folder=tmp_path)
    assert_same(cached, tokenize(TEXTS, tokenizer, max_length=8))


def test_the_second_of_two_builds_at_once_takes_the_entry_of_the_first(
    tokenizer, tmp_path, monkeypatch
):
    write = tokens_module._write_entry

    def overtaken(folder, chunks):
        monkeypatch.setattr(tokens_module, "_write_entry", write)
        cached_tokens(TEXTS, tokenizer, max_length=8, folder=tmp_path)
        write(folder, chunks)

    monkeypatch.setattr(tokens_module, "_write_entry", overtaken)
    cached = cached_tokens(TEXTS, tokenizer, max_length=8, folder=tmp_path)
    assert_same(cached, tokenize(TEXTS, tokenizer, max_length=8))
    assert len(list(tmp_path.iterdir())) == 1


def test_a_damaged_entry_is_refused(tokenizer, tmp_path):
    cached_tokens(TEXTS, tokenizer, max_length=8, folder=tmp_path)
    (path,) = tmp_path.glob("*/ids.bin")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match="damaged token cache entry"):
        cached_tokens(TEXTS, tokenizer, max_length=8, folder=tmp_path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-3]),
        lambda path: path.write_bytes(b"\x93NUMPY\x01\x00\x76\x00{'descr': (("),
        lambda path: path.unlink(),
        lambda path: np.save(path, np.load(path)[1:]),
        lambda path: np.save(path, np.delete(np.load(path), 2)),
        lambda path: np.save(path, np.load(path)[[0, 2, 1, 3, 4, 5]]),
        lambda path: np.save(path, np.load(path).astype(np.float64)),
    ],
)
def test_damaged_offsets_are_refused(tokenizer, tmp_path, damage):
    cached_tokens(TEXTS, tokenizer, max_length=8, folder=tmp_path)
    (path,) = tmp_path.glob("*/offsets.npy")
    damage(path)
    with pytest.raises(ValueError, match=f"{path.parent}: damaged token cache entry"):
        cached_tokens(TEXTS, tokenizer, max_length=8, folder=tmp_path)


def test_the_key_is_the_same_in_another_process(bert_folder):
    code = f"""
from transformers import AutoTokenizer
from pumlc.text.data.tokens import _fingerprint
print(_fingerprint({TEXTS!r}, AutoTokenizer.from_pretrained({str(bert_folder)!r}), 8))
"""
    child = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    tokenizer = AutoTokenizer.from_pretrained(bert_folder)
    assert child.stdout.strip() == tokens_module._fingerprint(TEXTS, tokenizer, 8)


def test_changed_ids_are_refused(tokenizer, tmp_path):
    cached_tokens(TEXTS, tokenizer, max_length=8, folder=tmp_path)
    (path,) = tmp_path.glob("*/ids.bin")
    content = bytearray(path.read_bytes())
    content[3] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match="damaged token cache entry"):
        cached_tokens(TEXTS, tokenizer, max_length=8, folder=tmp_path)


def test_progress_counts_texts_until_they_are_cached(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens_module, "TEXTS_PER_CALL", 2)
    seen: list[tuple[str, int, int]] = []

    def build() -> None:
        cached_tokens(
            TEXTS, tokenizer, max_length=8, folder=tmp_path, progress=lambda *x: seen.append(x)
        )

    build()
    assert seen == [("tokens", done, 5) for done in (2, 4, 5)]
    build()
    assert len(seen) == 3
