"""Label files as people have them who have not read the docs: read, or refused with a way out."""

import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pumlc.cli import main
from pumlc.errors import PumlcWarning, UserError
from pumlc.vision import read_labels
from pumlc.vision.config import DataConfig
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.formats.label_format import ReadOptions
from pumlc.vision.data.label_file import spelled_values
from pumlc.vision.data.label_table import STATES, State
from pumlc.vision.run_data import refuse_unfit_test


def written(tmp_path: Path, *lines: str, name: str = "labels.csv", encoding: str = "utf-8") -> Path:
    file = tmp_path / name
    file.write_bytes("\r\n".join([*lines, ""]).encode(encoding))
    return file


def pictures(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / name)
    return folder


def readings_of(file: Path) -> list[tuple[str, str]]:
    """Counts, and the line to write, of each reading that the message names."""
    with pytest.raises(UserError) as refused:
        read_table(file)
    readings = re.findall(r"  (.*): write data.values '(.*)'", str(refused.value))
    assert len(readings) == 2
    return readings


def test_each_reading_of_renamed_chexpert_is_what_its_line_gives(tmp_path):
    file = written(
        tmp_path,
        "image,Sex,Age,cat,dog",
        "a.jpg,Male,30,1.0,-1.0",
        "b.jpg,Female,1,0.0,",
        "c.jpg,Male,44,,0.0",
    )
    for _, line in readings_of(file):  # 1 may be an age and a state: the row says what to do
        with pytest.raises(UserError, match="column 'Age': '30' is not a state.*take the column"):
            read_labels(file, values=yaml.safe_load(line))
    file.write_text(file.read_text().replace(",1,", ",31,"))
    for found, line in readings_of(file):
        options = ReadOptions(values=spelled_values(yaml.safe_load(line)))
        table, _ = read_table(file, options=options)
        assert table.classes == ("cat", "dog")
        counts = {state: int(table.counts()[state].sum()) for state in STATES}
        assert found == ", ".join(f"{number} {state}" for state, number in counts.items())
        assert [problem.blocking for problem in table.problems] == [False, False]


def test_a_column_that_is_no_class_is_told_and_may_be_the_group(tmp_path):
    file = written(tmp_path, "filename,patient,cat", "a.jpg,p1,1", "b.jpg,p2,0", "c.jpg,p1,")
    with pytest.warns(PumlcWarning, match="'patient' is no class: no cell is a state, one is 'p1'"):
        found = read_labels(file)
    assert found.labels.ravel().tolist() == [1, -1, 0]
    options = ReadOptions(group="patient")
    assert read_table(file, options=options)[0].groups == ("p1", "p2", "p1")
    file.write_text(file.read_text().replace("p1", "1").replace("p2", "0"))
    table, _ = read_table(file, options=options)
    assert (table.classes, table.groups, table.problems) == (("cat",), ("1", "0", "1"), ())


def test_cells_in_words_are_states_or_the_message_says_how_to_say_it(tmp_path):
    file = written(tmp_path, "filename,cat,dog", "a.jpg,yes,No", "b.jpg,no,yes")
    assert read_labels(file).labels.tolist() == [[1, -1], [-1, 1]]
    file = written(tmp_path, "filename;cat;dog", "a.jpg;x;", "b.jpg;;x")
    with pytest.raises(UserError, match="no cell below .* are .*'x' .2 times") as refused:
        read_table(file)
    line = re.findall(r"data.values '(.*)'", str(refused.value))[0]
    assert read_labels(file, values=yaml.safe_load(line)).labels.tolist() == [[1, -1], [-1, 1]]
    file = written(
        tmp_path, "filename,cat", *(f"{n}.jpg,0.{n}" for n in range(1, 9)), name="probabilities.csv"
    )
    with pytest.raises(UserError, match="no cell .* valid: 1, 0, present"):
        read_table(file)


def test_the_only_column_with_names_of_pictures_is_that_of_pictures(tmp_path):
    file = written(tmp_path, "Bild;Klasse", "a.JPG;Katze", "b.png;Hund")
    found = read_labels(file)
    assert (tuple(found.paths), found.classes) == (("a.JPG", "b.png"), ("Hund", "Katze"))
    both = written(tmp_path, "left;right;cat", "a.jpg;b.jpg;1", "c.jpg;d.jpg;0", name="two.csv")
    with pytest.raises(UserError, match="first line must name a column of pictures.*got 'left"):
        read_table(both)
    bare = written(tmp_path, "a.jpg,cat", "b.jpg,dog", name="bare.csv")
    with pytest.raises(UserError, match="first line must name a column of pictures.*got 'a.jpg'"):
        read_table(bare)


