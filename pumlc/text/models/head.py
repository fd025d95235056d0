"""The settings of what turns the hidden states of a backbone into one vector; no layers."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from pumlc.errors import UserError

Pooling = Literal["mean", "cls"]
Activation = Literal["identity", "tanh"]


@dataclass(frozen=True)
class Head:
    """What happens to the last hidden states [B, T, H] of a backbone.

    Args:
        pooling: ``mean`` over the tokens of the text, or the first token (``cls``).
        projection: width of a linear layer after pooling; None for no such layer.
        activation: function after the projection.
        normalize: scale the result to length 1.

    Raises:
        UserError: a value is none of these; it may come from the files of a model.
    """

    pooling: Pooling = "mean"
    projection: int | None = None
    activation: Activation = "identity"
    normalize: bool = True

    def __post_init__(self) -> None:
        for name, kind in (("pooling", Pooling), ("activation", Activation)):
            value, valid = getattr(self, name), get_args(kind)
            if value not in valid:
                names = " or ".join(map(repr, valid))
                raise UserError(f"{name} must be {names}, got {value!r}")
        width = self.projection
        if width is not None and (type(width) is not int or width < 1):
            raise UserError(f"projection must be at least 1 or None, got {width!r}")
        if not isinstance(self.normalize, bool):
            raise UserError(f"normalize must be true or false, got {self.normalize!r}")

    @classmethod
    def from_json(cls, content: Any, where: str) -> "Head":
        """The head that a file describes.

        Args:
            content: what JSON made of it.
            where: the file and its key, for errors.

        Raises:
            UserError: it is no head.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(content, Mapping) or set(content) != names:
            raise UserError(f"{where} must have {', '.join(sorted(names))}, got {content!r:.80}")
        try:
            return cls(**content)
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
