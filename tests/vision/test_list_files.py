"""Readers of list files on small generated layouts, and what they refuse."""

import json

import numpy as np
import pytest

from pumlc.labels import SparseLabels, sparse
from pumlc.vision.data.config import DataConfig
from pumlc.vision.data.readers import find_data_set
from pumlc.vision.data.readers.nuswide import read_nus_wide
from pumlc.vision.data.readers.openimages import read_open_images
from pumlc.vision.data.readers.visual_genome import read_visual_genome
from pumlc.vision.data.split import read_split


def write(file, text):
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.fixture
def visual_genome(tmp_path):
    write(tmp_path / "train_list_500.txt", "30.jpg\n4.jpg\n17.jpg")  # no newline at the end
    write(tmp_path / "test_list_500.txt", "5.jpg\n")
    index = {"30.jpg": [0, 499, 0], "4.jpg": [199, 200], "17.jpg": [], "5.jpg": [7]}
    write(tmp_path / "vg_category_500_labels_index.json", json.dumps(index))
    for name in ("VG_100K/30.jpg", "VG_100K/17.jpg", "VG_100K_2/4.jpg", "VG_100K/5.jpg"):
        write(tmp_path / name, "never decoded here")
    return tmp_path


def test_visual_genome(visual_genome):
    images = read_visual_genome(visual_genome, "train", num_classes=500)
    assert [images.path(row) for row in range(3)] == [
        visual_genome / name for name in ("VG_100K/30.jpg", "VG_100K_2/4.jpg", "VG_100K/17.jpg")
    ]
    assert images.labels.dtype == np.int8
    assert np.argwhere(images.labels == 1).tolist() == [[0, 0], [0, 499], [1, 199], [1, 200]]
    assert (images.labels[images.labels != 1] == -1).all()
    assert images.classes[:2] == ("0", "1")
    assert len(read_visual_genome(visual_genome, "test", num_classes=500)) == 1


def test_visual_genome_200_is_the_first_200_classes(visual_genome):
    few = read_visual_genome(visual_genome, "train", num_classes=200)
    many = read_visual_genome(visual_genome, "train", num_classes=500)
    np.testing.assert_array_equal(few.labels, many.labels[:, :200])
    assert few.classes == many.classes[:200]


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("train_list_500.txt", "30.jpg\n30.jpg\n", "picture '30.jpg' occurs twice"),
        ("train_list_500.txt", "8.jpg\n", "no entry for '8.jpg', row 0 of train_list_500.txt"),
        ("train_list_500.txt", "", "the split is empty"),
        *(
            (
                "vg_category_500_labels_index.json",
                f'{{"30.jpg": {classes}}}',
                r"index\.json: '30\.jpg' has the classes .*; valid: 0 to 499",
            )
            for classes in ("[500]", "[-1]", '["7"]', "null", "[null]", "[1.7]", "[true]", "7")
        ),
        ("vg_category_500_labels_index.json", "{'30.jpg': [1]}", r"index\.json: not JSON"),
        (
            "vg_category_500_labels_index.json",
            "[[1]]",
            r"index\.json: expected an object of pictures, got \[\[1\]\]",
        ),
    ],
)
def test_visual_genome_refusals(visual_genome, file, text, expected):
    (visual_genome / file).write_text(text)
    with pytest.raises(ValueError, match=expected):
        read_visual_genome(visual_genome, "train", num_classes=500)


def test_visual_genome_incomplete(visual_genome):
    with pytest.raises(ValueError, match=r"no split 'val'; it has \['test', 'train'\]"):
        read_visual_genome(visual_genome, "val", num_classes=500)
    (visual_genome / "VG_100K_2" / "4.jpg").unlink()
    with pytest.raises(ValueError, match=r"1 of 3 pictures are missing.*row 1: .*4\.jpg"):
        read_visual_genome(visual_genome, "train", num_classes=500)
    (visual_genome / "train_list_500.txt").unlink()
    with pytest.raises(ValueError, match="is not the root of Visual Genome"):
        read_visual_genome(visual_genome, "train", num_classes=500)


@pytest.fixture
def nus_wide(tmp_path):
    write(tmp_path / "ConceptsList" / "Concepts81.txt", "sky \nanimal\n")
    write(tmp_path / "ImageList" / "TrainImagelist.txt", "actor\\1.jpg\nzoo\\2.jpg\nzoo\\3.jpg\n")
    write(tmp_path / "ImageList" / "TestImagelist.txt", "zoo\\9.jpg\n")
    labels = tmp_path / "Groundtruth" / "TrainTestLabels"
    write(labels / "Labels_sky_Train.txt", "1 \r\n0 \r\n0 \r\n\r\n")
    write(labels / "Labels_animal_Train.txt", "1\n0\n1\n")
    write(labels / "Labels_sky_Test.txt", "0\n")
    write(labels / "Labels_animal_Test.txt", "1\n")
    for name in ("actor/1.jpg", "zoo/2.jpg", "zoo/3.jpg", "zoo/9.jpg"):
        write(tmp_path / "Flickr" / name, "never decoded here")
    return tmp_path


