"""Pictures inside of shards: read in place, the same run as with files."""

import io
import json
import multiprocessing
import tarfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

from pumlc.cli import main
from pumlc.engine.config import TrainConfig
from pumlc.engine.run import RunFolder
from pumlc.engine.training import train_run
from pumlc.errors import UserError
from pumlc.vision.config import DataConfig, LossConfig, ModelConfig, VisionConfig
from pumlc.vision.data import stored_pictures
from pumlc.vision.data.bad_pictures import BadRow
from pumlc.vision.data.convert import write_table
from pumlc.vision.data.decode import load_row
from pumlc.vision.data.detect import read_table
from pumlc.vision.data.picture_files import PictureFiles, locate
from pumlc.vision.data.split import read_split, training_data
from pumlc.vision.task import VisionTask

KILLED_AT = 3


class Killed(Exception):
    pass


class KilledTask(VisionTask):
    def training_step(self, network, batch, accelerator, step):
        if step == KILLED_AT:
            raise Killed
        return super().training_step(network, batch, accelerator, step)


@pytest.fixture(scope="module")
def places(squares_coco, tmp_path_factory) -> dict[str, tuple[Path, Path]]:
    """The same pictures as files, in shards and in Parquet: label file and root."""
    folder = tmp_path_factory.mktemp("stored")
    file, root = squares_coco / "annotations" / "instances_train.json", squares_coco / "train"
    table, _ = locate(read_table(file)[0], PictureFiles(root))
    write_table(table, folder / "shards", "webdataset")
    empty = folder / "empty"
    empty.mkdir()
    found = {"files": (file, root), "shards": (folder / "shards", empty)}
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    pictures = [{"bytes": (root / path).read_bytes(), "path": path} for path in table.paths]
    columns = {
        "image": pictures,
        "labels": [table.names_with(row, 1) for row in range(len(table))],
    }
    names = {"labels": {"feature": {"names": list(table.classes)}}}  # as Hugging Face keeps them
    metadata = {"huggingface": json.dumps({"info": {"features": names}})}
    content = arrow.table(columns).replace_schema_metadata(metadata)
    parquet.write_table(content, folder / "l.parquet", row_group_size=7)
    return {**found, "parquet": (folder / "l.parquet", empty)}


def settings(place: tuple[Path, Path], workers: int = 0) -> VisionConfig:
    return VisionConfig(
        data=DataConfig(
            labels=str(place[0]), root=str(place[1]), image_size=32, validation=0.25, known=0.6
        ),
        model=ModelConfig(backbone="test_efficientnet"),
        loss=LossConfig(name="pu", parameters={"gamma": 0.85, "alpha": 2.0}),
        train=TrainConfig(
            epochs=2, batch_size=18, learning_rate=1e-3, workers=workers, checkpoint_minutes=0.0
        ),
    )


def weights(run: RunFolder) -> dict:
    return load_file(run.weights / "last.safetensors")


@pytest.fixture(scope="module")
def expected(places, tmp_path_factory) -> dict:
    run = RunFolder(tmp_path_factory.mktemp("run"))
    train_run(settings(places["files"]), VisionTask, run)
    return weights(run)


@pytest.mark.parametrize(("kind", "workers"), [("shards", 0), ("shards", 2), ("parquet", 2)])
def test_a_run_on_shards_that_was_killed_ends_in_the_weights_of_one_on_files(
    places, expected, tmp_path, kind, workers
):
    run = RunFolder(tmp_path)
    with pytest.raises(Killed):
        train_run(settings(places[kind], workers), KilledTask, run)
    train_run(settings(places[kind], workers), VisionTask, run, resume=True)
    found = weights(run)
    assert found.keys() == expected.keys()
    assert all(found[key].equal(expected[key]) for key in expected)


@pytest.mark.parametrize("kind", ["shards", "parquet"])
def test_pictures_and_labels_are_those_of_the_files(places, kind):
    whole, inside = (read_split(settings(places[k]).data, "train") for k in ("files", kind))
    np.testing.assert_array_equal(inside.labels, whole.labels)
    rows = np.array([5, 90, 3])
    for row, picked in zip(rows, range(3), strict=True):
        np.testing.assert_array_equal(load_row(inside.subset(rows), picked), load_row(whole, row))


def test_a_file_is_opened_once(places, monkeypatch):
    opened = []
    real = stored_pictures._open_file
    recent = stored_pictures._Recent(8, lambda file: opened.append(file) or real(file))
    monkeypatch.setattr(stored_pictures, "_files", recent)
    images = read_split(settings(places["shards"]).data, "train")
    for row in (0, 7, 1, 7):
        load_row(images, row)
    assert len(opened) == 1
    with multiprocessing.get_context("fork").Pool(1) as pool:  # a worker opens its own
        assert pool.apply(_opened_in_a_worker, (images,)) == 2
    assert len(opened) == 1


