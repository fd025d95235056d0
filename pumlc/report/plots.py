"""Plots as inline SVG: lines over two axes, coloured by classes of the page's style sheet."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from markupsafe import Markup, escape

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 46, 12, 12, 40
COLOURS = 8
"""Classes s0 to s7 of the style sheet."""


@dataclass(frozen=True)
class Line:
    """Points joined by a line, or bars.

    Attributes:
        name: for the legend; text, whatever it holds.
        x, y: the points; those that are not finite are left out.
        colour: number of the colour; equal numbers look equal.
        kind: "line"; "dots": a line with a dot at each point; "dashes".
    """

    name: str
    x: Sequence[float] | np.ndarray
    y: Sequence[float] | np.ndarray
    colour: int = 0
    kind: Literal["line", "dots", "dashes"] = "line"


def line_plot(
    lines: Sequence[Line],
    *,
    title: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] | None = None,
    y_range: tuple[float, float] | None = None,
) -> Markup:
    """One plot.

    Args:
        lines: what it shows.
        title: read aloud in place of the picture.
        x_label: below the axis.
        y_label: beside the axis.
        x_range: None: that of the points.
        y_range: None: that of the points.
    """
    points = [_finite(line) for line in lines]
    x_low, x_high = x_range or _range([x for x, _ in points])
    y_low, y_high = y_range or _range([y for _, y in points])

    def at(x: float, y: float) -> tuple[float, float]:
        across = (x - x_low) / (x_high - x_low) * (WIDTH - LEFT - RIGHT)
        up = (y - y_low) / (y_high - y_low) * (HEIGHT - TOP - BOTTOM)
        return round(LEFT + across, 1), round(HEIGHT - BOTTOM - up, 1)

    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        *_axes(at, (x_low, x_high), (y_low, y_high), x_label, y_label),
    ]
    for line, (xs, ys) in zip(lines, points, strict=True):
        places = [at(x, y) for x, y in zip(xs, ys, strict=True)]
        path = " ".join(f"{x},{y}" for x, y in places)
        name = f"<title>{escape(line.name)}</title>"
        kind = " dashes" if line.kind == "dashes" else ""
        colour = f"s{line.colour % COLOURS}"
        parts.append(f'<polyline class="{colour}{kind}" points="{path}">{name}</polyline>')
        if line.kind == "dots":
            parts += [
                f'<circle class="{colour}" cx="{x}" cy="{y}" r="3">{name}</circle>'
                for x, y in places
            ]
    return Markup("".join([*parts, "</svg>"]))  # noqa: S704 (every text in it is escaped)


def ticks(low: float, high: float) -> list[float]:
    """About five round numbers inside of a range.

    Example:
        >>> ticks(0, 1)
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
    """
    rough = (high - low) / 5
    power = 10 ** np.floor(np.log10(rough))
    step = power * min((1, 2, 5, 10), key=lambda factor: abs(factor * power - rough))
    first = np.ceil(low / step - 1e-9)
    return [
        float(round((first + i) * step, 10))
        for i in range(int((high - first * step) / step) + 2)
        if (first + i) * step <= high + 1e-9 * step
    ]


def _finite(line: Line) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(line.x, np.float64), np.asarray(line.y, np.float64)
    kept = np.isfinite(x) & np.isfinite(y)
    return x[kept], y[kept]


def _range(values: Sequence[np.ndarray]) -> tuple[float, float]:
    each = np.concatenate([*values, np.zeros(0)])
    if not len(each):
        return 0.0, 1.0
    low, high = float(each.min()), float(each.max())
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def _axes(at, x_range, y_range, x_label: str, y_label: str) -> list[str]:
    parts = []
    for value in ticks(*x_range):
        x, y = at(value, y_range[0])
        parts.append(f'<line class="grid" x1="{x}" x2="{x}" y1="{TOP}" y2="{y}"/>')
        parts.append(f'<text x="{x}" y="{y + 14}" text-anchor="middle">{value:g}</text>')
    for value in ticks(*y_range):
        x, y = at(x_range[0], value)
        parts.append(f'<line class="grid" x1="{x}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{x - 5}" y="{y + 4}" text-anchor="end">{value:g}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{HEIGHT - 6}" text-anchor="middle">{escape(x_label)}</text>'
    )
    across = (TOP + HEIGHT - BOTTOM) / 2
    parts.append(
        f'<text transform="rotate(-90 12 {across})" x="12" y="{across}" text-anchor="middle">'
        f"{escape(y_label)}</text>"
    )
    return parts
