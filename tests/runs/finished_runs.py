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

from all_kinds import PICTURES, SETTINGS, TEXTS, call
from small_texts import write_corpus
from tiny_bert import save_bert, word_tokenizer

@pytest.fixture(scope="session")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("texts_of_runs")
    write_corpus(folder)
    return folder


@pytest.fixture(scope="session")
def finished(squares_csv, corpus, tmp_path_factory) -> Callable[[str], Path]:
    """The folder of a run of a kind of `SETTINGS`, trained when it is asked for first."""
    base = tmp_path_factory.mktemp("finished")
    bert = save_bert(base / "bert", word_tokenizer(), 0.0)

    def of_kind(kind: str) -> Path:
        out, own = base / kind / "run", SETTINGS[kind]
        if out.exists():
            return out
        if isinstance(own, str):
            file = base / f"{kind}.yaml"
            file.write_text(TEXTS.format(root=corpus, cache=base, model=bert) + own)
            call("train", "--config", file, "--out", out)
            return out
        recipe = ["--config", "frozen", "--features.cache", base / kind] if not own else []
        places = ["--data.csv", squares_csv, "--data.root", squares_csv.parent]
        call("train", *recipe, *PICTURES, *own, *places, "--out", out)
        return out

    return of_kind


@pytest.fixture(params=SETTINGS)
def run(request, finished, tmp_path) -> Path:
    """A copy of the run of each kind."""
    return shutil.copytree(finished(request.param), tmp_path / "run")
