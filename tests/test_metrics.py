import math

import numpy as np
import pytest
from numpy.typing import NDArray

from upscaler import metrics

Levels = NDArray[np.float64]


def slow_psnr_db(result: Levels, expected: Levels, border: int) -> float:
    height, width = result.shape
    total, count = 0.0, 0
    for row in range(border, height - border):
        for column in range(border, width - border):
            total += (result[row, column] - expected[row, column]) ** 2
            count += 1
    return 10 * math.log10(255 * 255 / (total / count))


def slow_ssim(result: Levels, expected: Levels, border: int) -> float:
    """Straight from Wang et al. (2004): a weighted mean, variance and covariance in every window."""
    result, expected = (
        side[border : len(side) - border, border : side.shape[1] - border] for side in (result, expected)
    )
    window = np.zeros((11, 11))
    for row in range(11):
        for column in range(11):
            window[row, column] = math.exp(-((row - 5) ** 2 + (column - 5) ** 2) / (2 * 1.5**2))
    window /= window.sum()
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    values = []
    for row in range(result.shape[0] - 10):
        for column in range(result.shape[1] - 10):
            x = result[row : row + 11, column : column + 11]
            y = expected[row : row + 11, column : column + 11]
            mean_x, mean_y = (window * x).sum(), (window * y).sum()
            variance_x = (window * (x - mean_x) ** 2).sum()
            variance_y = (window * (y - mean_y) ** 2).sum()
            covariance = (window * (x - mean_x) * (y - mean_y)).sum()
            values.append(
                (2 * mean_x * mean_y + c1)
                * (2 * covariance + c2)
                / ((mean_x**2 + mean_y**2 + c1) * (variance_x + variance_y + c2))
            )
    return float(np.mean(values))


@pytest.fixture
def pair() -> tuple[Levels, Levels]:
    random = np.random.default_rng(0)
    expected = random.integers(0, 256, (24, 29)).astype(np.float64)
    return np.clip(expected + random.integers(-30, 31, expected.shape), 0, 255), expected


@pytest.mark.parametrize("border", [0, 4])
def test_psnr_equals_the_slow_one(pair: tuple[Levels, Levels], border: int) -> None:
    assert metrics.psnr_db(*pair, border) == pytest.approx(slow_psnr_db(*pair, border), abs=1e-9)


@pytest.mark.parametrize("border", [0, 4])
def test_ssim_equals_the_slow_one(pair: tuple[Levels, Levels], border: int) -> None:
    assert metrics.ssim(*pair, border) == pytest.approx(slow_ssim(*pair, border), abs=1e-9)


def test_known_values(pair: tuple[Levels, Levels]) -> None:
    _, expected = pair
    assert metrics.psnr_db(expected, expected) == math.inf
    assert metrics.ssim(expected, expected) == pytest.approx(1)
    assert metrics.psnr_db(expected, expected + 1) == pytest.approx(48.1308, abs=1e-4)
    black, white = np.zeros((16, 16)), np.full((16, 16), 255.0)
    assert metrics.psnr_db(black, white) == 0
    assert metrics.ssim(black, white) == pytest.approx(1e-4, rel=1e-3)  # c1 / (255^2 + c1)


def test_border_is_left_out(pair: tuple[Levels, Levels]) -> None:
    _, expected = pair
    result = expected.copy()
    result[:3], result[-3:], result[:, :3], result[:, -3:] = 0, 0, 0, 0
    assert metrics.psnr_db(result, expected, 3) == math.inf
    assert metrics.psnr_db(result, expected, 2) < 30


def test_luma_is_studio_swing_and_whole_numbers() -> None:
    colors = [(255, 255, 255), (0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255), (128, 128, 128)]
    values = metrics.luma(np.array([colors], dtype=np.uint8))
    # rgb2ycbcr of Matlab: 16 + (65.481 R + 128.553 G + 24.966 B) / 255, rounded.
    assert values.tolist() == [[235, 16, 81, 145, 41, 126]]


def test_gray_is_full_range_and_keeps_gray_pixels() -> None:
    ramp = np.repeat(np.arange(256, dtype=np.uint8)[None, :, None], 3, axis=2)
    assert metrics.gray(ramp).tolist() == [list(range(256))]
    assert metrics.gray(np.array([[[255, 0, 0]]], dtype=np.uint8)).tolist() == [[76]]
