"""Decisions of people: read, combined, put into a label file, and not asked again."""

import csv
import json
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pumlc.audit import Correction, combine_corrections, read_corrections
from pumlc.audit.corrections import write_corrections
from pumlc.cli.correct import main
from pumlc.cli.main import main as commands
from pumlc.labels import NEGATIVE, POSITIVE, UNKNOWN
from pumlc.vision.audit.corrected_csv import correct_csv, is_own_csv
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.label_file import read_labels
from pumlc.vision.data.readers.csv_file import read_csv

HEADER = ["image", "class", "given", "corrected"]
VALUE = {"present": POSITIVE, "absent": NEGATIVE, "unknown": UNKNOWN}
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
in_this_folder = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def write_rows(path, rows, header=HEADER):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return path


@in_this_folder
@given(st.lists(st.tuples(NAMES, NAMES, st.sampled_from(sorted(VALUE))), max_size=4))
def test_what_is_written_is_read_whatever_the_names(tmp_path, entries):
    corrections = [Correction(image, name, "absent", said) for image, name, said in entries]
    write_corrections(tmp_path / "c.csv", corrections)
    found = read_corrections([tmp_path / "c.csv"])
    assert [(c.key, c.given, c.corrected) for c in found] == [
        (c.key, c.given, c.corrected) for c in corrections
    ]


def test_a_file_without_a_column_or_with_another_state_is_refused(tmp_path):
    file = write_rows(tmp_path / "a.csv", [["a.jpg", "cat", "absent"]], HEADER[:3])
    with pytest.raises(ValueError, match=r"a.csv: no column 'corrected' in the first line"):
        read_corrections([file])
    write_rows(file, [["a.jpg", "cat", "absent", "present"], ["a.jpg", "dog", "absent", "yes"]])
    with pytest.raises(ValueError, match=r"a.csv, line 3: corrected is 'yes'; valid: absent, pres"):
        read_corrections([file])
    write_rows(file, [["a\nb.jpg", "cat", "absent", "present"], ["a.jpg", "dog", "absent"]])
    with pytest.raises(ValueError, match=r"a.csv, line 4: 3 cells, the header has 4"):
        read_corrections([file])
    with pytest.raises(ValueError, match=r"none.csv: no such file"):
        read_corrections([tmp_path / "none.csv"])


def test_undecided_rows_of_a_table_are_no_decisions(tmp_path):
    rows = [["train", "absent", "1", "a.jpg", "cat", "present"], ["", "absent", "2", "b", "c", ""]]
    file = write_rows(
        tmp_path / "s.csv", rows, ["part", "given", "rank", "image", "class", "corrected"]
    )
    (found,) = read_corrections([file])
    assert (found.key, found.corrected) == (("a.jpg", "cat"), "present")


def test_answers_that_differ_are_a_contradiction():
    said = [Correction("a", "x", "absent", word) for word in ("present", "unknown", "present")]
    same = [Correction("a", "y", "absent", "present", place) for place in ("one", "two")]
    combined = combine_corrections([*said, *same])
    assert combined.agreed == same[:1]
    assert combined.contradictions == [said]


def label_file(folder, form, labels, classes):
    """A label file whose silence means ``absent`` for the forms of two states."""
    for row in range(len(labels)):
        (folder / f"{row}.png").touch()
    text = [f"split,image,{','.join(classes)}" if "wide" in form else "split,image,labels"]
    if form == "long":
        text[0] += ",negatives"
    for row, states in enumerate(labels):
        cells = ["train", f"{row}.png"]
        if "wide" in form:
            cells += [str(max(s, 0) if form == "wide two" else s) for s in states]
        else:
            listed = [
                "|".join(c for c, s in zip(classes, states, strict=True) if s == v) for v in (1, -1)
            ]
            cells += listed if form == "long" else listed[:1]
        text.append(",".join(cells))
    (folder / "labels.csv").write_text("\n".join(text) + "\n")
    return folder / "labels.csv"


FORMS = ("long", "long two", "wide", "wide two")


