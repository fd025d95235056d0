"""Label files: each format by its layout, round trips over all of them, what is refused."""

import json
import tarfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pumlc.errors import UserError
from pumlc.progress import working
from pumlc.vision import read_labels
from pumlc.vision.data.convert import write_table
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.formats import FORMATS
from pumlc.vision.data.formats.label_format import ReadOptions
from pumlc.vision.data.label_table import CODE, STATES, LabelTable
from pumlc.vision.data.table_builder import TableBuilder

P, A, U, Q = (CODE[state] for state in STATES)


def states(table: LabelTable) -> dict[str, dict[str, int]]:
    """Picture -> class -> code, by naive look-up."""
    return {
        path: {name: int(code) for name, code in zip(table.classes, row, strict=True)}
        for path, row in zip(table.paths, table.codes(), strict=True)
    }


def put(folder: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


# format, the file or folder to read, files, expected states of each picture
LAYOUTS = {
    "long": (
        "csv",
        "l.csv",
        {"l.csv": "split,image,labels,negatives\ntrain,a.jpg,cat|dog,\ntest,b.jpg,dog,\n"},
        {"a.jpg": {"cat": P, "dog": P}, "b.jpg": {"cat": A, "dog": P}},
    ),
    "long, unknown and uncertain": (
        "csv",
        "l.csv",
        {
            "l.csv": "split,image,labels,negatives,uncertain,unknown\n"
            "train,a.jpg,cat|,dog,bird,\ntest,b.jpg,,,cat,dog\n"
        },
        {"a.jpg": {"bird": Q, "cat": P, "dog": A}, "b.jpg": {"bird": A, "cat": Q, "dog": U}},
    ),
    "wide": (
        "wide",
        "l.csv",
        {"l.csv": "split,image,cat,dog\ntrain,a.jpg,1,-1\ntest,b.jpg,,1\n"},
        {"a.jpg": {"cat": P, "dog": A}, "b.jpg": {"cat": U, "dog": P}},
    ),
    "one-hot": (
        "wide",
        "l.csv",
        {"l.csv": "filename,cat,dog\na.jpg,1,0\nb.jpg,nan,1.0\n"},
        {"a.jpg": {"cat": P, "dog": A}, "b.jpg": {"cat": U, "dog": P}},
    ),
    "roboflow": (
        "wide",
        ".",
        {
            "train/_classes.csv": "filename,cat,dog\na.jpg,1,0\n",
            "valid/_classes.csv": "filename,cat,dog\nb.jpg,0,1\n",
        },
        {"train/a.jpg": {"cat": P, "dog": A}, "valid/b.jpg": {"cat": A, "dog": P}},
    ),
    "chexpert": (
        "chexpert",
        ".",
        {
            "train.csv": "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema\n"
            "p1/s1/v1.jpg,Female,68,Frontal,AP,,-1.0\n",
            "valid.csv": "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Edema\n"
            "p2/s1/v1.jpg,Male,50,Frontal,AP,1.0,0.0\n",
        },
        {
            "p1/s1/v1.jpg": {"No Finding": U, "Edema": Q},
            "p2/s1/v1.jpg": {"No Finding": P, "Edema": A},
        },
    ),
    "chestx-ray14": (
        "csv",
        "l.csv",
        {"l.csv": "Image Index,Finding Labels,Age\n1.png,Edema|Mass,3\n2.png,No Finding,4\n"},
        {"1.png": {"Edema": P, "Mass": P}, "2.png": {"Edema": A, "Mass": A}},
    ),
    "planet": (
        "csv",
        "l.csv",
        {"l.csv": "image_name,tags\ntrain_0,haze primary\ntrain_1,clear primary\n"},
        {
            "train_0": {"clear": A, "haze": P, "primary": P},
            "train_1": {"clear": P, "haze": A, "primary": P},
        },
    ),
    "list strings": (
        "csv",
        "l.csv",
        {"l.csv": "image,tags\na.jpg,\"['cat', 'dog']\"\nb.jpg,\"['dog']\"\n"},
        {"a.jpg": {"cat": P, "dog": P}, "b.jpg": {"cat": A, "dog": P}},
    ),
    "list strings under labels": (
        "csv",
        "l.csv",
        {"l.csv": "split,image,labels\ntrain,a.jpg,\"['cat', 'dog']\"\ntrain,b.jpg,\"['dog']\"\n"},
        {"a.jpg": {"cat": P, "dog": P}, "b.jpg": {"cat": A, "dog": P}},
    ),
    "labels of another program": (
        "csv",
        "l.csv",
        {"l.csv": "filename,labels\na.jpg,cat|dog\nb.jpg,No Finding\n"},
        {"a.jpg": {"cat": P, "dog": P}, "b.jpg": {"cat": A, "dog": A}},
    ),
    "list strings and negatives": (
        "csv",
        "l.csv",
        {"l.csv": "filename,labels,negatives\na.jpg,['cat'],dog\nb.jpg,['dog'],\n"},
        {"a.jpg": {"cat": P, "dog": A}, "b.jpg": {"cat": U, "dog": P}},
    ),
    "semicolons": (
        "wide",
        "l.csv",
        {"l.csv": "image;cat;dog\na.jpg;1;0\nb.jpg;;1\n"},
        {"a.jpg": {"cat": P, "dog": A}, "b.jpg": {"cat": U, "dog": P}},
    ),
    "tabs": (
        "csv",
        "l.tsv",
        {"l.tsv": "image\ttags\na.jpg\tcat,dog\nb.jpg\tdog\n"},
        {"a.jpg": {"cat": P, "dog": P}, "b.jpg": {"cat": A, "dog": P}},
    ),
    "quoted commas": (
        "csv",
        "l.csv",
        {"l.csv": 'image,tags\na.jpg,"cat,dog"\nb.jpg,dog\n'},
        {"a.jpg": {"cat": P, "dog": P}, "b.jpg": {"cat": A, "dog": P}},
    ),
    "coco": (
        "coco",
        "l.json",
        {
            "l.json": '{"images":[{"id":1,"file_name":"a.jpg"},{"id":2,"file_name":"b.jpg"}],'
            '"annotations":[{"image_id":1,"category_id":3}],'
            '"categories":[{"id":3,"name":"dog"},{"id":2,"name":"cat"}]}'
        },
        {"a.jpg": {"cat": A, "dog": P}, "b.jpg": {"cat": A, "dog": A}},
    ),
    "lvis": (
        "lvis",
        "l.json",
        {
            "l.json": '{"images":[{"id":1,"coco_url":"http://x.org/train2017/a.jpg",'
            '"neg_category_ids":[2]}],"annotations":[{"image_id":1,"category_id":3}],'
            '"categories":[{"id":2,"name":"cat"},{"id":3,"name":"dog"},{"id":4,"name":"emu"}]}'
        },
        {"a.jpg": {"cat": A, "dog": P, "emu": U}},
    ),
    "yolo": (
        "yolo",
        "data.yaml",
        {
            "data.yaml": "names: {0: cat, 3: dog}\ntrain: images/train\n",
            "images/train/a.jpg": "",
            "images/train/b.jpg": "",
            "labels/train/a.txt": "3 0.5 0.5 0.2 0.2\n",
        },
        {
            "images/train/a.jpg": {"cat": A, "dog": P},
            "images/train/b.jpg": {"cat": A, "dog": A},
        },
    ),
    "label studio": (
        "labelstudio",
        "l.json",
        {
            "l.json": '[{"data":{"image":"a.jpg"},"annotations":[{"result":[{"type":"choices",'
            '"from_name":"tag","value":{"choices":["cat","dog"]}}]}]},'
            '{"data":{"image":"b.jpg"},"annotations":[]},'
            '{"data":{"image":"c.jpg"},"annotations":[{"result":[]}]}]'
        },
        {
            "a.jpg": {"cat": P, "dog": P},
            "b.jpg": {"cat": U, "dog": U},
            "c.jpg": {"cat": A, "dog": A},
        },
    ),
    "label studio, short": (
        "labelstudio",
        "l.json",
        {
            "l.json": '[{"image":"a.jpg","id":1,"tag":{"choices":["cat","dog"]}},'
            '{"image":"b.jpg","tag":"cat"}]'
        },
        {"a.jpg": {"cat": P, "dog": P}, "b.jpg": {"cat": P, "dog": A}},
    ),
    "label studio, csv": (
        "labelstudio",
        "l.csv",
        {"l.csv": 'image,id,tag\na.jpg,1,"{""choices"": [""cat"", ""dog""]}"\nb.jpg,2,cat\n'},
        {"a.jpg": {"cat": P, "dog": P}, "b.jpg": {"cat": P, "dog": A}},
    ),
    "cvat": (
        "cvat",
        "l.xml",
        {
            "l.xml": '<annotations><image id="0" name="a.jpg"><tag label="cat"/>'
            '<box label="dog" xtl="1"/></image><image id="1" name="b.jpg"/></annotations>'
        },
        {"a.jpg": {"cat": P, "dog": P}, "b.jpg": {"cat": A, "dog": A}},
    ),
    "fiftyone": (
        "fiftyone",
        "labels.json",
        {"labels.json": '{"classes":["cat","dog"],"labels":{"a":["cat"],"b":null}}'},
        {"a": {"cat": P, "dog": A}, "b": {"cat": U, "dog": U}},
    ),
    "imagefolder": (
        "imagefolder",
        ".",
        {
            "train/metadata.jsonl": '{"file_name":"a.jpg","labels":["cat","dog"]}\n',
            "validation/metadata.jsonl": '{"file_name":"b.jpg","labels":["cat"]}\n',
        },
        {"train/a.jpg": {"cat": P, "dog": P}, "validation/b.jpg": {"cat": P, "dog": A}},
    ),
    "mmpretrain": (
        "mmpretrain",
        "l.json",
        {
            "l.json": '{"metainfo":{"classes":["cat","dog"]},'
            '"data_list":[{"img_path":"a.jpg","gt_label":[0,1]},{"img_path":"b.jpg","gt_label":[]}]}'
        },
        {"a.jpg": {"cat": P, "dog": P}, "b.jpg": {"cat": A, "dog": A}},
    ),
    "tag files": (
        "tags",
        ".",
        {"a.jpg": "", "a.txt": "1girl, smile\n", "b.jpg": "", "b.txt": "smile, outdoors"},
        {
            "a.jpg": {"1girl": P, "outdoors": U, "smile": P},
            "b.jpg": {"1girl": U, "outdoors": P, "smile": P},
        },
    ),
    "open images": (
        "openimages",
        "l.csv",
        {"l.csv": "ImageID,Source,LabelName,Confidence\nx,v,/m/1,1\nx,v,/m/2,0\ny,v,/m/2,1\n"},
        {"x": {"/m/1": P, "/m/2": A}, "y": {"/m/1": U, "/m/2": P}},
    ),
    "voc": (
        "voc",
        ".",
        {
            "ImageSets/Main/cat_train.txt": "a  1\nb -1\n",
            "ImageSets/Main/dog_train.txt": "a  0\nb  1\n",
        },
        {"a.jpg": {"cat": P, "dog": Q}, "b.jpg": {"cat": A, "dog": P}},
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_each_layout_is_found_by_its_content_and_read(layout, tmp_path):
    name, place, files, expected = LAYOUTS[layout]
    put(tmp_path, files)
    table, evidence = read_table(tmp_path / place)
    assert (table.format, table.problems) == (name, ())
    assert evidence
    assert states(table) == expected
    assert list(table.paths) == list(expected)


def test_parquet_and_shards(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    columns = {"image": [{"bytes": b"x", "path": "a.jpg"}], "labels": [["cat", "dog"]]}
    parquet.write_table(arrow.table(columns), tmp_path / "train-0.parquet")
    assert states(read_table(tmp_path)[0]) == {"a.jpg": {"cat": P, "dog": P}}
    (tmp_path / "train-0.parquet").unlink()
    put(tmp_path, {"000.jpg": "x", "000.json": '{"labels": ["cat"]}'})
    with tarfile.open(tmp_path / "shard-000.tar", "w") as archive:
        for name in ("000.jpg", "000.json"):
            archive.add(tmp_path / name, name)
    assert states(read_table(tmp_path / "shard-000.tar")[0]) == {
        "shard-000.tar/000.jpg": {"cat": P}
    }


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        # CheXpert with its first columns renamed
        (
            "split,image,A,B\ntrain,a.jpg,1.0,-1.0\ntrain,b.jpg,0.0,\n",
            "1 present, 1 absent, 2 unknown, 0 uncertain",
            "1 present, 1 absent, 1 unknown, 1 uncertain",
        ),
        (
            "split,image,A,B\ntrain,a.jpg,1,0\ntrain,b.jpg,0,\n",
            "1 present, 2 absent, 1 unknown, 0 uncertain",
            "1 present, 0 absent, 3 unknown, 0 uncertain",
        ),
        (
            "image,A\na.jpg,-1\nb.jpg,1\n",
            "1 present, 1 absent",
            "1 present, 0 absent, 0 unknown, 1",
        ),
    ],
)
def test_a_table_that_reads_in_two_ways_is_refused_with_both(text, first, second, tmp_path):
    put(tmp_path, {"l.csv": text})
    with pytest.raises(UserError, match="two ways") as error:
        read_table(tmp_path / "l.csv")
    assert first in str(error.value)
    assert second in str(error.value)
    assert str(error.value).count("write data.values '{1: present") == 2


def test_what_was_said_decides(tmp_path):
    put(tmp_path, {"l.csv": "split,image,A,B\ntrain,a.jpg,1.0,-1.0\ntrain,b.jpg,0.0,\n"})
    values: Any = {1: "present", 0: "absent", -1: "uncertain", "": "unknown"}
    labels = read_labels(tmp_path / "l.csv", values=values, uncertain={"B": "present"})
    np.testing.assert_array_equal(labels.labels, [[1, 1], [-1, 0]])
    ours = read_labels(tmp_path / "l.csv", format="wide").labels
    np.testing.assert_array_equal(ours, [[1, -1], [0, 0]])
    chexpert = read_labels(tmp_path / "l.csv", format="chexpert", uncertain="absent").labels
    np.testing.assert_array_equal(chexpert, [[1, -1], [-1, 0]])
    with pytest.raises(UserError, match="line 3, column 'A': '0.0' is not a state"):
        read_labels(tmp_path / "l.csv", values={"1": "present", "-1": "absent"})


@pytest.mark.parametrize(
    ("cells", "separator", "classes"),
    [
        ("fire truck\nhaze", None, ("fire truck", "haze")),
        ("haze primary\nclear primary", "|", ("clear primary", "haze primary")),
        ("haze primary\nclear primary", "blank", ("clear", "haze", "primary")),
        ('"a, b|"\nb', None, ("a, b", "b")),
    ],
)
def test_separators_in_the_long_form(cells, separator, classes, tmp_path):
    rows = "".join(f"train,{n}.jpg,{cell}\n" for n, cell in enumerate(cells.split("\n")))
    put(tmp_path, {"l.csv": "split,image,labels\n" + rows})
    table, _ = read_table(tmp_path / "l.csv", options=ReadOptions(separator=separator))
    assert table.classes == classes


@pytest.mark.parametrize("cells", ["haze primary\nclear primary", '"a, b"\n"a, b"'])
def test_a_cell_that_may_be_one_class_or_several_is_refused(cells, tmp_path):
    rows = "".join(f"train,{n}.jpg,{cell}\n" for n, cell in enumerate(cells.split("\n")))
    put(tmp_path, {"l.csv": "split,image,labels\n" + rows})
    with pytest.raises(UserError, match=r"two ways.*one class a cell.*data\.separator"):
        read_table(tmp_path / "l.csv")


_NAMES = st.text(st.sampled_from("abcdefgh =+-@'|,;\"[]{}<&é日"), min_size=1, max_size=6)


@st.composite
def tables(draw, holds, names):
    """A table with the states that a format holds, in splits or not."""
    classes = draw(st.lists(names.map(str.strip).filter(bool), min_size=2, max_size=4, unique=True))
    number = draw(st.integers(1, 6))
    has_splits = draw(st.booleans())
    splits = sorted(draw(st.lists(st.sampled_from("012"), min_size=number, max_size=number)))
    codes = st.sampled_from(sorted(CODE[state] for state in holds))
    builder = TableBuilder("made", "csv", classes)
    order = draw(st.permutations(range(number)))
    for place, row in enumerate(order):
        builder.add(
            f"p{row}.jpg",
            {name: draw(codes) for name in classes},
            rest=draw(codes),
            split=("train", "val", "test")[int(splits[place])] if has_splits else None,
        )
    return builder.table()


@pytest.mark.parametrize("name", FORMATS)
def test_round_trips_keep_every_state_and_the_order(name, tmp_path_factory):
    form = FORMATS[name]
    pictures = tmp_path_factory.mktemp("pictures")
    put(pictures, {f"p{row}.jpg": "x" for row in range(6)})

    @given(tables(form.holds - ({"unknown"} if name == "fiftyone" else set()), _NAMES))
    def check(table):
        out = tmp_path_factory.mktemp("out") / f"labels{_ENDINGS.get(name, '')}"
        table = replace(table, root=pictures)
        if name == "fiftyone":
            table = replace(table, splits=None)
        try:
            write_table(table, out, name)
        except UserError:
            has_odd_names = any(not char.isalnum() for char in "".join(table.classes))
            assert has_odd_names or (name == "openimages" and not _knows_any(table))
            return  # the format says that it cannot hold it
        again, _ = read_table(out)
        assert again.format == name
        assert [path.rpartition("/")[2].partition(".")[0] for path in again.paths] == [
            path.partition(".")[0] for path in table.paths
        ]
        assert again.splits == table.splits or {table.splits, again.splits} <= _one_split(table)
        wanted = [list(row.items()) for row in states(table).values()]
        shared = [n for n in table.classes if n in again.classes]
        for row, own in zip(wanted, states(again).values(), strict=True):
            lost = {CODE["unknown"], CODE["absent"]}
            assert all(own[key] == code if key in shared else code in lost for key, code in row)

    check()


def _knows_any(table: LabelTable) -> bool:
    return bool(np.isin(table.codes(), (P, A)).any())


def _one_split(table: LabelTable) -> set:
    """A file without splits is all train."""
    return {None, ("train",) * len(table)}


_ENDINGS = {
    **dict.fromkeys(("csv", "wide"), ".csv"),
    **dict.fromkeys(("coco", "lvis", "labelstudio", "fiftyone", "mmpretrain"), ".json"),
    "cvat": ".xml",
    "parquet": ".parquet",
}


def test_what_a_format_cannot_hold_is_an_error_or_said(tmp_path):
    builder = TableBuilder("made", "csv", ["cat", "dog"])
    builder.add("a.jpg", {"cat": P, "dog": U}, rest=U)
    with pytest.raises(UserError, match="coco cannot hold unknown labels, .* 1 of 2.*lvis"):
        write_table(builder.table(), tmp_path / "l.json", "coco")
    write_table(builder.table(), tmp_path / "l.json", "coco", becomes={"unknown": "absent"})
    assert states(read_table(tmp_path / "l.json")[0]) == {"a.jpg": {"cat": P, "dog": A}}


def test_replace_states_changes_these_labels_alone(tmp_path):
    put(
        tmp_path, {"l.csv": "split,image,labels,negatives\ntrain,a.jpg,cat,\ntrain,b.jpg,dog,cat\n"}
    )
    table, _ = read_table(tmp_path / "l.csv")
    changed = table.replace_states([("a.jpg", "cat", "uncertain"), ("b.jpg", "cat", "unknown")])
    assert states(changed) == {"a.jpg": {"cat": Q, "dog": U}, "b.jpg": {"cat": U, "dog": P}}
    assert states(table)["a.jpg"] == {"cat": P, "dog": U}
    for entry, problem in (
        (("z.jpg", "cat", "absent"), "not one of its pictures"),
        (("a.jpg", "cta", "absent"), "did you mean 'cat'"),
    ):
        with pytest.raises(UserError, match=problem):
            table.replace_states([entry])  # pyright: ignore[reportArgumentType]


def test_sparse_labels_are_the_dense_ones(tmp_path):
    put(
        tmp_path,
        {"l.csv": "split,image,labels,negatives,uncertain\ntrain,a.jpg,x|,y,z\ntest,b.jpg,z,,x\n"},
    )
    policies: Any = ("unknown", "present", "absent", {"z": "absent"})
    for uncertain in policies:
        dense = read_labels(tmp_path / "l.csv", uncertain=uncertain).labels
        sparse = read_labels(tmp_path / "l.csv", uncertain=uncertain, sparse=True).labels
        np.testing.assert_array_equal(sparse.toarray(), dense)
        assert (sparse.data != 0).all()
    table, _ = read_table(tmp_path / "l.csv")
    dense_codes = table.codes()
    for state, counts in table.counts().items():
        np.testing.assert_array_equal(counts, (dense_codes == CODE[state]).sum(axis=0))


class Frame:
    """The part of a DataFrame that the reader uses."""

    def __init__(self, columns, rows):
        self.columns, self.rows = columns, rows

    def itertuples(self, index, name):
        return iter(self.rows)


@pytest.mark.parametrize("cells", ["{'cat', 'dog'}\n{'cat'}", "['cat' 'dog']\n['cat']"])
def test_sets_and_arrays_are_lists(cells, tmp_path):
    rows = "".join(f'{n}.jpg,"{cell}"\n' for n, cell in enumerate(cells.split("\n")))
    put(tmp_path, {"l.csv": "image,labels\n" + rows})
    assert read_table(tmp_path / "l.csv")[0].classes == ("cat", "dog")


def test_lists_without_quotes_are_refused(tmp_path):
    put(tmp_path, {"l.csv": 'image,labels\na.jpg,"[cat, dog]"\nb.jpg,"[cat, hen]"\n'})
    with pytest.raises(UserError, match=r"lists in brackets .* as in '\[cat, dog\]'"):
        read_table(tmp_path / "l.csv")


def test_tables_in_memory():
    lists = Frame(["image", "labels"], [("a.jpg", ["cat"]), ("b.jpg", None)])
    np.testing.assert_array_equal(read_labels(lists).labels, [[1], [0]])
    wide = Frame(["image", "cat", "dog"], [("a.jpg", 1.0, float("nan")), ("b.jpg", 0.0, 1.0)])
    np.testing.assert_array_equal(read_labels(wide).labels, [[1, 0], [-1, 1]])
    with pytest.raises(UserError, match="two ways"):
        read_labels(Frame(["image", "cat"], [("a.jpg", -1.0)]))


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("../x.jpg", "outside"),
        ("/etc/hosts", "outside"),
        ("link/x.jpg", "outside"),
        ("z.jpg", "there is no picture"),
    ],
)
def test_pictures_outside_of_the_root_are_refused(path, kind, tmp_path):
    put(tmp_path, {"x.jpg": "", "root/a.jpg": ""})
    (tmp_path / "root" / "link").symlink_to(tmp_path)
    put(tmp_path, {"l.csv": f"image,labels\na.jpg,cat\n{path},cat\n"})
    with pytest.raises(UserError, match=f"line 3: .*{kind}"):
        read_labels(tmp_path / "l.csv", root=tmp_path / "root")