def test_another_encoding_is_named_with_its_line(tmp_path):
    file = written(tmp_path, "image;labels", "a.jpg;cat", "b.jpg;Bär", encoding="latin-1")
    with pytest.raises(UserError, match="line 3: not UTF-8"):
        read_table(file)


def test_backslashes_separate_folders_and_stay_below_the_root(tmp_path):
    root = pictures(tmp_path / "pics", "day/a.jpg")
    pictures(tmp_path, "b.jpg")
    file = written(tmp_path, "image,labels", "day\\a.jpg,cat")
    assert tuple(read_labels(file, root=root).paths) == ("day/a.jpg",)
    file = written(tmp_path, "image,labels", "..\\b.jpg,cat")
    with pytest.raises(UserError, match="outside"):
        read_labels(file, root=root)
    file = written(tmp_path, "image,labels", "pics\\day\\a.jpg,cat")
    with pytest.raises(UserError, match="begins with 'pics': is the root the folder above"):
        read_labels(file, root=root)


def test_a_row_for_each_label_is_joined_as_the_message_says(tmp_path, capsys):
    root = pictures(tmp_path / "pics", "a.jpg", "b.jpg")
    file = written(tmp_path, "image,label", "a.jpg,cat", "a.jpg,dog", "b.jpg,cat", "a.jpg,sun")
    with pytest.raises(UserError, match="2 of 4 rows repeat a picture") as refused:
        read_labels(file, root=root)
    command = re.findall("pumlc (inspect .*) NEW", str(refused.value))[0].split()
    new = tmp_path / "new.csv"
    main.main([*command, str(new), "--root", str(root)])
    assert new.read_text().splitlines()[1:] == ["a.jpg,cat|dog|sun", "b.jpg,cat"]
    assert "merged, 0 labels" in capsys.readouterr().out


def test_what_a_format_cannot_hold_is_said_as_an_option(tmp_path, capsys):
    file = written(tmp_path, "split,image,cat", "train,a.jpg,1", "train,b.jpg,-1", "train,c.jpg,")
    command = ["convert", str(file), str(tmp_path / "out"), "--to", "yolo"]
    with pytest.raises(SystemExit):
        main.main(command)
    refused = capsys.readouterr().err
    (option,) = re.findall("(--[a-z]+): yolo cannot hold unknown labels", refused)
    (state,) = re.findall("valid: ([a-z]+), present", refused)
    main.main([*command, option, state])
    assert read_labels(tmp_path / "out").labels.ravel().tolist() == [1, -1, -1]


def test_a_test_part_of_present_labels_alone_is_refused_with_what_to_set(tmp_path):
    names = [f"{number}.jpg" for number in range(8)]
    root = pictures(tmp_path / "pics", *names)
    for name in names:
        (root / name).with_suffix(".txt").write_text("cat, dog" if name < "4" else "cat")
    data = DataConfig(labels=str(root), root=str(root), test=0.5, image_size=32)
    with pytest.raises(UserError, match="set data.values '(.*)'") as refused:
        refuse_unfit_test(data, ("cat", "dog"))
    said = re.findall("data.values '(.*)'", str(refused.value))[0]
    refuse_unfit_test(replace(data, values=yaml.safe_load(said)), ("cat", "dog"))


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("labels.xlsx", "save the sheet as CSV"),
        ("labels.PKL", "no pickle is opened"),
        ("labels.npz", "no names"),
        ("posts.jsonl", "a file metadata.jsonl"),
    ],
)
def test_a_file_of_another_kind_gets_advice(tmp_path, name, advice):
    file = written(tmp_path, '{"a": 1}', name=name)
    with pytest.raises(UserError, match=advice):
        read_table(file)


@pytest.mark.parametrize("truth", ["WAHR FALSCH", "ja nein", "VRAI FAUX", "1,0 0,0", "1,00 0,00"])
def test_truth_and_numbers_of_other_countries_are_states(tmp_path, truth):
    yes, no = truth.split()
    file = written(tmp_path, "Datei;Hund;Katze", f"a.jpg;{yes};{no}", f"b.jpg;{no};{yes}")
    assert read_labels(file).labels.tolist() == [[1, -1], [-1, 1]]
    one = written(tmp_path, "Datei;Hund", f"a.jpg;{yes}", f"b.jpg;{no}", name="one.csv")
    found = read_labels(one)
    assert (found.classes, found.labels.tolist()) == (("Hund",), [[1], [-1]])


