"""The guides: their commands run, and print what the pages show."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
specification = importlib.util.spec_from_file_location("run_guides", ROOT / "docs/run_guides.py")
assert specification is not None
assert specification.loader is not None
guides = importlib.util.module_from_spec(specification)
specification.loader.exec_module(guides)
PAGES = sorted((ROOT / "docs/guides").glob("*.md"))


def _marked(page: Path):
    marks = [pytest.mark.slow, pytest.mark.timeout(1800)] if guides.is_slow(page) else []
    return pytest.param(page, marks=marks, id=page.stem)


@pytest.mark.parametrize("page", [_marked(page) for page in PAGES])
def test_a_guide_prints_what_it_shows(page):
    guides.run(page)


PAGE = """# Title

```{code-block} python
:caption: say.py

print("in", __file__, "mAP 50.0, 3.2 s")
```

```console
$ python say.py; \\
  echo second
in /home/you/say.py mAP 51.0, 9.9 s
second
$ printf 'x: 1/2, 1 s left\\n'; test -t 1  # a terminal
```

```bash
exit 3
```
"""


@pytest.fixture
def page(tmp_path):
    path = tmp_path / "page.md"
    path.write_text(PAGE)
    return path


def test_a_page_that_shows_the_output_passes(page):
    guides.run(page)


@pytest.mark.parametrize(
    ("shown", "other"),
    [
        ("mAP 51.0", "mAP 58.0"),
        ("mAP 51.0", "AP 51.0"),
        ("second\n$", "$"),
        ("second\n$", "third\n$"),
        ("/home/you/say.py", "/home/you/hay.py"),
        ("test -t 1 ", "false "),
        ("$ printf", "$ no-such-command || printf"),
    ],
)
def test_another_output_or_a_failure_is_found(page, shown, other):
    assert PAGE.count(shown) == 1
    page.write_text(PAGE.replace(shown, other))
    with pytest.raises(guides.GuideError):
        guides.run(page)


def test_a_command_that_must_fail(page):
    page.write_text("```console\n$ echo no; exit 2  # fails\nno\n```\n")
    guides.run(page)
    page.write_text("```console\n$ echo no  # fails\nno\n```\n")
    with pytest.raises(guides.GuideError, match="status 0"):
        guides.run(page)


def test_write_fills_the_page(page):
    page.write_text(PAGE.replace("mAP 51.0", "mAP 10").replace("second\n$", "$"))
    guides.run(page, write=True)
    assert page.read_text() == PAGE.replace("mAP 51.0, 9.9 s", "mAP 50.0, 3.2 s")


def test_numbers_in_names_are_names():
    step = guides.Step("list", "photos/0203.jpg 0.50\n")
    guides.compare(step, "photos/0203.jpg 0.51\n", Path("page"))
    with pytest.raises(guides.GuideError):
        guides.compare(step, "photos/0204.jpg 0.50\n", Path("page"))


def test_which_suspect_is_first_does_not_count():
    row = "| train | {} | 1 | 1 | {} | sun | 0.9 | 0.9 | 1.0 |\n"
    step = guides.Step("audit", row.format("unknown", "photos/0203.jpg"))
    guides.compare(step, row.format("unknown", "photos/0009.jpg"), Path("page"))
    with pytest.raises(guides.GuideError):
        guides.compare(step, row.format("present", "photos/0203.jpg"), Path("page"))