def test_uploaded_pictures_are_found_by_path_then_by_name(tmp_path):
    put(tmp_path, {"root/a.jpg": "", "root/deep/b.jpg": "", "root/x/c.jpg": "", "root/y/c.jpg": ""})
    addresses = ["/data/upload/1/ab12cd34-a.jpg", "/data/local-files/?d=root/deep/b.jpg"]
    tasks = [{"image": address, "tag": "cat"} for address in addresses]
    put(tmp_path, {"l.json": json.dumps(tasks)})
    assert read_labels(tmp_path / "l.json", root=tmp_path / "root").paths == ("a.jpg", "deep/b.jpg")
    put(
        tmp_path, {"l.json": json.dumps([{"image": "/data/upload/1/ab12cd34-c.jpg", "tag": "cat"}])}
    )
    with pytest.raises(UserError, match="may be 'x/c.jpg' or 'y/c.jpg'"):
        read_labels(tmp_path / "l.json", root=tmp_path / "root")


def test_xml_with_entities_is_refused(tmp_path):
    put(tmp_path, {"l.xml": '<!DOCTYPE a [<!ENTITY b "c">]><annotations>&b;</annotations>'})
    with pytest.raises(UserError, match="entities"):
        read_table(tmp_path / "l.xml")


def test_all_problems_come_at_once(tmp_path):
    rows = "".join(f"train,{n}.jpg,cat\n" for n in range(9))
    put(tmp_path, {"l.csv": "split,image,labels\n" + rows, "root/0.jpg": ""})
    with pytest.raises(UserError) as error:
        read_labels(tmp_path / "l.csv", root=tmp_path / "root")
    lines = str(error.value).splitlines()
    assert [line.partition("line ")[2][:1] for line in lines[:5]] == list("34567")
    command = f"pumlc inspect {tmp_path / 'l.csv'} --root {tmp_path / 'root'}"
    assert lines[5] == f"and 3 more; {command} lists all of them"


