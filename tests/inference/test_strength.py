"""``--strength``: the network's result, blended with plain bicubic enlargement."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.networks import weights
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.errors import UsageError
from upscaler.inference.strength import enlarged

PHOTO = photograph(37, 45)


def results(file: Path, **options: object) -> list[np.ndarray]:
    """The picture at strength 0, 0.5 and 1, as floats."""
    return [
        Upscaler(file, precision="fp32", strength=strength, **options).image(PHOTO).astype(float)
        for strength in (0, 0.5, 1)
    ]


def is_mean(half: np.ndarray, none: np.ndarray, full: np.ndarray) -> bool:
    """Where nothing is clamped."""
    inside = (none > 0) & (none < 255) & (full > 0) & (full < 255)
    return bool(np.abs(half - (none + full) / 2)[inside].max() <= 1 and inside.mean() > 0.3)


@pytest.mark.parametrize("scale", [2, 3, 2.5])
def test_strength_is_a_weighted_mean(tmp_path: Path, scale: float) -> None:
    file = weights(tmp_path / "a.safetensors", scale=int(np.ceil(scale)), detail=1.0)
    none, half, full = results(file, scale=scale)
    assert is_mean(half, none, full)
    assert np.abs(none - full).max() > 20
    again = Upscaler(file, scale=scale, precision="fp32").image(PHOTO)
    assert np.array_equal(again, full.astype(np.uint8))
    pixels = torch.from_numpy(PHOTO / 255).permute(2, 0, 1)[None].float()
    size = none.shape[:2]
    plain = F.interpolate(pixels, size=size, mode="bicubic", antialias=True)[0].permute(1, 2, 0) * 255
    # At the edges, weights are normalized there, and pixels repeat here.
    inside = np.s_[8:-8, 8:-8]
    assert np.abs(none - plain.clamp(0, 255).numpy())[inside].max() <= 0.51


def test_a_chain_is_blended_with_what_goes_into_it(tmp_path: Path) -> None:
    first = weights(tmp_path / "a.safetensors", scale=1, detail=1.0)
    second = weights(tmp_path / "b.safetensors", scale=2, detail=1.0)
    none, half, full = results([first, second])  # type: ignore[arg-type]
    alone, *_ = results(second)
    assert np.array_equal(none, alone) and is_mean(half, none, full)


def test_no_strength_at_scale_1_is_the_source(tmp_path: Path) -> None:
    none, *_ = results(weights(tmp_path / "a.safetensors", scale=1, detail=1.0))
    assert np.array_equal(none, PHOTO)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_tiles_make_no_difference(tmp_path: Path, dtype: type) -> None:
    file = weights(tmp_path / "a.safetensors", detail=1.0)
    picture = PHOTO.astype(dtype) * (257 if dtype is np.uint16 else 1)
    whole, tiled = (
        Upscaler(file, precision="fp32", strength=0.3, tile_px=tile_px).image(picture)
        for tile_px in (None, 20)
    )
    assert np.abs(whole.astype(int) - tiled).max() <= 1 and whole.dtype == dtype


def test_bicubic_keeps_what_is_linear() -> None:
    ramp = torch.arange(12.0).repeat(9, 1)
    larger = enlarged(ramp, 36, 48)
    assert torch.allclose(larger[:, 12:-12], (torch.arange(48.0) / 4 - 0.375)[12:-12].expand(36, -1))


def test_out_of_range(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--strength 1.5 must be a number from 0 to 1"):
        Upscaler(strength=1.5)
