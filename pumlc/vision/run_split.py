"""The split of a run as a label table: the parts for training, for validation and for test."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pumlc.engine.config import from_plain
from pumlc.engine.run import RunFolder
from pumlc.errors import UserError
from pumlc.vision.config import VisionConfig
from pumlc.vision.data.bad_pictures import read_bad_rows
from pumlc.vision.data.label_table import LabelTable
from pumlc.vision.data.picture_files import PictureFiles, locate
from pumlc.vision.data.readers.label_file import LabelFileOptions, table_of
from pumlc.vision.data.seen import fingerprints
from pumlc.vision.data.split import read_split, training_data


def split_table(
    run_dir: Path, *, labels: Path | None = None, root: Path | None = None
) -> LabelTable:
    """The label file of a run with the parts of the run as its splits.

    The labels are those of the file, not what a protocol left of them. A picture that was in no
    part keeps the split that the file gives it, or is left out if that is ``train``.

    Args:
        run_dir: the run folder.
        labels: the label file, if it was moved.
        root: the folder of the pictures, if it was moved.

    Raises:
        UserError: the run has no label file, or pictures and labels are not those of the run.
    """
    run = RunFolder(run_dir)
    content = run.read()
    config = from_plain(VisionConfig, content["config"]).data
    if config.labels is None and config.csv is None:
        raise UserError(
            f"{run_dir}: its data are {config.name}, whose files have the splits; a run with "
            "data.labels or data.csv has one of its own"
        )
    moved: dict[str, Any] = {"root": str(root)} if root is not None else {}
    if labels is not None:
        moved["labels" if config.labels is not None else "csv"] = str(labels)
    config = replace(config, **moved)
    seed = content["config"]["train"]["seed"]
    data = training_data(config, seed=seed, skipped=read_bad_rows(run_dir))
    if content.get("data") not in (None, fingerprints(data)):
        raise UserError(
            f"{data.train.source}: pictures or labels are not those that {run_dir} was trained on"
        )
    parts = {"train": data.train, "val": data.validation}
    if config.options.test if config.labels is not None else False:
        parts["test"] = read_split(config, "test", classes=data.train.classes)
    part_of = {
        path: name
        for name, images in parts.items()
        for path in ([] if images is None else images.paths.tolist())
    }
    options = config.options
    if config.labels is None:
        options = LabelFileOptions(
            labels=config.csv, unlisted=options.unlisted, unlisted_test=options.unlisted_test
        )
    table = table_of(options)
    located, _ = locate(table, PictureFiles(Path(config.root), allow_outside=True))
    given = table.splits or ("train",) * len(table)
    splits = [
        part_of.get(path.encode(), "" if split == "train" else split)
        for path, split in zip(located.paths, given, strict=True)
    ]
    rows = np.flatnonzero([split != "" for split in splits])
    return replace(table, splits=tuple(splits)).subset(rows)
