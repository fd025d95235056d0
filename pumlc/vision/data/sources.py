"""What a complete download of each data set consists of, and where it officially comes from."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from pumlc.engine.config import closest
from pumlc.errors import UserError
from pumlc.vision.data.images import LabelledImages
from pumlc.vision.data.readers.coco_voc import read_coco, read_voc
from pumlc.vision.data.readers.list_files import read_nus_wide, read_open_images, read_visual_genome


@dataclass(frozen=True)
class Source:
    """One data set as its owners publish it.

    Attributes:
        page: the official page, which also states the terms of use.
        parts: file or folder under the root -> where it comes from.
        read: reader of a split under a root.
        pictures: split -> number of pictures of the complete data set; None: not stated.
        separate: split -> those of ``parts`` that it alone needs, its pictures first, where splits
            are of use without each other.
    """

    page: str
    parts: Mapping[str, str]
    read: Callable[[Path, str], LabelledImages]
    pictures: Mapping[str, int | None]
    separate: Mapping[str, tuple[str, str]] = field(default_factory=dict)


_COCO = "http://images.cocodataset.org"
_VOC = "http://host.robots.ox.ac.uk/pascal/VOC"
_SSGRL = "https://github.com/HCPLab-SYSU/SSGRL/tree/master/data/VG"
_GENOME = "https://cs.stanford.edu/people/rak248/VG_100K_2"
_NUS = "https://github.com/NExTplusplus/NUS-WIDE"
_NUS_PAGE = "https://lms.comp.nus.edu.sg/wp-content/uploads/2019/research/nuswide/NUS-WIDE.html"
_OPEN = "https://storage.googleapis.com/openimages"


def _coco(year: str, train: int, test: int) -> Source:
    annotations = f"{_COCO}/annotations/annotations_trainval{year}.zip"
    return Source(
        "https://cocodataset.org/#download",
        {
            f"annotations/instances_train{year}.json": annotations,
            f"annotations/instances_val{year}.json": annotations,
            f"train{year}": f"{_COCO}/zips/train{year}.zip",
            f"val{year}": f"{_COCO}/zips/val{year}.zip",
        },
        partial(read_coco, name=f"coco{year}"),
        {"train": train, "test": test},
    )


def _visual_genome(num_classes: Literal[200, 500]) -> Source:
    return Source(
        "https://homes.cs.washington.edu/~ranjay/visualgenome/api.html",
        {
            "train_list_500.txt": _SSGRL,
            "test_list_500.txt": _SSGRL,
            "vg_category_500_labels_index.json": _SSGRL,
            "VG_100K": f"{_GENOME}/images.zip",
            "VG_100K_2": f"{_GENOME}/images2.zip",
        },
        partial(read_visual_genome, num_classes=num_classes),
        {"train": None, "test": 10_000},
    )


SOURCES: dict[str, Source] = {
    "coco2014": _coco("2014", 82_783, 40_504),
    "coco2017": _coco("2017", 118_287, 5_000),
    "voc2007": Source(
        f"{_VOC}/voc2007/",
        {
            "VOC2007/ImageSets/Main/trainval.txt": f"{_VOC}/voc2007/VOCtrainval_06-Nov-2007.tar",
            "VOC2007/ImageSets/Main/test.txt": f"{_VOC}/voc2007/VOCtest_06-Nov-2007.tar",
            "VOC2007/JPEGImages": "both archives",
        },
        partial(read_voc, name="voc2007"),
        {"train": 5_011, "test": 4_952},
    ),
    "voc2012": Source(
        f"{_VOC}/voc2012/",
        {
            "VOC2012/ImageSets/Main/train.txt": f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
            "VOC2012/ImageSets/Main/val.txt": f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
            "VOC2012/JPEGImages": f"{_VOC}/voc2012/VOCtrainval_11-May-2012.tar",
        },
        partial(read_voc, name="voc2012"),
        {"train": 5_717, "test": 5_823},
    ),
    "vg500": _visual_genome(500),
    "vg200": _visual_genome(200),
    "nuswide": Source(
        _NUS_PAGE,
        {
            "ConceptsList/Concepts81.txt": _NUS,
            "Groundtruth/TrainTestLabels": _NUS,
            "ImageList/TrainImagelist.txt": _NUS_PAGE,
            "ImageList/TestImagelist.txt": _NUS_PAGE,
            "Flickr": f"on request: {_NUS_PAGE}",
        },
        read_nus_wide,
        {"train": 161_789, "test": 107_859},
    ),
    "openimages": Source(
        f"{_OPEN}/web/download_v7.html",
        {
            "oidv6-classes-trainable.txt": f"{_OPEN}/v6/oidv6-classes-trainable.txt",
            "oidv7-class-descriptions.csv": f"{_OPEN}/v7/oidv7-class-descriptions.csv",
            **{
                f"oidv7-{name}-annotations-human-imagelabels.csv": (
                    f"{_OPEN}/v7/oidv7-{name}-annotations-human-imagelabels.csv"
                )
                for name in ("train", "val", "test")
            },
            "train": f"{_OPEN}/web/download_v7.html",
            "validation": f"{_OPEN}/web/download_v7.html",
            "test": f"{_OPEN}/web/download_v7.html",
        },
        read_open_images,
        {"train": None, "val": 41_620, "test": 125_436},
        {
            split: (folder, f"oidv7-{split}-annotations-human-imagelabels.csv")
            for split, folder in (("train", "train"), ("val", "validation"), ("test", "test"))
        },
    ),
}


def source(name: str) -> Source:
    """The data set of a name.

    Raises:
        UserError: there is none; it says the nearest valid name.
    """
    if name not in SOURCES:
        raise UserError(f"unknown data set {name!r}; {closest(name, [*SOURCES, 'csv', 'coco'])}")
    return SOURCES[name]


def absent_splits(name: str, root: Path) -> set[str]:
    """Splits that are not there and need not be, since another one is."""
    separate = source(name).separate
    absent = {split for split, parts in separate.items() if not _is_there(root / parts[0])}
    return absent if len(absent) < len(separate) else set()


def missing_parts(name: str, root: Path) -> dict[str, str]:
    """Files and folders that are not there (a folder: or empty) -> where they come from.

    Those of `absent_splits` are not counted.
    """
    chosen = source(name)
    unneeded = {part for split in absent_splits(name, root) for part in chosen.separate[split]}
    return {
        part: address
        for part, address in chosen.parts.items()
        if part not in unneeded and not _is_there(root / part)
    }


def _is_there(path: Path) -> bool:
    return path.is_file() or (path.is_dir() and any(path.iterdir()))
