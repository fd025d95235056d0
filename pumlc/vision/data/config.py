"""Settings of the data of an image run.

Importable without torch: the command line builds its help from here.
"""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Literal

from pumlc.engine.config import check_seed, require
from pumlc.vision.data.images import BAD_SHARE, MAX_PIXELS
from pumlc.vision.data.observation import Observation
from pumlc.vision.data.readers import DATA_SETS, find_data_set
from pumlc.vision.data.readers.data_set import DataSet

# Pillow itself refuses larger pictures
_PILLOW_PIXELS = 178_956_970
_LARGEST_SIDE = 10_000  # so that someone else's run folder cannot claim all memory

if TYPE_CHECKING:
    DataSetName = str
    _FormatOptions = Any
else:
    # The settings data.NAME are one flat group; only the registry has their names and formats.
    DataSetName = Literal[tuple(DATA_SETS)]
    _classes = dict.fromkeys(data_set.reader.options for data_set in DATA_SETS.values())
    _FormatOptions = type("_FormatOptions", tuple(_classes), {})


@dataclass(kw_only=True)
class _Source:
    """Which data set, and where it is."""

    name: DataSetName = "labels"
    """the data set; docs/datasets.md describes the layouts"""
    root: str = field(metadata={"place": True})
    """folder of the data set (csv, labels: folder of the pictures)"""


@dataclass(kw_only=True)
class DataConfig(_FormatOptions, Observation, _Source):
    """Which pictures, which of their labels are known, and how pictures are prepared.

    `Observation` says which labels are wrong and which are hidden. The readers of
    `pumlc.vision.data.readers` define the settings of their formats; `options` has those of the
    named data set.
    """

    positive_list: str | None = field(default=None, metadata={"place": True})
    """positive-list: the file, a line NAME,INDEX INDEX ... per picture; docs/datasets.md"""
    label_seed: int = 0
    """seed of the choice of hidden and flipped labels"""
    validation: float = 0.0
    """part of the training pictures held out for selection and thresholds, by its known labels; in
    a class without known negatives, unknown counts as negative there"""
    image_size: int | list[int] | None = None
    """size to which pictures are resized, in pixels: the side of a square, or [height, width];
    none: the size of the backbone's weights"""
    max_pixels: int = MAX_PIXELS
    """pictures with more pixels are refused before they are decoded"""
    bad_pictures: Literal["error", "skip"] = "error"
    """what to do with a picture that cannot be read. error: training, evaluation, audit and
    features stop and name it; skip: they continue without it and list it (bad_pictures.json of the
    run, metrics.json)"""
    bad_share: float = BAD_SHARE
    """skip: the largest share of bad pictures in a part; with more the command stops"""
    augmentation: Literal["multi-scale-crop", "flip", "none"] = "multi-scale-crop"
    """multi-scale-crop: as PU-MLC, a random square crop and a flip; flip: only a flip"""

    def __post_init__(self) -> None:
        if getattr(self, "labels", None) is not None:
            self.name, self.csv = "labels", None  # they replace those of a recipe
        self._check_format()
        self._check_protocol()
        require(0 <= self.validation < 1, "data.validation", self.validation, "in [0, 1)")
        check_seed("data.label_seed", self.label_seed)
        sides = self.input_size
        require(
            sides is None or len(sides) == 2 and all(1 <= side <= _LARGEST_SIDE for side in sides),
            "data.image_size",
            self.image_size,
            f"a side or [height, width], each between 1 and {_LARGEST_SIDE}",
        )
        require(0 <= self.bad_share < 1, "data.bad_share", self.bad_share, "in [0, 1)")
        require(
            1 <= self.max_pixels <= _PILLOW_PIXELS,
            "data.max_pixels",
            self.max_pixels,
            f"between 1 and {_PILLOW_PIXELS}",
        )

    @property
    def input_size(self) -> tuple[int, ...] | None:
        """Height and width to which pictures are resized; None: those of the weights."""
        size = self.image_size
        return (size, size) if isinstance(size, int) else None if size is None else tuple(size)

    @property
    def data_set(self) -> DataSet:
        """The entry of the registry."""
        return find_data_set(self.name)

    @property
    def options(self) -> Any:
        """The settings of the named format, an instance of its reader's ``options``."""
        kind = self.data_set.reader.options
        return kind(**{option.name: getattr(self, option.name) for option in fields(kind)})

    def idle_options(self) -> list[str]:
        """Settings of other formats that were given but have no effect."""
        return [
            option.name
            for option in fields(self)
            if formats_with(option.name)
            and self.name not in formats_with(option.name)
            and getattr(self, option.name) != option.default
        ]

    def _check_format(self) -> None:
        """Refuse settings that the format does not take, and the file of another format.

        A policy of another format (`idle_options`) is not an error: it may come from a recipe when
        the command line names another data set.
        """
        assert self.options is not None
        for name in self.idle_options():
            formats = formats_with(name)
            require(
                name not in PLACES,
                f"data.{name}",
                getattr(self, name),
                f"left out with data.name {self.name}: it is a setting of {', '.join(formats)}",
            )

    def _check_protocol(self) -> None:
        self.check_observation("data")
        require(
            (self.positive_list is not None) == (self.protocol == "positive-list"),
            "data.positive_list",
            self.positive_list,
            "a file exactly when data.protocol is positive-list",
        )
        require(
            self.protocol != "positive-list" or self.name != "csv",
            "data.protocol",
            self.protocol,
            "another protocol with data.name csv, whose rows are already a list",
        )


# settings that say where the data are, which may change after a run has started
PLACES = tuple(option.name for option in fields(DataConfig) if option.metadata.get("place"))


def formats_with(option: str) -> list[str]:
    """Names of the data sets whose format has this setting."""
    return [name for name, data_set in DATA_SETS.items() if option in data_set.option_names]