@in_this_folder
@given(form=st.sampled_from(FORMS), seed=st.integers(0, 1000))
def test_only_what_was_decided_changes_in_every_form(tmp_path, form, seed):
    random = np.random.RandomState(seed)
    classes, two = ("ant", "bee", "cow"), "two" in form
    labels = random.choice([-1, 1] if two else [-1, 0, 1], (6, 3)).astype(np.int8)
    labels[0] = 1  # each class is mentioned, before and after
    unlisted: Any = "negative" if two else "unknown"
    silence: Any = {"unlisted": unlisted, "unlisted_wide": unlisted}
    file = label_file(tmp_path, form, labels, classes)
    np.testing.assert_array_equal(read_csv(file, tmp_path, "train", **silence).labels, labels)
    words = {value: word for word, value in VALUE.items()}
    corrections, expected = [], labels.copy()
    for row, column in {(random.randint(1, 6), random.randint(3)) for _ in range(5)}:
        said = random.choice(["present", "absent"] if two else list(VALUE))
        state = words[int(labels[row, column])]
        corrections.append(Correction(f"{row}.png", classes[column], state, said, "c.csv, line 2"))
        expected[row, column] = VALUE[said]
    applied = correct_csv(file, corrections, tmp_path / "new.csv", unlisted=unlisted)
    found = read_csv(tmp_path / "new.csv", tmp_path, "train", **silence)
    assert found.classes == classes
    np.testing.assert_array_equal(found.labels, expected)
    assert len(applied.changed) == (expected != labels).sum()
    assert len(applied.changed) + len(applied.confirmed) == len(corrections)


@pytest.fixture
def two_people(tmp_path):
    file = label_file(tmp_path, "long", np.array([[1, -1, 0], [-1, 1, 1]]), ("ant", "bee", "cow"))
    anna = write_rows(
        tmp_path / "anna.csv",
        [
            ["0.png", "bee", "absent", "present"],
            ["1.png", "ant", "absent", "unknown"],
            ["1.png", "bee", "present", "present"],
            ["7.png", "bee", "absent", "present"],
            ["1.png", "cow", "absent", "absent"],
        ],
    )
    ben = write_rows(
        tmp_path / "ben.csv",
        [["0.png", "bee", "absent", "present"], ["1.png", "ant", "absent", "absent"]],
    )
    return tmp_path, file, anna, ben


def test_two_people_correct_a_file(two_people, capsys):
    folder, file, anna, ben = two_people
    out = folder / "new.csv"
    main([str(file), str(anna), str(ben), "--out", str(out)])
    printed = capsys.readouterr().out
    result = json.loads(printed.splitlines()[-1])
    assert {name: result[name] for name in ("changed", "confirmed", "overtaken", "missing")} == {
        **{"changed": 1, "confirmed": 1},
        **{"overtaken": 1, "missing": 1},
    }
    assert result["contradictions"] == 1
    assert "people disagree" in printed
    assert f"ant of 1.png: unknown ({anna}, line 3), absent ({ben}, line 3)" in printed
    assert out.read_text() == "split,image,labels,negatives\n" + (
        "train,0.png,ant|bee,\ntrain,1.png,bee|cow,ant\n"
    )
    decided = read_corrections([folder / "new.csv.decisions.csv"])
    assert [c.key for c in decided] == [("0.png", "bee"), ("1.png", "bee"), ("7.png", "bee")]
    # a second round keeps the decisions of the first
    more = write_rows(folder / "more.csv", [["1.png", "ant", "absent", "present"]])
    main([str(out), str(more), "--out", str(folder / "newer.csv")])
    decided = read_corrections([folder / "newer.csv.decisions.csv"])
    assert {c.key for c in decided} == {
        *(("0.png", "bee"), ("1.png", "bee")),
        *(("7.png", "bee"), ("1.png", "ant")),
    }


def test_a_second_file_of_decisions_does_not_undo_the_first(two_people, capsys):
    """The same labels and the same new file, with what the second round in the browser gave."""
    folder, file, anna, ben = two_people
    out, first = folder / "new.csv", ["0.png", "bee", "absent", "present"]
    write_rows(anna, [first, ["1.png", "ant", "absent", "unknown"]])
    main([str(file), str(anna), "--out", str(out)])
    write_rows(ben, [["1.png", "ant", "absent", "present"], ["1.png", "bee", "present", "unknown"]])
    capsys.readouterr()
    main([str(file), str(ben), "--out", str(out)])
    assert "written anew: its 1 earlier decisions are applied too" in capsys.readouterr().out
    assert out.read_text().splitlines()[1:] == ["train,0.png,ant|bee,", "train,1.png,cow|ant,"]
    assert len(read_corrections([folder / "new.csv.decisions.csv"])) == 3
    main([str(out), str(ben), "--out", str(folder / "newer.csv")])  # has all of them
    main([str(out), str(ben), "--out", str(folder / "newer.csv")])
    assert "earlier" not in capsys.readouterr().out


def test_labels_and_decisions_of_a_spreadsheet_with_semicolons(tmp_path):
    labels, said = tmp_path / "labels.csv", tmp_path / "c.csv"
    labels.write_text('Datei;Hund\n"a;b.jpg";0\nc.jpg;1\n')
    said.write_text('\ufeffimage;class;given;corrected\n"a;b.jpg";Hund;absent;present\n')
    main([str(labels), str(said), "--out", str(tmp_path / "new.csv")])
    assert read_labels(tmp_path / "new.csv").labels.tolist() == [[1], [1]]


