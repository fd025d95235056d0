"""Token ids of many texts: a flat array on disk, made once per tokenizer, length and text."""

import hashlib
import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pumlc.errors import UserError
from pumlc.files import DAMAGED_ARRAY, complete_file, write_text
from pumlc.progress import ShowProgress

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEXTS_PER_CALL = 8192
FORMAT = b"pumlc tokens 2"  # 2: with checksums


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of N texts, one after another.

    Args:
        ids: [T] ids of all texts; text i is ``ids[offsets[i]:offsets[i + 1]]``.
        offsets: int64 [N + 1].
        pad_id: id that fills up the shorter texts of a batch.

    Example:
        >>> tokens = TokenizedTexts(np.array([5, 6, 7], np.uint8), np.array([0, 1, 3]), pad_id=0)
        >>> tokens.batch(np.array([1, 0]))["input_ids"].tolist()
        [[6, 7], [5, 0]]
    """

    ids: np.ndarray
    offsets: np.ndarray
    pad_id: int

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def batch(self, rows: np.ndarray) -> dict[str, Tensor]:
        """``input_ids`` and ``attention_mask``, int64 [len(rows), longest of these texts].

        There is at least one column, so that a text without any token can go through a model.
        """
        starts, lengths = self.offsets[rows], self.offsets[rows + 1] - self.offsets[rows]
        position = np.arange(max(1, lengths.max(initial=0)))
        attention_mask = position < lengths[:, None]
        input_ids = np.full(attention_mask.shape, self.pad_id, np.int64)
        input_ids[attention_mask] = self.ids[(starts[:, None] + position)[attention_mask]]
        return {
            "input_ids": torch.from_numpy(input_ids),
            "attention_mask": torch.from_numpy(attention_mask.astype(np.int64)),
        }


def tokenize(
    texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    max_length: int,
    progress: ShowProgress | None = None,
) -> TokenizedTexts:
    """Tokenize in memory, with the special tokens of the tokenizer, cut at ``max_length`` tokens.

    ``progress`` is called with "tokens", the texts done and their number.

    Raises:
        UserError: ``max_length`` leaves no room beside the special tokens.
    """
    chunks = list(_token_chunks(texts, tokenizer, max_length, progress))
    ids = np.concatenate([chunk for chunk, _ in chunks] or [np.empty(0, np.uint8)])
    lengths = np.concatenate([length for _, length in chunks] or [np.empty(0, np.int64)])
    return TokenizedTexts(ids, _offsets(lengths), _pad_id(tokenizer))


def cached_tokens(
    texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    max_length: int,
    folder: Path,
    progress: ShowProgress | None = None,
) -> TokenizedTexts:
    """`tokenize`, kept below ``folder`` and mapped into memory instead of read.

    The name of an entry is a hash of the tokenizer's content, ``max_length`` and every text: a
    changed text, vocabulary or length is another entry. An entry is written under a temporary name
    and renamed when complete, so that a killed build leaves no partial entry and two builds at once
    do no harm. Fast tokenizers use all cores.

    Args:
        texts: the texts in order.
        tokenizer: any tokenizer of transformers.
        max_length: tokens kept of a text, special tokens included.
        folder: where the entries are; made when missing, free to be deleted at any time.
        progress: see `tokenize`; it is not called where the entry is there.
    """
    entry = folder / _fingerprint(texts, tokenizer, max_length)
    if not entry.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=folder))
        try:
            _write_entry(building, _token_chunks(texts, tokenizer, max_length, progress))
            os.rename(building, entry)
        except OSError:
            if not entry.is_dir():  # else another process finished the same entry first
                raise
        finally:
            shutil.rmtree(building, ignore_errors=True)
    return _open_entry(entry, tokenizer, len(texts))


def _write_entry(folder: Path, chunks: Iterator[tuple[np.ndarray, np.ndarray]]) -> None:
    lengths = []
    with complete_file(folder / "ids.bin", binary=True) as file:
        for ids, length in chunks:
            file.write(ids.tobytes())
            lengths.append(length)
    with complete_file(folder / "offsets.npy", binary=True) as file:
        np.save(file, _offsets(np.concatenate(lengths or [np.empty(0, np.int64)])))
    write_text(folder / "checksum.txt", _checksum(folder))


def _checksum(entry: Path) -> str:
    """SHA-256 of the ids and offsets of an entry."""
    digest = hashlib.sha256()
    for name in ("ids.bin", "offsets.npy"):
        with (entry / name).open("rb") as file:
            while block := file.read(2**20):
                digest.update(block)
    return digest.hexdigest()


def _open_entry(entry: Path, tokenizer: "PreTrainedTokenizerBase", count: int) -> TokenizedTexts:
    path, dtype = entry / "ids.bin", _smallest_type(tokenizer)
    offsets = _read_offsets(entry / "offsets.npy", count)
    checksum = entry / "checksum.txt"
    if (
        offsets is None
        or not path.is_file()
        or not checksum.is_file()
        or path.stat().st_size != offsets[-1] * dtype.itemsize
        or checksum.read_bytes() != _checksum(entry).encode()
    ):
        raise UserError(f"{entry}: damaged token cache entry; delete it to build it again")
    # an empty file cannot be mapped
    ids = np.memmap(path, dtype, mode="r") if offsets[-1] else np.empty(0, dtype)
    return TokenizedTexts(ids, offsets, _pad_id(tokenizer))


def _read_offsets(path: Path, count: int) -> np.ndarray | None:
    """Offsets of ``count`` texts; None if the file is missing or holds anything else."""
    try:
        offsets = np.load(path)
    except DAMAGED_ARRAY:
        return None
    if offsets.shape != (count + 1,) or offsets.dtype != np.int64:
        return None
    return offsets if offsets[0] == 0 and (np.diff(offsets) >= 0).all() else None


def check_room(
    tokenizer: "PreTrainedTokenizerBase", max_length: int, setting: str = "max_length"
) -> None:
    """Raise UserError if the special tokens leave no room for a text in ``setting``."""
    special = tokenizer.num_special_tokens_to_add()
    if max_length <= special:
        raise UserError(
            f"{setting} must be above {special}, the special tokens of a text, got {max_length}"
        )


def _token_chunks(
    texts: Sequence[str],
    tokenizer: "PreTrainedTokenizerBase",
    max_length: int,
    progress: ShowProgress | None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield ``(flat ids, length of each text)`` of one chunk of the texts after another."""
    check_room(tokenizer, max_length)
    dtype = _smallest_type(tokenizer)
    for start in range(0, len(texts), TEXTS_PER_CALL):
        rows = tokenizer(
            list(texts[start : start + TEXTS_PER_CALL]),
            truncation=True,
            max_length=max_length,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        lengths = np.array([len(row) for row in rows], np.int64)
        yield np.fromiter(itertools.chain.from_iterable(rows), dtype, lengths.sum()), lengths
        if progress is not None:
            progress("tokens", start + len(rows), len(texts))


def _fingerprint(
    texts: Sequence[str], tokenizer: "PreTrainedTokenizerBase", max_length: int
) -> str:
    digest = hashlib.sha256(FORMAT)
    for part in (*_tokenizer_content(tokenizer), str(max_length).encode()):
        digest.update(b"%d:" % len(part) + part)
    for text in texts:
        encoded = text.encode("utf-8", "surrogatepass")
        digest.update(b"%d:" % len(encoded) + encoded)
    return digest.hexdigest()[:32]


def _tokenizer_content(tokenizer: "PreTrainedTokenizerBase") -> Iterator[bytes]:
    """Everything that decides the ids of a text, apart from the length."""
    yield f"{type(tokenizer).__name__} {tokenizer.truncation_side}".encode()
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is not None:
        content = json.loads(backend.to_str())
        # what the last call happened to ask for is no part of the tokenizer
        content.pop("truncation", None)
        content.pop("padding", None)
        yield json.dumps(content, sort_keys=True).encode()
        return
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save_pretrained(folder)
        for path in sorted(Path(folder).rglob("*")):
            yield path.name.encode()
            yield path.read_bytes()


def _smallest_type(tokenizer: "PreTrainedTokenizerBase") -> np.dtype:
    # not len(tokenizer): ids may have gaps
    return np.min_scalar_type(max(tokenizer.get_vocab().values(), default=0))


def _pad_id(tokenizer: "PreTrainedTokenizerBase") -> int:
    # any id will do where the model has none: the attention mask hides it
    pad_id: Any = tokenizer.pad_token_id
    return 0 if pad_id is None else pad_id


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