def test_nus_wide(nus_wide):
    images = read_nus_wide(nus_wide, "train")
    assert images.classes == ("sky", "animal")
    np.testing.assert_array_equal(images.labels, [[1, 1], [-1, -1], [-1, 1]])
    assert images.path(1) == nus_wide / "Flickr" / "zoo" / "2.jpg"
    annotated = read_nus_wide(nus_wide, "train", unannotated="drop")
    np.testing.assert_array_equal(annotated.labels, [[1, 1], [-1, 1]])
    np.testing.assert_array_equal(read_nus_wide(nus_wide, "test").labels, [[-1, 1]])


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        ("Labels_sky_Train.txt", "1\n0\n", "2 labels for 3 pictures"),
        ("Labels_sky_Train.txt", "1\n0\n-1\n", "label '-1' of picture 2; valid: 0, 1"),
        ("Labels_sky_Train.txt", "1\n\n0\n0\n", r"Labels_sky_Train\.txt, line 2: blank; line N"),
        ("../../ImageList/TrainImagelist.txt", "\nzoo\\2.jpg\n", r"Imagelist\.txt, line 1: blank"),
        ("Labels_sky_Train.txt", None, "the labels of NUS-WIDE are incomplete"),
        (
            "../../ConceptsList/Concepts81.txt",
            "sky\nanimal\nsky\n",
            r"Concepts81\.txt: concept 'sky' occurs twice",
        ),
    ],
)
def test_nus_wide_refusals(nus_wide, file, text, expected):
    path = nus_wide / "Groundtruth" / "TrainTestLabels" / file
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    with pytest.raises(ValueError, match=expected):
        read_nus_wide(nus_wide, "train")


@pytest.mark.parametrize(
    ("layout", "name", "split", "file"),
    [
        ("visual_genome", "vg500", "train", "train_list_500.txt"),
        ("visual_genome", "vg500", "train", "vg_category_500_labels_index.json"),
        ("nus_wide", "nuswide", "train", "ConceptsList/Concepts81.txt"),
        ("nus_wide", "nuswide", "train", "ImageList/TrainImagelist.txt"),
        ("open_images", "openimages", "val", "oidv6-classes-trainable.txt"),
        ("open_images", "openimages", "val", "oidv7-class-descriptions.csv"),
        ("open_images", "openimages", "val", "oidv7-val-annotations-human-imagelabels.csv"),
    ],
)
def test_a_byte_order_mark_is_no_text_and_other_encodings_are_refused(
    layout, name, split, file, request
):
    root = request.getfixturevalue(layout)
    config = DataConfig(name=name, root=str(root))
    text, before = (root / file).read_text(), read_split(config, split)
    (root / file).write_text("\ufeff" + text, encoding="utf-8")
    after = read_split(config, split)
    assert (after.classes, after.paths.tolist()) == (before.classes, before.paths.tolist())
    np.testing.assert_array_equal(after.labels, before.labels)
    (root / file).write_bytes(text.encode() + "ch\u00eane".encode("latin-1"))
    with pytest.raises(ValueError, match=rf"{file}, line \d+: not UTF-8"):
        read_split(config, split)


HEADER = "ImageID,Source,LabelName,Confidence\n"
LABELS = "oidv7-val-annotations-human-imagelabels.csv"


@pytest.fixture
def open_images(tmp_path):
    write(tmp_path / "oidv6-classes-trainable.txt", "/m/2\n/m/1\n/m/3\n")
    descriptions = 'LabelName,DisplayName\n/m/1,Crane\n/m/2,"Dog, large"\n/m/3,Crane\n/m/4,Cat\n'
    write(tmp_path / "oidv7-class-descriptions.csv", descriptions)
    rows = [
        "b,verification,/m/1,1",
        "b,verification,/m/2,0",
        "a,crowdsource-verification,/m/1,0.0",
        "a,verification,/m/3,0",
        "a,verification,/m/3,1.0",  # verifications that disagree, in both orders
        "b,verification,/m/3,1",
        "b,verification,/m/3,0",
        "a,verification,/m/4,1",  # a class that is not asked for
        "z,verification,/m/1,1",  # a picture that is not there
    ]
    write(tmp_path / LABELS, HEADER + "\n".join(rows) + "\n")
    for name in ("b.jpg", "a.jpg", "c.jpg", "notes.txt"):
        write(tmp_path / "validation" / name, "never decoded here")
    return tmp_path


def test_open_images(open_images):
    images = read_open_images(open_images, "val")
    assert images.classes == ("Dog, large", "Crane (/m/1)", "Crane (/m/3)")
    assert [images.path(row).name for row in range(3)] == ["a.jpg", "b.jpg", "c.jpg"]
    np.testing.assert_array_equal(images.labels, [[0, -1, 1], [-1, 1, 1], [0, 0, 0]])


def test_open_images_of_very_many_labels_are_sparse(open_images, monkeypatch):
    expected = read_open_images(open_images, "val").labels
    monkeypatch.setattr(sparse, "DENSE_LIMIT", 0)
    matrix = read_open_images(open_images, "val").matrix
    assert isinstance(matrix, SparseLabels)
    np.testing.assert_array_equal(matrix.toarray(), expected)


