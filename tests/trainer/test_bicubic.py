"""Resizing as for the published tables: against the formula, pixel by pixel, and against the files."""

import math
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from upscaler.trainer.evaluation import bicubic
from upscaler.trainer.evaluation.lr_images import LrSource
from upscaler.trainer.evaluation.protocol import evaluate
from upscaler.trainer.evaluation.subject import Method, resolve_subject

Plane = list[list[int]]


def keys(x: Fraction) -> Fraction:
    """Equation 15 of Keys (1981), a = -0.5."""
    x = abs(x)
    if x <= 1:
        return Fraction(3, 2) * x**3 - Fraction(5, 2) * x**2 + 1
    if x < 2:
        return -Fraction(1, 2) * x**3 + Fraction(5, 2) * x**2 - 4 * x + 2
    return Fraction(0)


def slow_line(line: list[int], length: int) -> list[int]:
    """Every new pixel: a weighted mean of all old ones and many beyond the border; exact, then rounded."""
    factor = Fraction(len(line), length)  # old pixels per new one
    width = max(factor, Fraction(1))
    result = []
    for number in range(length):
        centre = (number + Fraction(1, 2)) * factor - Fraction(1, 2)
        total = value = Fraction(0)
        for position in range(math.floor(centre - 2 * width) - 1, math.ceil(centre + 2 * width) + 2):
            weight = keys((position - centre) / width)
            total += weight
            value += weight * line[min(max(position, 0), len(line) - 1)]
        result.append(min(max(math.floor(value / total + Fraction(1, 2)), 0), 255))
    return result


def slow(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """One plane: columns first."""
    columns = [slow_line(column, height) for column in pixels.T.tolist()]
    rows = [slow_line(row, width) for row in np.array(columns).T.tolist()]
    return np.array(rows, dtype=np.uint8)


@pytest.mark.parametrize("scale", [2, 3, 4, 8])
@pytest.mark.parametrize("size", [(1, 2), (3, 3), (2, 5)])
def test_against_the_plain_formula(scale: int, size: tuple[int, int]) -> None:
    height, width = size
    random = np.random.default_rng(scale)
    hr = random.integers(0, 256, (height * scale, width * scale), dtype=np.uint8)
    hr[: scale + 1] = 255 * (hr[: scale + 1] > 127)  # beyond the range in some pixels
    lr = hr[:height, :width]
    assert np.array_equal(bicubic.downscale(hr, scale), slow(hr, height, width))
    assert np.array_equal(bicubic.upsample(lr, scale), slow(lr, height * scale, width * scale))


@pytest.mark.parametrize("resized", [bicubic.downscale, bicubic.upsample])
def test_channels_are_resized_alike_and_floats_are_not_rounded(
    resized: Callable[..., NDArray[np.generic]],
) -> None:
    pixels = np.random.default_rng(0).integers(60, 200, (24, 36, 3), dtype=np.uint8)
    result = resized(pixels, 3)
    for channel in range(3):
        assert np.array_equal(result[..., channel], resized(pixels[..., channel], 3))
    exact = resized(pixels.astype(np.float64), 3)
    assert exact.dtype == np.float64
    assert 0.5 < np.abs(exact - result.astype(float)).max() < 1.2  # two roundings, the second of the first's
    assert (exact != exact.round()).any()
    assert resized(pixels, 1) is pixels


def data(name: str) -> Path:
    folder = os.environ.get("UPSCALER_TEST_DATA")
    if not folder:
        pytest.skip(f"needs the benchmark pictures: set UPSCALER_TEST_DATA to the folder with bench/{name}")
    return Path(folder) / "bench" / name


@pytest.mark.parametrize("scale", [2, 3, 4])
@pytest.mark.parametrize(
    ("name", "count"), [("Set5", 5), ("Set14", 14), pytest.param("B100", 100, marks=pytest.mark.slow)]
)
def test_downscaling_reproduces_the_published_lr_files(name: str, count: int, scale: int) -> None:
    folder = data(name)
    lows: list[NDArray[np.uint8]] = []

    def keep(lr: NDArray[np.uint8]) -> NDArray[np.uint8]:
        lows.append(lr)
        return lr.repeat(scale, 0).repeat(scale, 1)

    result = evaluate(Method(scale, keep), folder / "HR")
    assert len(result.scores) == count
    for score, lr in zip(result.scores, lows, strict=True):
        with Image.open(folder / f"LRbicx{scale}" / f"{Path(score.name).stem}x{scale}.png") as picture:
            assert np.array_equal(lr, np.asarray(picture.convert("RGB"))), score.name


PUBLISHED_DB = {
    ("Set5", 2): 33.66,
    ("Set5", 3): 30.39,
    ("Set5", 4): 28.42,
    ("Set14", 2): 30.24,
    ("Set14", 3): 27.55,
    ("Set14", 4): 26.00,
    ("B100", 2): 29.56,
    ("B100", 3): 27.21,
    ("B100", 4): 25.96,
}


@pytest.mark.parametrize(
    ("name", "scale"),
    [pytest.param(*row, marks=[pytest.mark.slow] if row[0] == "B100" else []) for row in PUBLISHED_DB],
)
def test_bicubic_gives_the_published_rows(name: str, scale: int) -> None:
    result = evaluate(resolve_subject("bicubic", scale, LrSource()), data(name) / "HR")
    assert result.mean.psnr_db == pytest.approx(PUBLISHED_DB[name, scale], abs=0.01)