@pytest.mark.parametrize(
    ("header", "rows", "labels"),
    [
        ("image,labels", ('a.jpg,"1,0"', "b.jpg,1"), [[1, 1], [0, 1]]),
        ("image;tags", ("a.jpg;1,0", "b.jpg;0,1", "c.jpg;1"), [[1, 1], [1, 1], [0, 1]]),
        ("image;objects", ("a.jpg;1,0", "b.jpg;1"), [[1, 1], [0, 1]]),
        ("image,objects", ('a.jpg,"1,0"', 'b.jpg,"0,1"'), [[1, 1], [1, 1]]),
    ],
)
def test_lists_of_numbers_are_no_decimal_numbers(tmp_path, header, rows, labels):
    found = read_labels(written(tmp_path, header, *rows))
    assert found.classes == ("0", "1")
    # "tags" says that the rest is absent, as it always did
    assert (found.labels == 1).tolist() == (np.array(labels) == 1).tolist()


@pytest.mark.parametrize("column", ["labels", "language"])
def test_words_that_answer_in_other_languages_may_be_labels(tmp_path, column):
    file = written(tmp_path, f"image,{column}", "a.jpg,no", "b.jpg,ja")
    assert read_labels(file).classes == ("ja", "no")
    file = written(tmp_path, "image,labels", "a.jpg,ja", "b.jpg,nein")
    assert read_labels(file).classes == ("ja", "nein")


def test_a_column_of_languages_is_no_class(tmp_path):
    file = written(tmp_path, "image,cat,language", "a.jpg,1,no", "b.jpg,0,ja")
    with pytest.warns(PumlcWarning, match="column 'language' is no class"):
        assert read_labels(file).classes == ("cat",)


def test_a_number_that_may_be_a_list_is_asked_for(tmp_path):
    file = written(tmp_path, "image,ids", 'a.jpg,"1,0"', 'b.jpg,"1,0"')
    with pytest.raises(UserError, match="can be read in two ways, as in '1,0'"):
        read_labels(file)


@pytest.mark.parametrize("separator", ",;")
def test_lists_of_numbers_that_have_two_readings_are_asked_for(tmp_path, separator):
    cells = ("3,17", "5,2", "1,12", "7")
    quote = '"' if separator == "," else ""
    rows = (f"{n}.jpg{separator}{quote}{cell}{quote}" for n, cell in enumerate(cells))
    with pytest.raises(UserError, match="can be read in two ways, as in '1,12'"):
        read_labels(written(tmp_path, f"image{separator}labels", *rows))


def test_thousands_are_no_states(tmp_path):
    file = written(tmp_path, "filename,cat,views", 'a.jpg,1,"1,000"', 'b.jpg,0,"2,500"')
    with pytest.warns(PumlcWarning, match="column 'views' is no class"):
        assert read_labels(file).classes == ("cat",)


def test_the_line_for_cells_in_words_names_each_word(tmp_path):
    rows = ("a.jpg;da;weg", "b.jpg;weg;weg")
    file = written(tmp_path, "Datei;Hund;Katze", *rows)
    with pytest.raises(UserError, match="no cell below") as refused:
        read_table(file)
    line = re.findall(r"data.values '(.*)'", str(refused.value))[0]
    assert read_labels(file, values=yaml.safe_load(line)).labels.tolist() == [[1, -1], [-1, -1]]


def test_scores_are_no_labels(tmp_path):
    rows = (f"{n}.jpg,0.{n},{n % 2}" for n in range(1, 9))
    file = written(tmp_path, "filename,cat,dog", *rows)
    with pytest.warns(PumlcWarning, match="'cat' is no class: no cell is a state"):
        assert read_labels(file).classes == ("dog",)
    file = written(tmp_path, "filename,cat", *(f"{n}.jpg,0.{n}" for n in range(9)))
    with pytest.raises(UserError, match="A score is no label: write 1 from a threshold"):
        read_labels(file)
    file = written(tmp_path, "filename,label,confidence", "a.jpg,cat,0.9", "b.jpg,dog,0.1")
    with pytest.warns(PumlcWarning, match="'confidence' plays no part: every label that is listed"):
        assert read_labels(file).labels.tolist() == [[1, -1], [-1, 1]]


def test_names_in_the_other_form_of_unicode_are_the_same_pictures(tmp_path):
    root = pictures(tmp_path / "pics", unicodedata.normalize("NFD", "Bär.jpg"), "b.jpg")
    file = written(tmp_path, "image,labels", "Bär.jpg,bear", "b.jpg,bee")
    assert list(read_labels(file, root=root).paths) == [
        unicodedata.normalize("NFD", "Bär.jpg"),
        "b.jpg",
    ]
    file = written(tmp_path, "image,labels", "bär.jpg,bear", "B.JPG,bee")
    with pytest.raises(UserError) as refused:
        read_labels(file, root=root)
    said = unicodedata.normalize("NFC", str(refused.value))
    assert re.findall("there is '(.*?)'", said) == ["Bär.jpg", "b.jpg"]


