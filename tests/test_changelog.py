"""Versions: CHANGELOG.md is in order, and the package has the version that a build gave it."""

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parent.parent
KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]


def test_versions_descend_and_have_dates():
    headings = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text("utf-8"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    found = [re.fullmatch(r"\[(\d+)\.(\d+)\.(\d+)\] - (\d{4}-\d\d-\d\d)", h) for h in headings[1:]]
    assert all(found), headings
    versions = [tuple(map(int, match.groups()[:3])) for match in found if match]
    dates = [match[4] for match in found if match]
    assert versions == sorted(set(versions), reverse=True)
    assert dates == sorted(dates, reverse=True)


def test_kinds_of_change_stand_in_one_order():
    parts = re.split(r"^## .*$", (ROOT / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    for part in parts[1:]:
        kinds = re.findall(r"^### (.*)$", part, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds], kinds


def test_every_tag_has_its_entry():
    command = ["git", "tag", "--list", "v*", "--merged"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    tags = done.stdout.split() if done.returncode == 0 else []  # an sdist has no git
    text = (ROOT / "CHANGELOG.md").read_text("utf-8")
    for tag in tags:
        assert f"## [{tag.removeprefix('v')}]" in text, f"CHANGELOG.md says nothing of {tag}"


def test_the_version_is_that_of_the_build_and_0_without_one(monkeypatch):
    source = (ROOT / "pumlc" / "version.py").read_text("utf-8")
    for built, expected in ((SimpleNamespace(__version__="1.2.3"), "1.2.3"), (None, "0.0.0")):
        monkeypatch.setitem(sys.modules, "pumlc._version", built)
        found: dict = {}
        exec(compile(source, "version.py", "exec"), found)
        assert found["__version__"] == expected
