"""What only a real GPU of Apple or Intel can show; see ``test_pretended_gpus.py`` for a pretended one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.command import run
from support.media import clip, frame_times, pictures
from support.messages import held_by
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.inference import devices

KINDS = [
    pytest.param(
        "mps",
        marks=[
            pytest.mark.mps,
            pytest.mark.skipif(not torch.backends.mps.is_available(), reason="needs an Apple GPU"),
        ],
    ),
    pytest.param(
        "xpu",
        marks=[
            pytest.mark.xpu,
            pytest.mark.skipif(not torch.xpu.is_available(), reason="needs an Intel GPU"),
        ],
    ),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("model", ["fast", "balanced", "srresnet"])
def test_pictures_are_within_one_code_of_the_processor(kind: str, model: str) -> None:
    pixels = photograph(240, 320)
    exact = Upscaler(model, 4, device="cpu", precision="fp32").image(pixels).astype(int)
    upscaler = Upscaler(model, 4, device=kind)
    assert upscaler.dtype is torch.float16
    difference = np.abs(upscaler.image(pixels).astype(int) - exact)
    assert (difference <= 1).mean() >= 0.999
    assert held_by(upscaler) == []


@pytest.mark.parametrize("kind", KINDS)
def test_tiles_give_the_whole_picture(kind: str) -> None:
    pixels = photograph(300, 400)
    whole = Upscaler("fast", 4, device=kind, precision="fp32").image(pixels).astype(int)
    tiled = Upscaler("fast", 4, device=kind, precision="fp32", tile_px=96).image(pixels)
    assert np.abs(whole - tiled).max() <= 1


@pytest.mark.parametrize("kind", KINDS)
def test_memory_is_told(kind: str) -> None:
    device = devices.select(kind)
    assert devices.free_memory_bytes(device) > 1 << 28
    assert devices.name(device)


@pytest.mark.parametrize("kind", KINDS)
def test_a_video_is_that_of_the_processor(kind: str, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=10)
    for device in ("cpu", kind):
        run(source, "-o", tmp_path / f"{device}.mp4", "--model", "fast", "--crf", 4, "--device", device)
    assert frame_times(tmp_path / f"{kind}.mp4") == frame_times(tmp_path / "cpu.mp4")
    difference = np.abs(pictures(tmp_path / f"{kind}.mp4").astype(int) - pictures(tmp_path / "cpu.mp4"))
    assert difference.mean() < 1.0