def _opened_in_a_worker(images) -> int:
    before = stored_pictures._files
    load_row(images, 0)
    first = next(iter(before._there.values()))
    load_row(images, 1)
    return 2 if next(iter(before._there.values())) is first else 0


def test_what_drops_out_of_the_open_files_is_opened_again(tmp_path):
    opened = []
    recent = stored_pictures._Recent(2, lambda name: opened.append(name) or name)
    assert [recent.get(name) for name in "abacba"] == list("abacba")
    assert opened == ["a", "b", "c", "b", "a"]


def test_groups_of_rows_stay_open_up_to_so_many_bytes():
    opened = []
    recent = stored_pictures._Recent(10, lambda name: opened.append(name) or name, len)
    for name in ("aaaa", "bbb", "cc", "aaaa", "ddd", "aaaa", "e" * 20, "e" * 20, "cc"):
        assert recent.get(name) == name
    assert opened == ["aaaa", "bbb", "cc", "ddd", "e" * 20, "cc"]


def test_a_shard_that_became_shorter_is_an_error_that_names_it(places, tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    shard = folder / "train-000000.tar"
    source = next(places["shards"][0].glob("*.tar"))
    shard.write_bytes(source.read_bytes())
    images = read_split(settings((folder, tmp_path)).data, "train")
    shard.write_bytes(source.read_bytes()[:3000])
    with pytest.raises(UserError, match=r"95\.png: .*tar: ends before byte .* changed since"):
        load_row(images, 95)
    shard.unlink()
    stored_pictures._files._start_again()
    with pytest.raises(UserError, match=r"tar: No such file"):
        load_row(images, 95)


def test_a_compressed_tar_file_is_refused(tmp_path):
    with tarfile.open(tmp_path / "train-0.tar", "w:gz") as archive:
        entry = tarfile.TarInfo("a.json")
        content = json.dumps({"labels": ["cat"]}).encode()
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    with pytest.raises(UserError, match="train-0.tar: "):
        read_table(tmp_path)


def test_parquet_names_pictures_that_have_no_name_or_one_of_several(tmp_path):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    for split in ("train", "test"):
        images = [{"bytes": b"x", "path": "0.jpg"}, {"bytes": b"y", "path": None}]
        images += [{"bytes": None, "path": f"{split}.jpg"}]
        columns = {"image": images, "labels": [["cat"], ["dog"], []]}
        parquet.write_table(arrow.table(columns), tmp_path / f"{split}-0.parquet")
    table = read_table(tmp_path)[0]
    assert table.paths == (
        *("train-0.parquet/0.jpg", "train-0.parquet/1", "train.jpg"),
        *("test-0.parquet/0.jpg", "test-0.parquet/1", "test.jpg"),
    )
    assert [table.has_inside(row) for row in range(6)] == [True, True, False] * 2
    assert table.stored is not None
    assert table.stored.read(4) == b"y"


def test_a_row_that_was_skipped_is_put_back_among_shards(places):
    config = settings(places["shards"]).data
    gone = BadRow("train", 3, "gone.jpg", (1,), (0,), "broken")
    data = training_data(replace(config, validation=0.0), seed=0, skipped=[gone])
    assert data.train.stored is not None
    assert not data.train.stored.has(3)
    assert data.train.stored.has(4)
    np.testing.assert_array_equal(load_row(data.train, 4), load_row(read_split(config, "train"), 3))


def test_shards_are_inspected_and_converted_in_place(places, tmp_path, capsys):
    shards, empty = places["shards"]
    main.main(["inspect", str(shards), "--root", str(empty), "--json"])
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert result["splits"]["train"]["pictures"] == 96
    assert not [p for p in result["problems"] if p["refuses_training"]]
    write_table(read_table(shards)[0], tmp_path / "again", "webdataset")
    again, first = (read_table(folder)[0] for folder in (tmp_path / "again", shards))
    assert again.paths == first.paths
    np.testing.assert_array_equal(again.codes(), first.codes())


@pytest.mark.parametrize("inside", [True, False])
def test_a_large_group_of_rows_has_pictures_if_its_first_row_has(tmp_path, inside):
    arrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet

    content = np.random.RandomState(0).bytes(3000)
    columns = {
        "image": [{"bytes": content if inside else None, "path": f"{row}.jpg"} for row in range(5)],
        "labels": [["cat"]] * 5,
        "vector": [content] * 5,
    }
    kind = arrow.struct([("bytes", arrow.binary()), ("path", arrow.string())])
    images = arrow.array(columns["image"], kind)
    parquet.write_table(arrow.table({**columns, "image": images}), tmp_path / "l.parquet")
    table = read_table(tmp_path / "l.parquet")[0]
    assert [table.has_inside(row) for row in range(5)] == [inside] * 5
    assert table.paths[4] == "4.jpg"