def test_uploads_of_label_studio_are_found_by_their_first_name(tmp_path):
    root = pictures(tmp_path / "pics", "Bild (1) ä.jpg")
    choices = {"type": "choices", "value": {"choices": ["cat"]}}
    for name, found in (("ab12cd34-Bild_1_ä.jpg", True), ("ab12cd34-other.jpg", False)):
        task = {
            "data": {"image": f"/data/upload/1/{name}"},
            "annotations": [{"result": [choices]}],
        }
        file = tmp_path / "tasks.json"
        file.write_text(json.dumps([task]))
        if found:
            assert tuple(read_labels(file, root=root).paths) == ("Bild (1) ä.jpg",)
        else:
            with pytest.raises(UserError, match="there is no picture '/data/upload/1/ab12"):
                read_labels(file, root=root)


def test_pictures_in_the_place_of_labels_get_advice(tmp_path):
    root = pictures(tmp_path, "classes/cat/a.jpg", "classes/dog/b.jpg")
    for path, advice in (
        ("classes", "folders of pictures, such as 'cat/a.jpg'. Write a table"),
        ("classes/cat", "it has pictures: name the file of their labels"),
        ("classes/cat/a.jpg", "it is a picture: name the file of its labels"),
    ):
        with pytest.raises(UserError, match=advice):
            read_table(root / path)


def test_documents_in_the_place_of_pictures_get_advice(tmp_path, capsys):
    file = written(tmp_path, "id,body,tags", 'd1,"two\r\nlines",cat')
    with pytest.raises(SystemExit):
        main.main(["inspect", str(file)])
    assert "name its column of texts: --text-column NAME" in capsys.readouterr().err


def test_corrections_of_another_class_do_not_name_the_picture_again(tmp_path, capsys):
    file = written(tmp_path, "image,labels", "a.jpg,cat", "b.jpg,dog")
    said = written(
        tmp_path, "image,class,given,corrected", "a.jpg,dgo,absent,present", name="s.csv"
    )
    with pytest.raises(SystemExit):
        main.main(["correct", str(file), str(said), "--out", str(tmp_path / "new.csv")])
    assert "'dgo' of 'a.jpg'; the picture is there, the class is not" in capsys.readouterr().err


def test_a_separator_in_names_of_pictures_or_classes_is_no_broken_quote(tmp_path):
    for header, row in (("Datei;Hund", '"a;b/x.jpg";1'), ("Datei;Hund, klein", '"a;b.jpg";1')):
        file = written(tmp_path, header, "Urlaub, Ulm/c.jpg;0", row)
        found = read_labels(file)
        assert found.paths == ("Urlaub, Ulm/c.jpg", row.split('"')[1])
        assert found.classes == (header.partition(";")[2],)
        assert found.labels.tolist() == [[-1], [1]]
    file = written(tmp_path, "Datei;Hund", "c.jpg;0", '"a.jpg;1')
    with pytest.raises(UserError, match="line 3: not CSV .*; is a quote not closed"):
        read_labels(file)
    file = written(tmp_path, "Datei,a;Hund", "c;0", '"a";1')  # no separator has pictures
    with pytest.raises(UserError, match="the first line must name a column of pictures"):
        read_labels(file)


@pytest.mark.parametrize("format", [None, "said"])
def test_a_meaning_of_cells_that_would_change_nothing_is_refused(tmp_path, format):
    tags = written(tmp_path, "filename,tags", "a.jpg,cat", "b.jpg,dog", name="tags.csv")
    wide = written(tmp_path, "filename,cat,dog", "a.jpg,1,0", "b.jpg,0,1", name="wide.csv")
    with pytest.raises(UserError, match=r"'absent' changes nothing.*'\{unlisted: unknown\}'"):
        read_labels(tags, values={"absent": "unknown"}, format=format and "csv")
    assert read_labels(tags, values={"unlisted": "unknown"}).labels.tolist() == [[1, 0], [0, 1]]
    values: dict[Any, State] = {"unlisted": "unknown", 1: "present", 0: "absent"}
    with pytest.raises(UserError, match="unlisted changes nothing.*'{1: present, 0: unknown}'"):
        read_labels(wide, values=values, format=format and "wide")
    assert read_labels(wide, values={1: "present", 0: "unknown"}).labels.tolist() == [
        [1, 0],
        [0, 1],
    ]
    with pytest.raises(UserError, match="says what 'absent' means, but no cell is that"):
        read_labels(wide, values={"absent": "unknown"}, format=format and "wide")
