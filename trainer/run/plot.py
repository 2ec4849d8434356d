"""Curves of a run as a picture, drawn with Pillow: a plotting library would be the largest dependency."""

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from upscaler import atomic

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """One diagram: a title, the columns drawn in it, and whether its values are spread over decades."""

    title: str
    columns: tuple[str, ...]
    logarithmic: bool = False


PANELS = (
    Panel(
        "loss terms, times their weights",
        ("pixel", "fft", "vgg", "adversarial", "features", "tv", "grid", "power", "ldl", "discriminator"),
        logarithmic=True,
    ),
    Panel("discriminator's scores", ("real_score", "fake_score")),
    Panel("validation PSNR, dB", ("psnr_db",)),
    Panel("validation VGG distance (lower is better)", ("vgg_distance",)),
)

_WIDTH_PX, _HEIGHT_PX, _LEFT_PX, _EDGE_PX, _TOP_PX = 900, 220, 70, 16, 40
_SMOOTHER = 2  # drawn so many times larger, then reduced
_INK, _GRID, _PAPER = (40, 40, 40), (225, 225, 225), (255, 255, 255)
_COLORS = (
    *((31, 119, 180), (255, 127, 14), (44, 160, 44), (214, 39, 40)),
    *((148, 103, 189), (140, 86, 75), (227, 119, 194), (90, 90, 90)),
    *((188, 189, 34), (23, 190, 207)),
)


def draw(path: Path, rows: list[dict[str, float]]) -> None:
    """Draw what the rows hold over the steps; a panel without values is left out.

    Args:
        path: The PNG to write; that it cannot be written does not end a run.
        rows: Values by column, ``step`` and ``stage`` among them.
    """
    panels = [(panel, _curves(panel, rows)) for panel in PANELS]
    panels = [(panel, curves) for panel, curves in panels if curves]
    if not panels:
        return
    size = (_WIDTH_PX * _SMOOTHER, _HEIGHT_PX * _SMOOTHER * len(panels))
    picture = Image.new("RGB", size, _PAPER)
    steps = [row["step"] for row in rows]
    border = next((row["step"] for row in rows if row.get("stage") == 2), None)
    for index, (panel, curves) in enumerate(panels):
        diagram = _Diagram(picture, index, (min(steps), max(steps)), _range(curves))
        diagram.frame(panel, list(curves), border if border != min(steps) else None)
        for number, points in enumerate(curves.values()):
            diagram.curve(points, _COLORS[number])
    picture = picture.reduce(_SMOOTHER)
    with contextlib.suppress(OSError), atomic.replacing(path) as partial:
        picture.save(partial, "PNG")


def _curves(panel: Panel, rows: list[dict[str, float]]) -> dict[str, Points]:
    curves = {}
    for column in panel.columns:
        points = [(row["step"], row[column]) for row in rows if column in row]
        if panel.logarithmic:
            points = [(step, math.log10(value)) for step, value in points if value > 0]
        points = [(step, value) for step, value in points if math.isfinite(value)]
        if points:
            curves[column] = points
    return curves


def _range(curves: dict[str, Points]) -> tuple[float, float]:
    values = [value for points in curves.values() for _, value in points]
    low, high = min(values), max(values)
    margin = 0.05 * (high - low) or 0.5
    return low - margin, high + margin


class _Diagram:
    """One panel's place in the picture, and the way from values to pixels."""

    def __init__(
        self, picture: Image.Image, index: int, x: tuple[float, float], y: tuple[float, float]
    ) -> None:
        self._draw = ImageDraw.Draw(picture)
        self._font = ImageFont.load_default(11 * _SMOOTHER)
        self._offset, self._x, self._y = index * _HEIGHT_PX, x, y

    def _at(self, step: float, value: float) -> tuple[float, float]:
        across = (step - self._x[0]) / max(1e-12, self._x[1] - self._x[0])
        up = (value - self._y[0]) / (self._y[1] - self._y[0])
        left = _LEFT_PX + across * (_WIDTH_PX - _LEFT_PX - _EDGE_PX)
        top = self._offset + _TOP_PX + (1 - up) * (_HEIGHT_PX - _TOP_PX - 2 * _EDGE_PX)
        return left * _SMOOTHER, top * _SMOOTHER

    def frame(self, panel: Panel, names: list[str], border_step: float | None) -> None:
        """Title, grid with numbers, names in the colours of their curves, the border between the stages."""
        self._text(_LEFT_PX, self._offset + 4, panel.title, _INK)
        across = _LEFT_PX
        for number, name in enumerate(names if len(names) > 1 else []):
            self._text(across, self._offset + 20, name, _COLORS[number])
            across += 14 + int(self._draw.textlength(name, self._font) / _SMOOTHER)
        for value in _decades(*self._y) if panel.logarithmic else _ticks(*self._y):
            (left, top), (right, _) = self._at(self._x[0], value), self._at(self._x[1], value)
            self._draw.line((left, top, right, top), _GRID, _SMOOTHER)
            label = f"{10**value:.3g}" if panel.logarithmic else f"{value:.4g}"
            self._text(4, top / _SMOOTHER - 7, label, _INK)
        for step in sorted({self._x[0], self._x[1], *([border_step] if border_step is not None else [])}):
            left, bottom = self._at(step, self._y[0])
            self._draw.line((left, bottom, left, self._at(step, self._y[1])[1]), _GRID, _SMOOTHER)
            label = f"{step:.0f}"
            width = self._draw.textlength(label, self._font) / _SMOOTHER
            self._text(min(left / _SMOOTHER, _WIDTH_PX - width - 4), bottom / _SMOOTHER + 2, label, _INK)

    def curve(self, points: Points, color: tuple[int, int, int]) -> None:
        """A line through the points; a dot when there is only one."""
        places = [self._at(*point) for point in points]
        self._draw.line(places, color, 2 * _SMOOTHER, joint="curve")
        left, top = places[-1]
        reach = 2 * _SMOOTHER
        self._draw.ellipse((left - reach, top - reach, left + reach, top + reach), color)

    def _text(self, left: float, top: float, text: str, color: tuple[int, int, int]) -> None:
        self._draw.text((left * _SMOOTHER, top * _SMOOTHER), text, color, self._font)


def _decades(low: float, high: float) -> list[float]:
    """Logarithms of 1, 2 and 5 times powers of ten between two logarithms; of the powers alone if many."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    factors = (1, 2, 5) if high - low < 2.5 else (1,)
    found = [power + math.log10(factor) for power in powers for factor in factors]
    return [value for value in found if low <= value <= high]


def _ticks(low: float, high: float) -> list[float]:
    """Round values between two, three to seven of them."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.8)
    first = math.ceil(low / step)
    return [step * number for number in range(first, math.floor(high / step) + 1)]
