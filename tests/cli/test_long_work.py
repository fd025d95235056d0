"""Commands whose work cannot be counted say that it goes on."""

from contextlib import contextmanager

import pytest

from pumlc.cli.main import main

LABELS = "split,image,labels,negatives\ntrain,a.jpg,cat,dog\ntrain,b.jpg,dog,cat\n"
DECISIONS = "image,class,given,corrected\na.jpg,dog,absent,present\n"


@pytest.fixture
def said(monkeypatch):
    """What a command works on, by the names that it gives."""
    names = []

    @contextmanager
    def working(what):
        names.append(what)
        yield

    for module in ("label_options", "convert", "correct", "prepare"):
        monkeypatch.setattr(f"pumlc.cli.{module}.working", working)
    return names


@pytest.mark.parametrize(
    ("arguments", "works"),
    [
        (
            ["convert", "l.csv", "o.json", "--to", "labelstudio"],
            ["reading l.csv", "writing o.json"],
        ),
        (["inspect", "l.csv", "--root", "."], ["reading l.csv"]),
        (["correct", "l.csv", "d.csv", "--out", "n.csv"], ["writing n.csv"]),
        (["prepare", "csv", ".", "--csv", "l.csv"], ["reading l.csv"]),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_reading_and_writing_of_label_files(arguments, works, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "l.csv").write_text(LABELS)
    (tmp_path / "d.csv").write_text(DECISIONS)
    for name in ("a.jpg", "b.jpg"):
        (tmp_path / name).touch()
    main(arguments)
    assert said == works
