"""Files that are complete or absent, and text that is read in one way."""

import ast
import csv
import errno
import os
from pathlib import Path

import pytest

import pumlc
from pumlc.errors import UserError
from pumlc.files import link_file, read_cells, read_lines, read_text, write_text


def test_lines_have_numbers_and_no_ends(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffone\r\n\n three \nfour".encode())
    assert list(read_lines(file)) == [(1, "one"), (2, ""), (3, " three "), (4, "four")]


@pytest.mark.parametrize("read", [read_text, lambda path: list(read_lines(path))])
def test_what_is_no_utf8_text_is_named_with_its_line(tmp_path, read):
    file = tmp_path / "a.txt"
    file.write_bytes(b"one\ntwo\nch\xeane\nfour\n")
    with pytest.raises(UserError, match=r"a\.txt, line 3: not UTF-8") as caught:
        read(file)
    assert isinstance(caught.value.__cause__, UnicodeDecodeError)
    with pytest.raises(UserError, match=r"b\.txt: no such file"):
        read(tmp_path / "b.txt")
    with pytest.raises(UserError, match="not a file"):
        read(tmp_path)


def test_long_cells_are_read_and_the_limit_of_the_process_stays(tmp_path):
    """Also between two rows, and where the caller stops in the middle."""
    file, limit = tmp_path / "a.csv", csv.field_size_limit()
    file.write_text("a,b\n" + "x" * (limit + 1) + ",1\n" + "y" * (2 * limit) + ",2\n")
    rows = read_cells(file)
    assert next(rows) == (1, ["a", "b"])
    assert len(next(rows)[1][0]) == limit + 1
    assert csv.field_size_limit() == limit
    other = read_cells(file)
    next(other)
    del rows
    assert len(next(other)[1][0]) == limit + 1
    assert csv.field_size_limit() == limit


def test_an_error_in_a_row_restores_the_limit(tmp_path):
    file, limit = tmp_path / "a.csv", csv.field_size_limit()
    file.write_text('a,b\n"x,1\ny,2\n')
    with pytest.raises(UserError, match="line 2: not CSV .*is a quote not closed"):
        list(read_cells(file))
    assert csv.field_size_limit() == limit


def test_what_cannot_be_written_names_the_place_alone(tmp_path, monkeypatch):
    for path, reason in (("none/a.txt", "No such file"), ("folder", "Is a directory")):
        (tmp_path / "folder").mkdir(exist_ok=True)
        with pytest.raises(OSError, match=reason) as caught:
            write_text(tmp_path / path, "text")
        assert str(caught.value).endswith(f"directory: '{tmp_path / path}'")

    def read_only(*arguments):
        raise OSError(errno.EROFS, "Read-only file system", str(arguments[0]))

    monkeypatch.setattr(os, "open", read_only)
    monkeypatch.setattr(os, "unlink", read_only)
    with pytest.raises(OSError, match=rf"Read-only file system: '{tmp_path / 'b.txt'}'$"):
        write_text(tmp_path / "b.txt", "text")


OPENED = {
    "Image.open": {"vision/data/decode.py"},  # raster formats alone
    "csv.reader": {
        *("files.py", "audit/corrections.py", "text/data/readers/table.py"),  # in `long_cells`
        "text/corrected_table.py",  # likewise
        "cli/evaluate.py",  # an argument
    },
    "csv.DictReader": {"text/data/readers/csv_file.py", "text/data/readers/table.py"},
    "torch.load": {  # weights_only
        *("engine/checkpoint.py", "vision/frozen/probe.py", "vision/models/weights.py"),
        "text/models/sentence_transformers.py",
    },
    "pickle.load": set(),
    "pickle.loads": set(),
    "yaml.load": set(),
    "cv2.imread": set(),
}


@pytest.mark.parametrize("call", OPENED)
def test_files_of_anyone_are_opened_in_few_places(call):
    """Where the limits are: of formats, of cells, of what is unpickled."""
    module, _, function = call.partition(".")
    package = Path(pumlc.__file__).parent
    found = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == function
        and ast.unparse(node.func.value) == module
    }
    assert found == OPENED[call]


def no_links(source, target):
    raise OSError(errno.EPERM, "Operation not permitted", str(source))


@pytest.mark.parametrize("links", [True, False])
def test_a_second_name_outlives_the_first(tmp_path, monkeypatch, links):
    if not links:
        monkeypatch.setattr(os, "link", no_links)
    first, second = tmp_path / "a", tmp_path / "folder" / "b"
    second.parent.mkdir()
    write_text(first, "one")
    write_text(second, "old")
    link_file(first, second)
    assert first.samefile(second) is links
    write_text(first, "two")
    assert (first.read_text(), second.read_text()) == ("two", "one")
    link_file(second, second)  # both are its names already
    assert sorted(p.name for p in tmp_path.rglob("*") if p.is_file()) == ["a", "b"]
    assert second.read_text() == "one"


def test_a_second_name_that_cannot_be_put_in_place_leaves_nothing(tmp_path):
    write_text(tmp_path / "a", "one")
    (tmp_path / "b" / "c").mkdir(parents=True)
    with pytest.raises(OSError, match="Is a directory"):
        link_file(tmp_path / "a", tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a", "b"]