@pytest.mark.parametrize("classes", [["cat", "cat"], ["cat", "dog", "cat"]])
def test_a_class_that_a_file_declares_twice_is_refused(classes, tmp_path):
    put(tmp_path, {"a.txt": "cat", "pictures.csv": "image\na.jpg\n"})
    put(tmp_path, {"classes.txt": "".join(f"{name}\n" for name in classes)})
    with pytest.raises(UserError, match="class 'cat' occurs twice"):
        read_table(tmp_path)


def test_a_folder_with_the_files_of_coco_and_of_lvis_is_both(tmp_path):
    """LVIS labels the pictures of COCO: the person says which of the two is meant."""
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train2017").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "train2017" / "a.jpg")
    shared = {
        "annotations": [{"image_id": 1, "category_id": 3}],
        "categories": [{"id": i, "name": name} for i, name in ((2, "cat"), (3, "dog"), (4, "emu"))],
    }
    for file, image in (
        ("instances_train2017.json", {"id": 1, "file_name": "a.jpg"}),
        ("lvis_v1_train.json", {"id": 1, "file_name": "a.jpg", "neg_category_ids": [2]}),
    ):
        (tmp_path / "annotations" / file).write_text(json.dumps({"images": [image], **shared}))
    with pytest.raises(UserError, match=r"(?s)format coco.*format lvis"):
        read_table(tmp_path)
    for name, absent, unknown in (("coco", 2, 0), ("lvis", 1, 1)):
        counts = {k: int(v.sum()) for k, v in read_table(tmp_path, format=name)[0].counts().items()}
        assert counts == {"present": 1, "absent": absent, "unknown": unknown, "uncertain": 0}


@pytest.mark.parametrize("name", FORMATS)
def test_reading_and_writing_count_what_is_done(name, tmp_path, monkeypatch):
    builder = TableBuilder("made", "csv", ["cat"])
    rest = CODE["absent"] if "absent" in FORMATS[name].holds else CODE["unknown"]
    for row in range(12):
        builder.add(f"p{row}.jpg", {"cat": CODE["present"]}, rest=rest)
    put(tmp_path, {f"p{row}.jpg": "x" for row in range(12)})
    monkeypatch.setattr("pumlc.files.COUNTED_LINES", 4)
    out, counts = tmp_path / f"labels{_ENDINGS.get(name, '')}", []
    monkeypatch.setattr("pumlc.progress._Work.reach", lambda _, *count: counts.append(count))
    with working("writing"):
        write_table(replace(builder.table(), root=tmp_path), out, name)
    assert counts, "writing counts nothing"
    counts.clear()
    with working("reading"):
        read_table(out)
    assert counts, "reading counts nothing"
    assert all(0 <= done <= total for done, total, _ in counts)
