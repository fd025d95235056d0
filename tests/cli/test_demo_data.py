"""`pumlc demo --data`: the example data of the guides are what their pages say."""

import csv
from pathlib import Path

import pytest

from pumlc.cli.demo import main
from pumlc.cli.demo_drawings import THINGS
from pumlc.errors import UserError
from pumlc.vision import read_labels


def table(path: Path) -> dict[str, tuple[str, set[str]]]:
    with open(path, newline="") as file:
        return {
            row["image"]: (row["split"], set(row["labels"].split("|")) - {""})
            for row in csv.DictReader(file)
        }


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "photos"
    main(["--data", "photos", "--out", str(out)])
    return out


def test_tags_are_careless_in_training_rows_alone(photos):
    tags, truth = table(photos / "tags.csv"), table(photos / "truth.csv")
    assert tags.keys() == truth.keys()
    assert all((photos / name).is_file() for name in tags)
    assert all(tags[name] == truth[name] for name in tags if tags[name][0] == "test")
    train = [name for name in tags if tags[name][0] == "train"]
    present = sum(len(truth[name][1]) for name in train)
    absent = len(train) * len(THINGS) - present
    missed = sum(len(truth[name][1] - tags[name][1]) for name in train)
    invented = sum(len(tags[name][1] - truth[name][1]) for name in train)
    assert missed / present == pytest.approx(0.25, abs=0.04)
    assert invented / absent == pytest.approx(0.02, abs=0.01)


def test_xrays_have_all_four_states(tmp_path):
    main(["--data", "xrays", "--out", str(tmp_path / "xrays")])
    found = read_labels(tmp_path / "xrays" / "CheXpert-v1.0-small", root=tmp_path / "xrays")
    assert found.table.format == "chexpert"
    assert all((tmp_path / "xrays" / path).is_file() for path in found.table.paths)
    states = {state for _, state in found.table.meanings}
    assert states == {"present", "absent", "unknown", "uncertain"}


def test_a_folder_with_files_is_not_written_to(photos):
    with pytest.raises(UserError, match=r"--out .* exists; name another folder"):
        main(["--data", "photos", "--out", str(photos)])


def test_an_unknown_kind_is_refused(tmp_path):
    with pytest.raises(UserError, match="no such example data; valid: photos, xrays, texts"):
        main(["--data", "photo", "--out", str(tmp_path / "x")])
