"""Alpha is upscaled with smooth edges, and colours that it hides do not show."""

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.pictures import photograph

from upscaler import pipeline, transparency
from upscaler.images import stills
from upscaler.inference.engine import Upscaler
from upscaler.inference.resize import resize_bicubic
from upscaler.jobs import Job
from upscaler.options import ImageOptions
from upscaler.pixels import Pixels


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_transparent_pixels_get_the_nearest_visible_colour(kind: type) -> None:
    pixels = photograph(16, 18).astype(kind)
    alpha = (np.random.default_rng(0).random((16, 18)) < 0.1).astype(kind)
    filled = transparency.bleed_colors(pixels, alpha)
    visible = np.argwhere(alpha)
    for row, column in np.ndindex(16, 18):
        away = np.hypot(*(visible - (row, column)).T)
        near = visible[away <= away.min() * 1.1 + 1e-6]  # OpenCV measures to a few percent
        assert (filled[row, column] == pixels[tuple(near.T)]).all(1).any()
    assert filled.dtype == kind


@pytest.mark.parametrize("value", [0, 255])
def test_fully_transparent_or_opaque_images_are_not_changed(value: int) -> None:
    pixels = photograph(16, 18)
    assert transparency.bleed_colors(pixels, np.full((16, 18), value, np.uint8)) is pixels


def test_cut_out_objects_have_no_fringe(tmp_path: Path) -> None:
    rows, columns = np.mgrid[0:48, 0:48]
    disc = np.hypot(rows - 24, columns - 24) < 15
    rgba = np.where(disc[:, :, None], 255, 0).astype(np.uint8).repeat(4, 2)  # white on transparent black
    Image.fromarray(rgba).save(tmp_path / "a.png")
    job = Job(tmp_path / "a.png", tmp_path / "b.png", "still")
    pipeline.upscale_still(
        job, Upscaler("fast", 2, precision="fp32"), ImageOptions(), lambda _: None, lambda _: None
    )
    still = stills.read(tmp_path / "b.png")
    assert still.alpha is not None
    alpha = still.alpha[:, :, None] / 255
    assert (still.pixels * alpha + 255 * (1 - alpha)).min() > 250


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_uniform_alpha_stays_exact(kind: type) -> None:
    peak = np.iinfo(kind).max
    alpha = np.full((12, 12), peak, kind)
    alpha[:, 6:] = 0
    alpha[0, 0] = peak - 1
    upscaled = transparency.snap_flat_alpha(np.full((24, 24, 3), 7, kind), alpha)
    assert (upscaled[:, :10][4:] == peak).all() and (upscaled[:, 14:] == 0).all()
    assert (upscaled[:, 10:14] == 7).all() and (upscaled[:4, :4] == 7).all()
    assert (transparency.snap_flat_alpha(np.full((24, 24, 3), 7, kind), alpha // 2)[:, 14:] == 0).all()
    constant = np.full((5, 6), 99, kind)
    assert (transparency.snap_flat_alpha(np.full((14, 17, 3), 7, kind), constant) == 99).all()


@pytest.mark.parametrize("kind", [np.uint8, np.uint16])
def test_uniform_alpha_needs_no_network(kind: type) -> None:
    def unasked(_: Pixels) -> Pixels:
        raise AssertionError("the network was asked")

    upscaled = transparency.upscale_alpha(np.full((5, 6), 99, kind), 14, 17, unasked)
    assert upscaled.shape == (14, 17) and upscaled.dtype == kind and (upscaled == 99).all()
    with pytest.raises(AssertionError, match="asked"):
        transparency.upscale_alpha(np.eye(5, 6, dtype=kind), 14, 17, unasked)


def test_edges_of_alpha_are_smooth(tmp_path: Path) -> None:
    """An upscaled disc of binary alpha is closer to a disc drawn at that size than bicubic's."""

    def disc(side: int) -> NDArray[np.uint8]:
        rows, columns = (np.mgrid[0:side, 0:side] + 0.5) / side
        return ((np.hypot(rows - 0.5, columns - 0.5) < 0.35) * 255).astype(np.uint8)

    picture = Image.fromarray(photograph(32, 32))
    picture.putalpha(Image.fromarray(disc(32)))
    picture.save(tmp_path / "a.png")
    job = Job(tmp_path / "a.png", tmp_path / "b.png", "still")
    pipeline.upscale_still(
        job, Upscaler("balanced", 4, precision="fp32"), ImageOptions(), lambda _: None, lambda _: None
    )
    alpha = stills.read(tmp_path / "b.png").alpha
    assert alpha is not None
    bicubic = resize_bicubic(torch.from_numpy(disc(32))[None, None], 128, 128)[0, 0].numpy()
    off, off_bicubic = (np.abs(upscaled.astype(int) - disc(128)).mean() for upscaled in (alpha, bicubic))
    assert off < 0.9 * off_bicubic
