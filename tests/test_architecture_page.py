"""The architecture page: its files exist, its picture shows every room."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from test_import_table import ALLOWED

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "architecture.md").read_text()
PATHS = sorted(set(re.findall(r"`([\w/]+(?:\.(?:py|md|yaml)|/))`", PAGE)))
BOXES = {
    text.text
    for text in ElementTree.parse(ROOT / "docs" / "images" / "architecture.svg").iter()
    if text.tag.endswith("text")
}


def test_the_page_names_files():
    assert len(PATHS) > 40


@pytest.mark.parametrize("path", PATHS)
def test_named_files_exist(path):
    assert (ROOT / "pumlc" / path).exists() or (ROOT / path).exists()


def test_every_step_names_a_file():
    steps = re.findall(r"^\| \d+ \|.*$", PAGE, re.MULTILINE)
    assert len(steps) > 20
    assert not [step for step in steps if ".py`" not in step]


@pytest.mark.parametrize("name", ["errors", "files", "tables", "labels", "metrics", "audit"])
def test_the_ground_floor_is_that_of_the_import_table(name):
    heavy = {"torch", "timm", "transformers"}
    assert not (ALLOWED[name][1] or set()) & heavy
    assert f"`{name}`" in PAGE


def test_the_picture_shows_the_rooms():
    rooms = {path.name for path in (ROOT / "pumlc").iterdir() if (path / "__init__.py").is_file()}
    shown = {word for box in BOXES for word in re.findall(r"\w+", box or "")}
    assert rooms - shown == set()
    for branch in ("vision", "text"):
        own = {p.name for p in (ROOT / "pumlc" / branch).iterdir() if (p / "__init__.py").is_file()}
        assert own - shown == set()
