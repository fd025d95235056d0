"""One registry of data sets: names, settings and readers stand together and nowhere else."""

import dataclasses
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from pumlc.engine.command_line import parse
from pumlc.engine.config import from_plain, plain
from pumlc.errors import UserError
from pumlc.labels import LabelManifest
from pumlc.vision.config import DataConfig
from pumlc.vision.data.config import PLACES
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.readers import (
    DATA_SETS,
    coco,
    csv_file,
    label_file,
    nuswide,
    openimages,
    voc,
)
from pumlc.vision.data.readers import visual_genome as genome
from pumlc.vision.data.readers.data_set import DataSet
from pumlc.vision.data.split import read_split, training_data


@dataclasses.dataclass(kw_only=True)
class Data:
    """A run that has nothing but data."""

    data: DataConfig


def test_every_file_of_readers_is_in_the_registry():
    files = {path.stem for path in Path(coco.__file__).parent.glob("*.py")}
    modules = (coco, csv_file, label_file, nuswide, openimages, genome, voc)
    assert files - {"__init__", "data_set"} == {m.__name__.rpartition(".")[2] for m in modules}
    names = [name for module in modules for name in module.DATA_SETS]
    assert sorted(names) == sorted(DATA_SETS)


def test_a_setting_of_two_formats_is_one_setting():
    owners: dict[str, set[type]] = {}
    for data_set in DATA_SETS.values():
        kind = data_set.reader.options
        for option in dataclasses.fields(kind):
            assert option.default is not dataclasses.MISSING, option.name
            owner = next(
                base
                for base in kind.__mro__
                if option.name in vars(base).get("__annotations__", {})
            )
            owners.setdefault(option.name, set()).add(owner)
    shared = {name for name, classes in owners.items() if len(classes) > 1}
    assert not shared
    own = set(DataConfig.__annotations__) | {"name", "root"}
    assert not own & set(owners)
    assert set(owners) <= {option.name for option in dataclasses.fields(DataConfig)}
    assert sorted(PLACES) == ["csv", "labels", "positive_list", "root"]


def test_settings_of_formats_are_parsed_and_explained(capsys):
    arguments = ["--data.name", "voc2012", "--data.root", "x", "--data.difficult", "unknown"]
    config = parse(Data, arguments, program="x")[0].data
    assert config.options == voc.VocOptions(difficult="unknown")
    with pytest.raises(UserError, match="data.name"):
        parse(Data, ["--data.name", "voc2013", "--data.root", "x"], program="x")
    with pytest.raises(SystemExit):
        parse(Data, ["--help"], program="x")
    text = " ".join(capsys.readouterr().out.split())
    assert "label of a class with only difficult objects" in text
    assert "coco, nuswide: pictures without any label" in text
    assert "{coco,coco2014,coco2017,voc2007," in text


def test_the_file_of_another_format_is_refused():
    message = "data.csv must be left out with data.name coco: it is a setting of csv, got 'a.csv'"
    with pytest.raises(UserError, match=message):
        DataConfig(name="coco", root="x", csv="a.csv")
    with pytest.raises(UserError, match="data.csv must be a file exactly when data.name is csv"):
        DataConfig(name="csv", root="x")
    with pytest.raises(UserError, match="unknown data set 'voc2070'; did you mean 'voc2007'"):
        DataConfig(name="voc2070", root="x")


def test_the_policy_of_another_format_plays_no_part_and_is_said(squares_coco):
    config = DataConfig(name="coco", root=str(squares_coco), unlisted="negative")
    assert config.idle_options() == ["unlisted"]
    with pytest.warns(
        UserWarning, match="data.unlisted negative has no effect .* coco: it is a setting of csv"
    ):
        training_data(config, seed=0)


def test_the_settings_of_an_older_run_load():
    """They have all keys of the formats of that version, and lack those that came later."""
    content = plain(DataConfig(name="nuswide", root="x", unannotated="drop", known=0.5))
    del content["max_pixels"]
    config = from_plain(Data, {"data": content}).data
    assert config.options.unannotated == "drop"
    assert config.max_pixels == DataConfig(name="coco", root="x").max_pixels


@dataclasses.dataclass(kw_only=True)
class LetterOptions:
    """Options of the format below."""

    letters: str = "ab"
    """letters: one class each"""


@dataclasses.dataclass(frozen=True)
class LetterReader:
    """Two pictures for every letter: all that the author of a reader has to write."""

    options: ClassVar[type] = LetterOptions

    def splits(self, root, options):
        return ("train", "val")

    def read(self, root, split, options, classes=None):
        names = [f"{split}{row}.jpg".encode() for row in range(2 * len(options.letters))]
        labels = np.tile(2 * np.eye(len(options.letters), dtype=np.int8) - 1, (2, 1))
        return LabelledImages(split, root, np.array(names), labels, tuple(options.letters))


def test_a_reader_of_ones_own_needs_no_other_line(tmp_path, monkeypatch):
    monkeypatch.setitem(DATA_SETS, "letters", DataSet(LetterReader(), held_out="val"))
    config = DataConfig(name="coco", root=str(tmp_path))
    config.name = "letters"
    config.letters = "xyz"
    images = read_split(config, "train")
    assert images.classes == ("x", "y", "z")
    data = training_data(config, seed=0)
    assert data.validation is not None
    assert len(data.validation) == 6
    with pytest.raises(UserError, match="the difference: .'x', 'y', 'z'"):
        read_split(config, "train", classes=())


def test_settings_and_registry_import_nothing_heavy():
    code = (
        "import sys, pumlc.vision.data.config as c, pumlc.vision.data.readers;"
        "heavy = {'torch', 'albumentations', 'cv2', 'pycocotools', 'PIL', 'timm', 'sklearn'};"
        "assert not heavy & set(sys.modules), heavy & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_pictures_cannot_be_changed_in_place(squares_coco):
    images = read_split(DataConfig(name="coco", root=str(squares_coco)), "train")
    for part in (images, images.subset(np.arange(3))):
        for array in (part.labels, part.paths):
            with pytest.raises(ValueError, match="read-only"):
                array[0] = array[1]
    labels = np.ones((1, 1), np.int8)
    LabelledImages("a", squares_coco, np.array([b"a"]), labels, ("a",))
    labels[0, 0] = -1  # the caller's own array stays writable


def test_the_truth_of_a_run_is_not_changed_by_hiding(squares_coco):
    config = DataConfig(name="coco", root=str(squares_coco), known=0.3, false_negative=0.2)
    before = read_split(config, "train").labels
    data = training_data(config, seed=0)
    assert isinstance(data.manifest, LabelManifest)
    np.testing.assert_array_equal(data.manifest.restore(data.train.labels), before)
    assert (data.train.labels == 0).any()