def test_a_file_that_cannot_say_unknown(tmp_path):
    file = label_file(tmp_path, "long two", np.array([[1, -1], [-1, 1]]), ("ant", "bee"))
    rows = [["0.png", "bee", "absent", "unknown"]]
    said = write_rows(tmp_path / "c.csv", rows)
    new = tmp_path / "new.csv"
    with pytest.raises(ValueError, match=r"c.csv, line 2: 'bee' of 0.png .* has no unknown labels"):
        main([str(file), str(said), "--out", str(new)])
    assert not new.exists()
    rows.append(["1.png", "ant", "unknown", "present"])
    write_rows(said, rows)
    with pytest.raises(
        ValueError, match=r"--unlisted: .*labels.csv does not list, people saw one as absent"
    ):
        main([str(file), str(said), "--out", str(new)])
    main([str(file), str(said), "--out", str(new), "--unlisted", "unknown"])
    assert new.read_text().splitlines()[2] == "train,1.png,bee|ant,"


def test_corrections_of_another_file_are_refused(two_people):
    folder, file, _, _ = two_people
    said = write_rows(folder / "c.csv", [["x0.png", "bee", "absent", "present"]])
    with pytest.raises(
        ValueError, match=r"no correction is about .*'x0.png'; did you mean '0.png'"
    ):
        main([str(file), str(said), "--out", str(folder / "new.csv")])
    with pytest.raises(ValueError, match="is the label file itself"):
        main([str(file), str(said), "--out", str(file)])


COCO = {
    "images": [{"id": 1, "file_name": "a.jpg"}, {"id": 2, "file_name": "b.jpg"}],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [0, 0, 1, 1]}],
}


def test_a_file_of_another_format_is_corrected_in_its_format(tmp_path, capsys):
    file, new = tmp_path / "labels.json", tmp_path / "new.json"
    file.write_text(json.dumps(COCO))
    rows = [["a.jpg", "dog", "absent", "present"], ["a.jpg", "cat", "present", "absent"]]
    said = write_rows(tmp_path / "c.csv", [*rows, ["b.jpg", "dog", "absent", "absent"]])
    main([str(file), str(said), "--out", str(new)])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (result["changed"], result["confirmed"]) == (2, 1)
    before, after = (read_labels(path).labels for path in (file, new))
    np.testing.assert_array_equal(before, [[1, -1], [-1, -1]])
    np.testing.assert_array_equal(after, [[-1, 1], [-1, -1]])
    write_rows(said, [["b.jpg", "dog", "absent", "unknown"]])
    with pytest.raises(
        ValueError, match=r"coco cannot hold unknown labels.* format that can: "
    ) as e:
        main([str(file), str(said), "--out", str(tmp_path / "newer.json")])
    command = re.findall(r"\(pumlc (.*?)\), and correct NEW.csv", str(e.value))[0]
    table = str(tmp_path / "table.csv")
    commands(command.replace("NEW.csv", table).split())
    main([table, str(said), "--out", str(tmp_path / "newer.csv")])
    assert read_labels(tmp_path / "newer.csv").labels.tolist() == [[1, -1], [-1, 0]]
    with pytest.raises(ValueError, match=r"--unlisted is for CSV files"):
        main([str(file), str(said), "--out", str(new), "--unlisted", "unknown"])


def test_lists_of_python_are_corrected_as_they_are_read(tmp_path):
    labels, corrections = tmp_path / "l.csv", tmp_path / "c.csv"
    labels.write_text("split,image,labels\ntrain,a.jpg,\"['cat', 'dog']\"\ntrain,b.jpg,['dog']\n")
    corrections.write_text("image,class,given,corrected\nb.jpg,cat,absent,present\n")
    main([str(labels), str(corrections), "--out", str(tmp_path / "new.csv")])
    found = read_labels(tmp_path / "new.csv")
    assert (found.classes, found.labels.tolist()) == (("cat", "dog"), [[1, 1], [1, 1]])


def test_empty_lists_of_python_are_lists_to_reader_and_correction(tmp_path):
    labels = tmp_path / "labels.csv"
    rows = "".join(f"train,{row}.jpg,[]\n" for row in range(60))
    labels.write_text(f"split,image,labels\n{rows}train,z.jpg,['cat']\n", "utf-8")
    assert not is_own_csv(labels)
    counts = read_table(labels)[0].counts()
    assert (counts["absent"].sum(), counts["unknown"].sum()) == (60, 0)
