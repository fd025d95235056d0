"""The settings of a sweep over image methods."""

import dataclasses
import re
from dataclasses import dataclass, field
from typing import Any, Literal

from pumlc.engine.config import check_seed, require
from pumlc.sweep.cells import Cell, grid
from pumlc.sweep.launch import LauncherName
from pumlc.vision.config import KNOWN, DataConfig, ModelConfig, check_loss
from pumlc.vision.data.observation import Observation
from pumlc.vision.frozen.config import Method, ProbeConfig

# settings of data and model that the sweep or the extraction of features decides itself
_OBSERVED = tuple(field.name for field in dataclasses.fields(Observation))
_UNUSED_DATA = (*_OBSERVED, "positive_list", "label_seed", "validation", "augmentation")
_USED_MODEL = ("backbone", "weights")
# settings of a fine-tuning cell that the sweep decides, so that no option may set them
_CELL_SETTINGS = ("data.known", "data.label_seed", "data.validation", "train.seed")
_CELL_GROUPS = ("config", "out", "resume", "data", "loss", "train")


@dataclass(kw_only=True)
class FeatureMode:
    """Linear heads are trained on features that are extracted once, in one process per cell."""

    data: DataConfig
    """the data set"""
    model: ModelConfig
    """backbone and weights"""
    probe: ProbeConfig
    """how the heads are trained"""
    cache: str = "~/.cache/pumlc/features"
    """folder of the extracted features"""
    workers: int | None = None
    """threads that read pictures while features are extracted; none: one per core"""


@dataclass(kw_only=True)
class FineTuneMode:
    """Every cell trains and evaluates a network."""

    base: str
    """settings of an image run: a YAML file or a recipe. The sweep replaces loss, known proportion
    and seeds"""
    validation: float = 0.2
    """part of the training pictures held out; it chooses among the saved weights"""
    classes: list[str] = field(default_factory=list)
    """also average over these classes"""
    options: list[str] = field(default_factory=list)
    """further settings of the runs, as on the command line, such as --model.weights FILE"""


@dataclass(kw_only=True)
class LauncherConfig:
    """Processes, on this machine or on others that share the folder, take cells of the sweep."""

    name: LauncherName
    """the library that starts them: joblib or submitit, which must be installed"""
    jobs: int = 2
    """number of processes; each runs as many cells at a time as the sweep has workers"""
    settings: dict[str, Any] = field(default_factory=dict)
    """joblib: arguments of joblib.Parallel, such as {backend: loky}; submitit: its parameters, such
    as {cluster: slurm, slurm_partition: gpu, timeout_min: 600}"""

    def __post_init__(self) -> None:
        require(self.jobs >= 1, "launcher.jobs", self.jobs, "at least 1")


