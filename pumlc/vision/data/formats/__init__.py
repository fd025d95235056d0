"""The formats of label files, one file per format; a new one is a file here and a line below."""

from pathlib import Path

from pumlc.errors import UserError, closest
from pumlc.vision.data.formats import (
    coco,
    cvat,
    fiftyone,
    image_folder,
    label_studio,
    mmpretrain,
    openimages,
    parquet,
    tag_column,
    tag_files,
    voc,
    web_dataset,
    wide,
    yolo,
)
from pumlc.vision.data.formats.label_format import LabelFormat

FORMATS: dict[str, LabelFormat] = {
    each.name: each
    for each in (
        tag_column.FORMAT,
        wide.WIDE,
        wide.CHEXPERT,
        coco.COCO,
        coco.LVIS,
        yolo.FORMAT,
        label_studio.FORMAT,
        cvat.FORMAT,
        fiftyone.FORMAT,
        image_folder.FORMAT,
        parquet.FORMAT,
        mmpretrain.FORMAT,
        tag_files.FORMAT,
        web_dataset.FORMAT,
        openimages.FORMAT,
        voc.FORMAT,
    )
}


def find_format(name: str) -> LabelFormat:
    """The format of a name.

    Raises:
        UserError: there is none; the message has the nearest valid name.
    """
    if name not in FORMATS:
        raise UserError(f"unknown format {name!r}; {closest(name, FORMATS)}")
    return FORMATS[name]


def recognised(path: Path) -> dict[str, str]:
    """Name of each format that a file or folder may have -> the evidence for it."""
    found = ((name, each.recognises(path)) for name, each in FORMATS.items())
    return {name: evidence for name, evidence in found if evidence is not None}
