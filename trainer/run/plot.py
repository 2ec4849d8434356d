"""Draws the curves of a run with Pillow: a plotting library would be the largest dependency."""

import contextlib
import math
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from upscaler import atomic
from upscaler.trainer.run.report import LOSS_TERMS

Points = list[tuple[float, float]]


@dataclass(frozen=True)
class Panel:
    """A diagram: its title, the columns drawn in it, and whether its axis is logarithmic."""

    title: str
    columns: tuple[str, ...]
    logarithmic: bool = False


PANELS = (
    Panel(
        "loss terms, multiplied by their weights",
        LOSS_TERMS,
        logarithmic=True,
    ),
    Panel("scores of the discriminator", ("real_score", "fake_score")),
    Panel("validation PSNR, dB", ("psnr_db", "bicubic_psnr_db")),
    Panel("validation SSIM", ("ssim", "bicubic_ssim")),
    Panel("validation LPIPS (lower is better)", ("lpips", "bicubic_lpips")),
    Panel("validation VGG distance (lower is better)", ("vgg_distance", "bicubic_vgg_distance")),
)

_WIDTH_PX = 900
_HEIGHT_PX = 220
_LEFT_PX = 70
_EDGE_PX = 16
_TOP_PX = 40
_SUPERSAMPLING = 2  # drawn larger by this factor, then reduced
_INK = (40, 40, 40)
_GRID = (225, 225, 225)
_PAPER = (255, 255, 255)
_COLORS = (
    (31, 119, 180),
    (255, 127, 14),
    (44, 160, 44),
    (214, 39, 40),
    (148, 103, 189),
    (140, 86, 75),
    (227, 119, 194),
    (90, 90, 90),
    (188, 189, 34),
    (23, 190, 207),
)


def draw(path: Path, rows: list[dict[str, float]]) -> None:
    """Draw the columns over the steps; panels without values are left out.

    Args:
        path: The PNG to write; a failure to write it does not end a run.
        rows: Values by column, including ``step`` and ``stage``.
    """
    panels = [(panel, _curves(panel, rows)) for panel in PANELS]
    panels = [(panel, curves) for panel, curves in panels if curves]
    if not panels:
        return
    size = (_WIDTH_PX * _SUPERSAMPLING, _HEIGHT_PX * _SUPERSAMPLING * len(panels))
    picture = Image.new("RGB", size, _PAPER)
    steps = [row["step"] for row in rows]
    border = next((row["step"] for row in rows if row.get("stage") == 2), None)
    for index, (panel, curves) in enumerate(panels):
        diagram = _Diagram(picture, index, (min(steps), max(steps)), _range(curves))
        diagram.frame(panel, list(curves), border if border != min(steps) else None)
        for number, points in enumerate(curves.values()):
            diagram.curve(points, _COLORS[number])
    picture = picture.reduce(_SUPERSAMPLING)
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
    """A panel of the image; converts values to pixel positions."""

    def __init__(
        self, picture: Image.Image, index: int, x: tuple[float, float], y: tuple[float, float]
    ) -> None:
        self._draw = ImageDraw.Draw(picture)
        self._font = ImageFont.load_default(11 * _SUPERSAMPLING)
        self._offset, self._x, self._y = index * _HEIGHT_PX, x, y

    def _at(self, step: float, value: float) -> tuple[float, float]:
        across = (step - self._x[0]) / max(1e-12, self._x[1] - self._x[0])
        up = (value - self._y[0]) / (self._y[1] - self._y[0])
        left = _LEFT_PX + across * (_WIDTH_PX - _LEFT_PX - _EDGE_PX)
        top = self._offset + _TOP_PX + (1 - up) * (_HEIGHT_PX - _TOP_PX - 2 * _EDGE_PX)
        return left * _SUPERSAMPLING, top * _SUPERSAMPLING

    def frame(self, panel: Panel, names: list[str], border_step: float | None) -> None:
        """Draw title, labelled grid, coloured names of the curves, and the border between the stages."""
        self._text(_LEFT_PX, self._offset + 4, panel.title, _INK)
        across = _LEFT_PX
        for number, name in enumerate(names if len(names) > 1 else []):
            self._text(across, self._offset + 20, name, _COLORS[number])
            across += 14 + int(self._draw.textlength(name, self._font) / _SUPERSAMPLING)
        for value in _decades(*self._y) if panel.logarithmic else _ticks(*self._y):
            (left, top), (right, _) = self._at(self._x[0], value), self._at(self._x[1], value)
            self._draw.line((left, top, right, top), _GRID, _SUPERSAMPLING)
            label = f"{10**value:.3g}" if panel.logarithmic else f"{value:.4g}"
            self._text(4, top / _SUPERSAMPLING - 7, label, _INK)
        for step in sorted({self._x[0], self._x[1], *([border_step] if border_step is not None else [])}):
            left, bottom = self._at(step, self._y[0])
            self._draw.line((left, bottom, left, self._at(step, self._y[1])[1]), _GRID, _SUPERSAMPLING)
            label = f"{step:.0f}"
            width = self._draw.textlength(label, self._font) / _SUPERSAMPLING
            self._text(
                min(left / _SUPERSAMPLING, _WIDTH_PX - width - 4), bottom / _SUPERSAMPLING + 2, label, _INK
            )

    def curve(self, points: Points, color: tuple[int, int, int]) -> None:
        """Draw a line through the points, with a dot at the last one."""
        positions = [self._at(*point) for point in points]
        self._draw.line(positions, color, 2 * _SUPERSAMPLING, joint="curve")
        left, top = positions[-1]
        radius = 2 * _SUPERSAMPLING
        self._draw.ellipse((left - radius, top - radius, left + radius, top + radius), color)

    def _text(self, left: float, top: float, text: str, color: tuple[int, int, int]) -> None:
        self._draw.text((left * _SUPERSAMPLING, top * _SUPERSAMPLING), text, color, self._font)


def _decades(low: float, high: float) -> list[float]:
    """Logarithms of 1, 2 and 5 times powers of ten in a range of logarithms; of the powers alone if many."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    factors = (1, 2, 5) if high - low < 2.5 else (1,)
    found = [power + math.log10(factor) for power in powers for factor in factors]
    return [value for value in found if low <= value <= high]


def _ticks(low: float, high: float) -> list[float]:
    """Three to seven round values in a range."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * 0.8)
    first = math.ceil(low / step)
    return [step * number for number in range(first, math.floor(high / step) + 1)]
