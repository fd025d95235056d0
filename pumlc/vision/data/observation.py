"""Settings of the observed labels: some of the true labels become wrong, most are hidden.

Importable without torch: the command line builds its help from here.
"""

from dataclasses import dataclass
from typing import Literal

from pumlc.engine.config import require
from pumlc.vision.data.noise import NoiseConfig

_SAYS_ITSELF = ("single-positive", "csl-fpc", "positive-list")
"""Protocols that decide themselves how many labels are kept."""


@dataclass(kw_only=True)
class Observation:
    """Which training labels are wrong, and which are hidden."""

    known: float = 1.0
    """proportion of the training labels, positive and negative, that stay known"""
    protocol: Literal[
        "proportion", "dualcoop", "csl-rps", "csl-fpc", "single-positive", "positive-list"
    ] = "proportion"
    """how labels are hidden. proportion: the mask of HCP and PU-MLC for data.known; dualcoop,
    csl-rps: the same law, with the draws of these papers; csl-fpc: each class keeps
    data.known_per_class positives and negatives; single-positive: only one positive per picture is
    kept; positive-list: the pictures and positives that data.positive_list names"""
    known_per_class: int | None = None
    """csl-fpc: number of positives, and of negatives, that each class keeps"""
    noise: NoiseConfig | None = None
    """wrong labels by a protocol of the literature, before the two rates below and before hiding"""
    false_negative: float | dict[str, float] = 0.0
    """rate at which positive training labels are turned negative; or class -> rate, the others 0"""
    false_positive: float | dict[str, float] = 0.0
    """the same for negative training labels that are turned positive"""

    @property
    def hides_labels(self) -> bool:
        """Whether a protocol hides labels: then the known ones are drawn, not chosen by people."""
        return self.known < 1 or self.protocol != "proportion"

    def check_observation(self, where: str) -> None:
        """Refuse values out of their range, and those that do not go together.

        Args:
            where: the group of settings, for messages: ``data``.
        """
        for name in ("false_negative", "false_positive"):
            value = getattr(self, name)
            rates = value.values() if isinstance(value, dict) else [value]
            require(all(0 <= rate <= 1 for rate in rates), f"{where}.{name}", value, "in [0, 1]")
            require(
                self.protocol != "positive-list" or not any(rates),
                f"{where}.{name}",
                value,
                f"0 with {where}.protocol positive-list, which takes the labels of the file",
            )
        require(
            self.protocol != "positive-list" or self.noise is None,
            f"{where}.noise",
            self.noise,
            f"left out with {where}.protocol positive-list, which takes the labels of the file",
        )
        flips_itself = self.noise is not None and self.noise.kind in ("flip", "uniform")
        require(
            not (flips_itself and (self.false_negative or self.false_positive)),
            f"{where}.noise",
            self.noise,
            "another kind beside false_negative and false_positive, since this kind has such rates",
        )
        require(0 < self.known <= 1, f"{where}.known", self.known, "in (0, 1]")
        require(
            self.known == 1 or self.protocol not in _SAYS_ITSELF,
            f"{where}.known",
            self.known,
            f"1 with {where}.protocol {self.protocol}, which decides how many labels are kept",
        )
        require(
            (self.known_per_class is not None) == (self.protocol == "csl-fpc"),
            f"{where}.known_per_class",
            self.known_per_class,
            f"a number exactly when {where}.protocol is csl-fpc",
        )
        require(
            self.known_per_class is None or self.known_per_class >= 1,
            f"{where}.known_per_class",
            self.known_per_class,
            "at least 1",
        )
