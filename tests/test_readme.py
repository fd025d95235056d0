"""What README and docs show is what the package does."""

import contextlib
import functools
import io
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from pumlc.cli.main import COMMANDS, main
from pumlc.recipes import recipe_file

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
PAGES = {
    str(path.relative_to(ROOT)): path.read_text()
    for path in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("docs/*/*.md")]
}
SHOWN = re.compile(
    r"^(?: {4}|\$ |)(?:.*-m )?pumlc ([a-z]+)(?: (.*))?$|`pumlc ([a-z]+) ([^`]*)`", re.MULTILINE
)
FOLDERS = "tools|configs|docs|pumlc|examples|experiments|benchmarks|tests"


def test_python_blocks_run():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, "README.md", "exec"), {})


@pytest.mark.parametrize("page", PAGES)
def test_named_files_exist(page):
    names = set(re.findall(rf"(?<!\.\./)\b(?:{FOLDERS})/[\w/]+\.(?:py|yaml|md)", PAGES[page]))
    assert not [name for name in names if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_linked_pages_exist(page):
    folder = (ROOT / page).parent
    links = re.findall(r"\]\((?!https?:)([^)#\s]+)", PAGES[page])
    assert not [link for link in links if not (folder / link).exists()]


@pytest.mark.parametrize("page", PAGES)
def test_commands_and_recipes_exist(page):
    commands = re.findall(r"^(?: {4}|\$ )(?:.* -m )?pumlc ([a-z]+)", PAGES[page], re.MULTILINE)
    assert not set(commands) - set(COMMANDS)
    for recipe in re.findall(r"pumlc \w+ .*?--config ([a-z][\w./]+)", PAGES[page]):
        written_by_the_page = f":caption: {recipe}\n" in PAGES[page]
        assert written_by_the_page or recipe_file(recipe).is_file()


@functools.cache
def options_of(command: str) -> frozenset[str]:
    """The options that the help of a command lists; of train, those of pictures and of texts."""
    names: set[str] = set()
    for task in ([], ["--task", "text"]) if command == "train" else ([],):
        shown = io.StringIO()
        with contextlib.redirect_stdout(shown), pytest.raises(SystemExit):
            main([command, *task, "--help"])
        listed = shown.getvalue().partition("\noptions:")[2]  # what is above are examples
        names |= set(re.findall(r"--[A-Za-z][\w.]*(?:-\w+)*", listed))
    return frozenset(names)


def shown_options(page: str) -> Iterator[tuple[str, str]]:
    """Command and option, for each option of a command that a page shows."""
    text = re.sub(r"\\\n\s*", " ", page)
    for found in SHOWN.finditer(text):
        command, line = (found[1], found[2] or "") if found[1] else (found[3], found[4])
        line = re.split(r"\s+#(?:\s|$)| \| ", line)[0]
        with contextlib.suppress(ValueError):  # a sentence with an apostrophe
            yield from (
                (command, word.partition("=")[0]) for word in shlex.split(line) if word[:2] == "--"
            )


@pytest.mark.parametrize("page", PAGES)
def test_options_exist(page):
    for command, option in shown_options(PAGES[page]):
        parts = option.split(".")  # an option that takes a mapping takes its keys, too
        names = {".".join(parts[:length]) for length in range(1, len(parts) + 1)}
        assert command in COMMANDS, f"pumlc {command}"
        assert names & options_of(command), f"pumlc {command} {option}"


def test_the_pages_show_options():
    shown = [each for page in PAGES.values() for each in shown_options(page)]
    assert len(shown) > 300
    assert ("sweep", "--features.data.root") in shown


def test_the_readme_shows_the_commands():
    assert {"train", "evaluate", "predict", "audit", "sweep", "export"} <= set(
        re.findall(r"pumlc ([a-z]+)", README)
    )


def test_the_readme_is_short():
    assert len(README.splitlines()) <= 150


def test_tree_names_every_module_folder():
    page = PAGES["docs/architecture.md"]
    for folder in (path.parent.name for path in ROOT.glob("pumlc/*/__init__.py")):
        assert f"pumlc/{folder}/" in page
    for name in re.findall(r"^      (\w+\.py)", page, re.MULTILINE):
        assert list((ROOT / "pumlc").rglob(name)), name


def test_make_targets_are_those_of_the_makefile():
    targets = re.findall(r"^([a-z-]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE)
    page = (ROOT / "CONTRIBUTING.md").read_text()
    listed = re.findall(r"`make` lists its targets: (.*)\.", page)[0]
    assert set(re.findall(r"`([a-z-]+)`", listed)) == set(targets) - {"help"}