def test_open_images_blank_lines_and_suffixes(open_images):
    (open_images / "validation" / "b.jpg").rename(open_images / "validation" / "b.JPG")
    with (open_images / LABELS).open("a") as file:
        file.write("\n")
    images = read_open_images(open_images, "val")
    assert [images.path(row).name for row in range(3)] == ["a.jpg", "b.JPG", "c.jpg"]
    np.testing.assert_array_equal(images.labels, [[0, -1, 1], [-1, 1, 1], [0, 0, 0]])
    (open_images / "validation" / "a.JPG").touch()
    with pytest.raises(ValueError, match="validation: picture 'a' occurs twice"):
        read_open_images(open_images, "val")


def test_open_images_with_other_classes(open_images):
    write(open_images / "few.txt", "/m/4\n")
    images = read_open_images(open_images, "val", classes_file="few.txt")
    assert images.classes == ("Cat",)
    np.testing.assert_array_equal(images.labels, [[1], [0], [0]])


@pytest.mark.parametrize(
    ("file", "text", "expected"),
    [
        (LABELS, HEADER + "a,machine,/m/1,0.9\n", "line 2: confidence '0.9'; human-verified"),
        (LABELS, HEADER + "a,/m/1,1\n", r"line 2: \['a', '/m/1', '1'\]; expected"),
        (LABELS, "image,label\na,/m/1\n", "the columns are"),
        ("oidv7-class-descriptions.csv", "LabelName,DisplayName\n/m/1,C\n", "no line for class"),
        ("oidv6-classes-trainable.txt", "/m/1\n/m/1\n", "class '/m/1' occurs twice"),
    ],
)
def test_open_images_refusals(open_images, file, text, expected):
    (open_images / file).write_text(text)
    with pytest.raises(ValueError, match=expected):
        read_open_images(open_images, "val")


def test_open_images_incomplete(open_images):
    with pytest.raises(ValueError, match="a table of Open Images is missing"):
        read_open_images(open_images, "test")
    with pytest.raises(ValueError, match=r"no split 'trainval'; it has \['test', 'train', 'val'\]"):
        read_open_images(open_images, "trainval")
    write(open_images / LABELS.replace("val", "test"), HEADER)
    with pytest.raises(ValueError, match="the split is empty"):
        read_open_images(open_images, "test")


@pytest.fixture
def whole_open_images(open_images):
    """All three splits; the layout above is of the validation part."""
    for split in ("train", "test"):
        (open_images / split).symlink_to(open_images / "validation")
        (open_images / LABELS.replace("val", split)).symlink_to(open_images / LABELS)
    return open_images


@pytest.mark.parametrize(
    ("name", "layout", "expected"),
    [
        ("vg500", "visual_genome", [["train", "3", "-", "500"], ["test", "1", "10000", "500"]]),
        ("vg200", "visual_genome", [["train", "3", "-", "200"], ["test", "1", "10000", "200"]]),
        ("nuswide", "nus_wide", [["train", "3", "161789", "2"], ["test", "1", "107859", "2"]]),
        (
            "openimages",
            "whole_open_images",
            [["train", "3", "-", "3"], ["val", "3", "41620", "3"], ["test", "3", "125436", "3"]],
        ),
    ],
)
def test_prepare_counts_a_whole_layout_and_names_a_missing_part(
    name, layout, expected, request, tool, capsys
):
    root = request.getfixturevalue(layout)
    tool("prepare").main([name, str(root)])
    rows = [
        line.split("|")[1:5] for line in capsys.readouterr().out.split("\n\n")[0].splitlines()[2:]
    ]
    assert [[cell.strip() for cell in row] for row in rows] == expected
    download = find_data_set(name).download
    assert download is not None
    part, address = next(iter(download.parts.items()))
    (root / part).unlink()
    with pytest.raises(ValueError, match=rf"missing:\n  {part}\n      from {address}"):
        tool("prepare").main([name, str(root)])


def test_prepare_takes_any_part_of_open_images(open_images, tool, capsys):
    """Only the validation part was downloaded: that is no error, half of a part is one."""
    prepare = tool("prepare").main
    prepare(["openimages", str(open_images)])
    rows = [
        line.split("|")[1:5] for line in capsys.readouterr().out.split("\n\n")[0].splitlines()[2:]
    ]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["train", "-", "-", "-"],
        ["val", "3", "41620", "3"],
        ["test", "-", "125436", "-"],
    ]
    (open_images / LABELS).rename(open_images / LABELS.replace("val", "test"))
    with pytest.raises(ValueError, match=f"missing:\n  {LABELS}\n.*\nTerms"):
        prepare(["openimages", str(open_images)])
    write(open_images / "train" / "d.jpg", "never decoded here")
    with pytest.raises(ValueError, match="missing:\n  oidv7-train.*\n.*\n  oidv7-val"):
        prepare(["openimages", str(open_images)])