@dataclass(kw_only=True)
class SweepConfig:
    """A sweep, with exactly one of features and fine_tune."""

    methods: dict[str, Method]
    """name -> loss; the first method is compared with the best of the others"""
    seeds: list[int]
    """each decides mask, held-out part, order and mixtures"""
    proportions: list[float] = field(default_factory=list)
    """proportions of known labels"""
    conditions: dict[str, Observation] = field(default_factory=dict)
    """name -> changes of the training labels, beside or instead of proportions: {known: 0.1},
    {false_negative: 0.2}, {noise: {kind: mislabel, rate: 0.2}}; the settings of data with the same
    names say what they mean"""
    families: dict[str, list[str]] = field(default_factory=dict)
    """name -> methods among which validation chooses; a family is one more row of the tables"""
    features: FeatureMode | None = None
    """settings of the frozen-feature mode"""
    fine_tune: FineTuneMode | None = None
    """settings of the fine-tuning mode"""
    metric: Literal["all", "frequent", "listed"] = "all"
    """classes whose mAP the plot shows"""
    workers: int = 1
    """cells that run at the same time in one process"""
    launcher: LauncherConfig | None = None
    """how cells are run by further processes; none: by this one. The same command on several
    machines that share the folder shares the cells too"""

    def __post_init__(self) -> None:
        one = (self.features is None) != (self.fine_tune is None)
        require(one, "features, fine_tune", (self.features, self.fine_tune), "one of the two given")
        self._check_grid()
        self._check_conditions()
        self._check_families()
        require(self.workers >= 1, "workers", self.workers, "at least 1")
        if self.features is not None:
            _check_features(self.features)
            self._check_metric("features.probe.classes", self.features.probe.classes)
        if self.fine_tune is not None:
            _check_fine_tune(self.fine_tune, self.methods, bool(self.conditions))
            require(self.metric != "frequent", "metric", self.metric, "all or listed in fine_tune")
            self._check_metric("fine_tune.classes", self.fine_tune.classes)
        for name, method in self.methods.items():
            fits = self.fine_tune is not None or method.start == "backbone"
            require(fits, f"methods.{name}.start", method.start, "left out but in fine_tune")
            check_loss(method.loss.name, method.parameters(1), where=f"methods.{name}.loss")

    def observation(self, cell: Cell) -> Observation | None:
        """The changes of the labels of a cell; None if it has only a proportion."""
        return self.conditions[cell.condition] if cell.condition else None

    def grid(self) -> list[Cell]:
        """All cells."""
        known = {name: condition.known for name, condition in self.conditions.items()}
        return grid(list(self.methods), self.proportions, self.seeds, known)

    def _check_conditions(self) -> None:
        for name, condition in self.conditions.items():
            # the name is a part of file names, in which - separates
            fits = isinstance(name, str) and re.fullmatch(r"[^\W\d][\w.+]{0,99}", name)
            valid = "names that begin with a letter, followed by letters, digits, _, . or +"
            require(bool(fits), "conditions", name, valid)
            where = f"conditions.{name}"
            condition.check_observation(where)
            other = condition.protocol != "positive-list"
            require(other, f"{where}.protocol", condition.protocol, "another protocol in a sweep")
            noise = condition.noise
            require(
                self.fine_tune is None
                or noise is None
                or noise.kind != "hard-to-see"
                or noise.visibility is not None,
                f"{where}.noise.visibility",
                None,
                "a file in fine_tune",
            )

    def _check_grid(self) -> None:
        for name in self.methods:
            # the name is a part of file names; YAML reads some keys as numbers
            fits = isinstance(name, str) and name.isprintable() and 0 < len(name) <= 100
            fits = fits and not set(name) & set("/\\")
            require(fits, "methods", name, "names of files, in quotes if numbers, without / and \\")
        columns = [*self.proportions, *self.conditions]
        require(len(columns) > 0, "proportions, conditions", columns, "at least one of either")
        for name in ("methods", "proportions", "seeds"):
            values = list(getattr(self, name))
            require(len(values) > 0 or name == "proportions", name, values, "at least one")
            # proportions with the same first digits would share a file
            different = {f"{value:g}" if name == "proportions" else value for value in values}
            require(len(different) == len(values), name, values, "different values")
        for seed in self.seeds:
            check_seed("seeds", seed)
        require(
            all(0 < p <= 1 for p in self.proportions), "proportions", self.proportions, "in (0, 1]"
        )

    def _check_families(self) -> None:
        for name, members in self.families.items():
            require(name not in self.methods, "families", name, "names that no method has")
            require(len(members) > 0, f"families.{name}", members, "at least one method")
            unknown = sorted(set(members) - set(self.methods))
            require(not unknown, f"families.{name}", unknown, f"among {', '.join(self.methods)}")
        if self.fine_tune is not None:
            require(
                self.fine_tune.validation > 0 or not self.families,
                "families",
                list(self.families),
                "left out with fine_tune.validation 0, which chooses nothing",
            )

    def _check_metric(self, option: str, classes: list[str]) -> None:
        require(
            self.metric != "listed" or len(classes) > 0,
            option,
            classes,
            "at least one class for metric: listed",
        )


def _check_features(mode: FeatureMode) -> None:
    """Refuse settings that would be ignored."""
    valid = mode.workers is None or mode.workers >= 0
    require(valid, "features.workers", mode.workers, "at least 0, or none")
    unused_model = [f.name for f in dataclasses.fields(ModelConfig) if f.name not in _USED_MODEL]
    for group, names in (("data", _UNUSED_DATA), ("model", unused_model)):
        config = getattr(mode, group)
        defaults = {f.name: f.default for f in dataclasses.fields(config)}
        for name in names:
            value, default = getattr(config, name), defaults[name]
            valid = f"left at {default!r}: the sweep decides it, or it plays no part here"
            require(value == default, f"features.{group}.{name}", value, valid)


def _check_fine_tune(mode: FineTuneMode, methods: dict[str, Method], conditions: bool) -> None:
    """Refuse settings of heads, and options that would change what the sweep decides."""
    require(0 <= mode.validation < 1, "fine_tune.validation", mode.validation, "in [0, 1)")
    for option in mode.options:
        name = option.partition("=")[0].removeprefix("--")
        fixed = option.startswith("--") and name in (*_CELL_GROUPS, *_CELL_SETTINGS)
        parts = name.split(".")
        # a condition decides all of these: an option would change what its name means
        fixed = fixed or (conditions and parts[0] == "data" and parts[1] in _OBSERVED)
        require(
            not (fixed or option.startswith("--loss.")),
            "fine_tune.options",
            option,
            "settings that the sweep does not decide itself; it decides the loss, the folder, "
            + ", ".join(_CELL_SETTINGS),
        )
    for method_name, method in methods.items():
        heads = f"methods.{method_name}.heads"
        require(method.heads == "adam", heads, method.heads, "left out in fine_tune")
        for setting, default in (("negatives", "given"), ("procedure", "plain")):
            value = getattr(method, setting)
            where = f"methods.{method_name}.{setting}"
            require(value == default, where, value, "left out in fine_tune")
        for group in ("first_epoch", "per_epoch"):
            values = getattr(method, group)
            require(not values, f"methods.{method_name}.{group}", values, "left out in fine_tune")
        for parameter, value in method.loss.parameters.items():
            require(
                value != KNOWN,
                f"methods.{method_name}.loss.parameters.{parameter}",
                value,
                f"a value of the loss in fine_tune ({KNOWN!r} is for features)",
            )
