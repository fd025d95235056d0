"""What is known of a loss before it is called: facts as data, and the check of its parameters."""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final, Literal

from pumlc.errors import UserError, closest

Kind = Literal["number", "integer", "choice", "flag", "tensor"]
Couples = Literal["nothing", "rows", "labels"]


class Required(Enum):
    """The default of a parameter that has none."""

    REQUIRED = "required"

    def __repr__(self) -> str:
        return "REQUIRED"


REQUIRED: Final = Required.REQUIRED
"""The default of a parameter that has none: papers tune it for each data set."""

# arguments that the training passes; no setting gives them
RESERVED = {
    "process_group": "is set by the run, not by a setting",
    "excluded": "comes from the data, not from a setting",
}


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """A keyword argument of a loss and the values that it takes.

    Attributes:
        kind: "number", "integer", "choice" (a string), "flag" (a bool) or "tensor", which a
            training loop of one's own passes and no config can give.
        default: `REQUIRED` if there is none.
        low: smallest number.
        high: largest number.
        open_low: True if ``low`` itself is not valid.
        open_high: True if ``high`` itself is not valid.
        at_most_classes: True if the number of classes is an upper bound.
        choices: valid strings.
        none: True if None is valid.
        tensor: True if a tensor can take the place of the number.
    """

    kind: Kind
    default: Any = REQUIRED
    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False
    at_most_classes: bool = False
    choices: tuple[str, ...] = ()
    none: bool = False
    tensor: bool = False

    @property
    def takes_tensor(self) -> bool:
        return self.tensor or self.kind == "tensor"

    def accepts(self, value: Any, num_classes: int | None = None) -> bool:
        """Whether a config can give this value.

        Args:
            value: from YAML: a whole number may be a float.
            num_classes: where it is known, it bounds the parameters that it bounds.
        """
        if value is None:
            return self.none
        if self.kind == "choice":
            return isinstance(value, str) and value in self.choices
        if self.kind == "flag":
            return isinstance(value, bool)
        if self.kind == "tensor" or isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if self.kind == "integer" and (math.isinf(value) or value != value // 1):
            return False
        if self.at_most_classes and num_classes is not None and value > num_classes:
            return False
        above = self.low < value if self.open_low else self.low <= value
        return above and (value < self.high if self.open_high else value <= self.high)

    def describe(self, num_classes: int | None = None) -> str:
        """The valid values, as a message says them.

        Example:
            >>> Parameter(kind="number", low=0, high=1, open_high=True).describe()
            'a number in [0, 1)'
            >>> Parameter(kind="integer", low=1).describe()
            'a whole number of at least 1'
        """
        if self.kind == "choice":
            valid = " or ".join(map(repr, self.choices))
        elif self.kind == "flag":
            valid = "true or false"
        elif self.kind == "tensor":
            valid = "a tensor"
        else:
            noun = "a whole number" if self.kind == "integer" else "a number"
            valid = noun + self._range(num_classes)
        return f"{valid} or null" if self.none else valid

    def _range(self, num_classes: int | None) -> str:
        if self.at_most_classes:
            count = "" if num_classes is None else f", {num_classes}"
            return f" from {self.low:g} to the number of classes{count}"
        if not math.isinf(self.low) and not math.isinf(self.high):
            brackets = "(" if self.open_low else "[", ")" if self.open_high else "]"
            return f" in {brackets[0]}{self.low:g}, {self.high:g}{brackets[1]}"
        if not math.isinf(self.low):
            return f" above {self.low:g}" if self.open_low else f" of at least {self.low:g}"
        return ""


@dataclass(frozen=True, eq=False, kw_only=True)
class Loss:
    """A loss and the facts that settings, warnings and training loops go by.

    It is called as its function is: ``LOSSES["pu"](logits, targets, gamma=0.5, alpha=1.0)``.

    Attributes:
        name: in `LOSSES`, or ``package.module:function``.
        function: called with logits [B, C] or scores [B, L], targets or positives, and keywords.
        takes: "targets": labels in {1, 0, -1}, [B, C]; "positives": which labels of a row are
            positive, [B, L].
        couples: what must not be divided without a process group. "nothing": the loss is a sum over
            pairs of row and label, divided by the number of rows. "rows": it depends on which rows
            are in a batch (``pnu``, ``large_loss`` and ``role`` on which labels, too). "labels": it
            depends on which labels a row is given, and is a mean over rows.
        parameters: name -> what it takes; None: nothing is known of them, so nothing is checked.
        supports_excluded: True if it takes ``excluded``, pairs that take no part.
        ignores_unknown: parameter -> the value with which unknown labels play no part; None: not
            known.
        regression: True if the best logits are near +1 and -1; False: they are log-odds, or grow
            without bound.
        relation: what is wrong with parameters that are valid one by one, or None. Called with all
            of them, defaults included.
        paper: where it comes from.
        when: when to use it.
    """

    name: str
    function: Callable[..., Any]
    takes: Literal["targets", "positives"]
    couples: Couples
    parameters: Mapping[str, Parameter] | None = field(default_factory=dict)
    supports_excluded: bool = False
    ignores_unknown: Mapping[str, Any] | None = field(default_factory=dict)
    regression: bool = False
    relation: Callable[[Mapping[str, Any]], str | None] | None = None
    paper: str = ""
    when: str = ""

    def __call__(self, *tensors: Any, **parameters: Any) -> Any:
        """The value of the loss.

        Args:
            *tensors: logits [B, C] or scores [B, L]; targets or positives, as ``takes`` says.
            **parameters: the function's keyword arguments; a whole number may be a float, as it is
                where settings were read as numbers.

        Returns:
            What the function returns, a scalar.
        """
        for name, parameter in (self.parameters or {}).items():
            if parameter.kind == "integer" and isinstance(parameters.get(name), float):
                parameters[name] = int(parameters[name])
        return self.function(*tensors, **parameters)

    def uses_unknown(self, parameters: Mapping[str, Any]) -> bool | None:
        """Whether the gradient depends on unknown labels (or labels that are not positive).

        Args:
            parameters: as in settings; what is left out has its default.

        Returns:
            None where that is not known.
        """
        if self.ignores_unknown is None:
            return None
        given = self._with_defaults(parameters)
        return not any(given.get(name) == value for name, value in self.ignores_unknown.items())

    def check(
        self,
        parameters: Mapping[str, Any],
        *,
        where: str = "loss.parameters",
        tensors: Collection[str] = (),
        num_classes: int | None = None,
    ) -> None:
        """Check settings of the loss before anything is loaded.

        Args:
            parameters: name -> value.
            where: the setting that holds them, named in messages.
            tensors: parameters that the caller gives as tensors, whatever ``parameters`` says.
            num_classes: bounds some parameters; None where it is not known yet.

        Raises:
            UserError: an unknown name (with the nearest valid one), a missing one, a value of the
                wrong type or out of range, or values that do not go together.
        """
        for name, reason in RESERVED.items():
            if name in parameters:
                raise UserError(f"{where}: {name} {reason}")
        if self.parameters is None:
            return
        self._check_names(parameters, where, tensors)
        for name, value in parameters.items():
            parameter = self.parameters[name]
            if name in tensors and parameter.takes_tensor:
                continue
            if parameter.kind == "tensor" and value is not None:
                raise UserError(f"{where}.{name}: a tensor, which no config can give; leave it out")
            if not parameter.accepts(value, num_classes):
                valid = parameter.describe(num_classes)
                raise UserError(f"{where}.{name} must be {valid} for {self.name}, got {value!r}")
        if self.relation is not None:
            given = dict.fromkeys(tensors, "a tensor")
            wrong = self.relation({**self._with_defaults(parameters), **given})
            if wrong is not None:
                raise UserError(f"{where}: {self.name}: {wrong}")

    def _check_names(
        self, parameters: Mapping[str, Any], where: str, tensors: Collection[str]
    ) -> None:
        known = self.parameters or {}
        missing = {
            name: parameter
            for name, parameter in known.items()
            if parameter.default is REQUIRED and name not in parameters and name not in tensors
        }
        for name, parameter in missing.items():
            if parameter.kind == "tensor":
                raise UserError(
                    f"{where}: {self.name} needs the tensor {name}, which no config can give; it "
                    "is for training loops of your own"
                )
        settable = [name for name, parameter in known.items() if parameter.kind != "tensor"]
        for name in parameters:
            if name not in known:
                raise UserError(
                    f"{where}: {self.name} has no parameter {name!r}; {closest(name, settable)}; "
                    f"to drop those that a config file has for another loss, set {where} to {{}}"
                )
        if missing:
            raise UserError(f"{where}: {self.name} needs {', '.join(missing)}")

    def _with_defaults(self, parameters: Mapping[str, Any]) -> dict[str, Any]:
        known = self.parameters or {}
        defaults = {name: p.default for name, p in known.items() if p.default is not REQUIRED}
        return {**defaults, **parameters}
