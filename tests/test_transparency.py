"""What was hidden by transparency does not show."""

from pathlib import Path

import numpy as np
import pytest
from conftest import photograph
from PIL import Image

from upscaler import pipeline, stills, transparency
from upscaler.engine import Upscaler
from upscaler.jobs import Job


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_hidden_colours_are_the_nearest_that_are_seen(kind: type) -> None:
    pixels = photograph(16, 18).astype(kind)
    alpha = (np.random.default_rng(0).random((16, 18)) < 0.1).astype(kind)
    filled = transparency.revealed(pixels, alpha)
    seen = np.argwhere(alpha)
    for row, column in np.ndindex(16, 18):
        away = np.hypot(*(seen - (row, column)).T)
        near = seen[away <= away.min() * 1.1 + 1e-6]  # OpenCV measures to a few percent
        assert (filled[row, column] == pixels[tuple(near.T)]).all(1).any()
    assert filled.dtype == kind


@pytest.mark.parametrize("value", [0, 255])
def test_nothing_or_everything_seen_is_left_as_it_is(value: int) -> None:
    pixels = photograph(16, 18)
    assert transparency.revealed(pixels, np.full((16, 18), value, np.uint8)) is pixels


def test_what_was_cut_out_has_no_fringe(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:48, 0:48]
    disc = np.hypot(rows - 24, columns - 24) < 15
    rgba = np.where(disc[:, :, None], 255, 0).astype(np.uint8).repeat(4, 2)  # white on transparent black
    Image.fromarray(rgba).save(tmp_path / "a.png")
    job = Job(tmp_path / "a.png", tmp_path / "b.png", "still")
    pipeline.upscale_still(job, Upscaler("fast", 2, precision="fp32"), lambda _: None, lambda _: None)
    still = stills.read(tmp_path / "b.png")
    assert still.alpha is not None
    alpha = still.alpha[:, :, None] / 255
    assert (still.pixels * alpha + 255 * (1 - alpha)).min() > 250
