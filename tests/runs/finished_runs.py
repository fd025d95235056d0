"""Fixtures: a finished run of every kind, networks and heads, on pictures and on texts.

A test module takes them by ``pytest_plugins``: two folders of tests with a conftest cannot be
collected by one command.
"""

import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("transformers")
sys.path.append(str(Path(__file__).parent.parent / "text"))

from all_kinds import KINDS, call, pictures_of, texts_of
from small_texts import write_corpus
from tiny_bert import save_bert, word_tokenizer


@pytest.fixture(scope="session")
def arguments(squares_csv, tmp_path_factory) -> Callable[[str], list[str]]:
    """What ``pumlc train`` takes for a run of a kind, but for ``--out``."""
    base = tmp_path_factory.mktemp("settings")
    bert = save_bert(base / "bert", word_tokenizer(), 0.0)
    (base / "corpus").mkdir()
    write_corpus(base / "corpus")

    def of_kind(kind: str) -> list[str]:
        if "texts" in kind:
            file = base / f"{kind}.yaml"
            file.write_text(texts_of(kind, base / "corpus", bert, base / "tokens"))
            return ["--config", str(file)]
        return pictures_of(kind, squares_csv, base / "features")

    return of_kind


@pytest.fixture(scope="session")
def finished(arguments, tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a run of a kind, trained when it is asked for first."""
    base = tmp_path_factory.mktemp("finished")

    def of_kind(kind: str) -> Path:
        if not (base / kind).exists():
            call("train", *arguments(kind), "--out", base / kind)
        return base / kind

    return of_kind


@pytest.fixture(params=KINDS)
def run(request, finished, tmp_path) -> Path:
    """A copy of the run of each kind."""
    return shutil.copytree(finished(request.param), tmp_path / "run")
