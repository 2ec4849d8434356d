"""Pictures by models of other projects: as spandrel makes them, tiled as well as whole."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.community import MAKERS, new_rrdb_names, save_pth, spandrel_result, state_of
from support.messages import held_by
from support.networks import network_of
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.errors import UsageError
from upscaler.inference.feathering import FeatheredMerge
from upscaler.inference.padding import pad_reflected
from upscaler.inference.tiling import Limits, plan

COLOR = [name for name in MAKERS if name != "DnCNN gray"]


@pytest.mark.parametrize("name", COLOR)
@pytest.mark.parametrize(("height", "width"), [(37, 51), (5, 3)])
def test_a_picture_is_the_one_of_spandrel(tmp_path: Path, name: str, height: int, width: int) -> None:
    pixels = photograph(height, width) if height > 30 else photograph(64, 64)[:height, :width].copy()
    upscaler = Upscaler(save_pth(tmp_path / "w.pth", name), device="cpu", precision="fp32")
    expected = spandrel_result(state_of(name), pixels)
    assert expected.std() > 0
    assert np.abs(upscaler.image(pixels).astype(int) - expected).max() <= 1


def test_old_and_new_names_of_rrdb_give_the_same_picture(tmp_path: Path) -> None:
    pixels = photograph(30, 40)
    old = save_pth(tmp_path / "old.pth", "RRDB")
    torch.save({"params_ema": new_rrdb_names(state_of("RRDB"))}, tmp_path / "new.pth")
    one, other = (Upscaler(path, device="cpu").image(pixels) for path in (old, tmp_path / "new.pth"))
    assert np.array_equal(one, other)


@pytest.mark.parametrize("name", ["Compact", "Compact x1", "SPAN", "PLKSR", "RRDB unshuffled"])
def test_tiles_of_a_network_of_small_radius_give_the_whole_picture(tmp_path: Path, name: str) -> None:
    path = save_pth(tmp_path / "w.pth", name)
    pixels = photograph(171, 203)
    upscaler = Upscaler(path, device="cpu", precision="fp32", tile_px=140)
    network = network_of(upscaler, int(upscaler.scale))
    if network.network.contract.tiling == "exact":
        assert len(network.tiles(171, 203)) > 1
        assert np.abs(upscaler.image(pixels).astype(int) - spandrel_result(state_of(name), pixels)).max() <= 1
    else:
        pytest.fail(f"{name} is tiled approximately")


@pytest.mark.parametrize("name", ["RRDB deep", "SwinIR"])
def test_approximate_tiles_are_near_the_whole_picture_and_say_so(tmp_path: Path, name: str) -> None:
    path = save_pth(tmp_path / "w.pth", name)
    pixels = photograph(150, 170)
    tiled = Upscaler(path, device="cpu", precision="fp32", tile_px=112)
    error = tiled.image(pixels).astype(float) - spandrel_result(state_of(name), pixels)
    assert np.mean(error**2) < 255**2 / 10**4.5  # 45 dB
    messages = [text for text in held_by(tiled) if "approximate the whole image" in text]
    assert len(messages) == 1
    whole = Upscaler(path, device="cpu", precision="fp32")
    whole.image(pixels)
    assert not held_by(whole)


def test_a_gray_model_works_on_luma_and_keeps_colour(tmp_path: Path) -> None:
    upscaler = Upscaler(save_pth(tmp_path / "w.pth", "DnCNN gray"), device="cpu", precision="fp32")
    gray = photograph(40, 40)[..., :1].repeat(3, 2)
    done = upscaler.image(gray)
    assert (np.ptp(done.astype(int), axis=2) <= 1).all()
    expected = spandrel_result(state_of("DnCNN gray"), gray[..., :1].copy())
    assert np.abs(done[..., :1].astype(int) - expected).max() <= 1
    color = photograph(40, 40)
    differences = color.astype(int)[..., :2] - color[..., 1:]
    inside = (upscaler.image(color) > 0).all(2) & (upscaler.image(color) < 255).all(2)
    kept = upscaler.image(color).astype(int)[..., :2] - upscaler.image(color)[..., 1:]
    assert np.abs(kept - differences)[inside].max() <= 1


def test_sixteen_bits_any_factor_and_ensemble(tmp_path: Path) -> None:
    path = save_pth(tmp_path / "w.pth", "RRDB unshuffled")
    pixels = photograph(33, 45).astype(np.uint16) * 257
    assert Upscaler(path, 3, device="cpu").image(pixels).shape == (99, 135, 3)
    assert Upscaler(path, tta=True, device="cpu").image(pixels).dtype == np.uint16


def test_a_model_of_scale_1_keeps_the_size_and_rejects_to_enlarge(tmp_path: Path) -> None:
    path = save_pth(tmp_path / "w.pth", "Compact x1")
    assert Upscaler(path, device="cpu").image(photograph(20, 24)).shape == (20, 24, 3)
    with pytest.raises(UsageError, match="restores without"):
        Upscaler(path, 2, device="cpu")


def test_a_precision_that_is_not_sound_is_replaced_and_named(tmp_path: Path) -> None:
    upscaler = Upscaler(save_pth(tmp_path / "w.pth", "SwinIR"), device="cpu", precision="fp16")
    upscaler.image(photograph(20, 20))
    assert held_by(upscaler) == ["the network is not sound in fp16: it runs in fp32"]
    assert upscaler.execution(upscaler.plan(20, 20))["precision"] == "fp32"


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.float32])
def test_padding_reflects_then_repeats(dtype: torch.dtype) -> None:
    row = torch.tensor([[1, 2, 3]]).to(dtype)
    assert pad_reflected(row, 2, 7).tolist() == [[1, 2, 3, 2, 1, 1, 1]] * 2
    assert pad_reflected(row, 1, 3) is row


@pytest.mark.parametrize(("side_px", "feather_px"), [(40, 8), (21, 16), (60, 2)])
def test_blended_tiles_of_one_picture_are_that_picture(side_px: int, feather_px: int) -> None:
    """Weights add up to one everywhere, even where tiles are hardly larger than their overlap."""
    picture = torch.rand(3, 90, 103)
    tiles = plan(90, 103, Limits(10, 1, side_px**2, side_px**2, side_px))
    assert len(tiles) > 1
    merge = FeatheredMerge(2, feather_px, 180, 206)
    large = picture.repeat_interleave(2, 1).repeat_interleave(2, 2)
    finished = [
        merge.add(
            large[
                :,
                2 * tile.rows.start : 2 * tile.rows.stop,
                2 * tile.columns.start : 2 * tile.columns.stop,
            ],
            tile,
        )
        for tile in tiles
    ]
    merged = torch.cat([rows for rows in finished if rows is not None], dim=1)
    assert torch.allclose(merged, large, atol=1e-6)
