"""What only a GPU can show. Everything here also has a test that runs on a processor."""

from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import photograph
from media import clip, frame_times, pictures

from upscaler import Upscaler, pipeline
from upscaler.jobs import Job
from upscaler.options import VideoOptions

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU"),
]


@pytest.mark.parametrize("model", ["fast", "balanced"])
def test_half_precision_on_the_gpu_is_within_one_code_of_the_processor(model: str) -> None:
    pixels = photograph(240, 320)
    exact = Upscaler(model, 4, device="cpu", precision="fp32").image(pixels).astype(int)
    upscaler = Upscaler(model, 4, device="cuda")
    assert upscaler.dtype is torch.float16
    difference = np.abs(upscaler.image(pixels).astype(int) - exact)
    assert (difference <= 1).mean() >= 0.999
    assert upscaler.take_notices() == []


def test_tiles_on_the_gpu_give_the_whole_picture() -> None:
    pixels = photograph(300, 400)
    whole = Upscaler("fast", 4, device="cuda", precision="fp32").image(pixels).astype(int)
    tiled = Upscaler("fast", 4, device="cuda", precision="fp32", tile_px=96).image(pixels)
    assert np.abs(whole - tiled).max() <= 1


def test_the_probe_bounds_what_goes_through_at_once() -> None:
    free = Upscaler("balanced", 4, device="cuda")
    bound = Upscaler("balanced", 4, device="cuda", memory_limit_gb=0.05)
    assert bound._stage(4).pixels_at_once < free._stage(4).pixels_at_once
    pixels = photograph(400, 500)
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    bound.image(pixels)
    assert torch.cuda.max_memory_allocated() - before < 0.2e9


def test_a_video_on_the_gpu_is_the_video_of_the_processor(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=10)
    for device in ("cpu", "cuda"):
        job = Job(source, tmp_path / f"{device}.mp4", "video")
        engine = Upscaler("fast", 2, device=device)
        pipeline.upscale_video(job, engine, VideoOptions(crf=4), lambda _: None, lambda _: None)
    assert frame_times(tmp_path / "cuda.mp4") == frame_times(tmp_path / "cpu.mp4")
    difference = np.abs(pictures(tmp_path / "cuda.mp4").astype(int) - pictures(tmp_path / "cpu.mp4"))
    assert difference.mean() < 1.0


def test_frames_in_flight_are_pictures_one_by_one() -> None:
    upscaler = Upscaler("fast", 2, device="cuda", batch=2)
    frames = [photograph(60, 80, seed) for seed in range(7)] + [photograph(40, 40)]
    for made, frame in zip(upscaler.frames(frames), frames, strict=True):
        assert np.abs(made.astype(int) - upscaler.image(frame)).max() <= 1


def test_self_ensemble_on_the_gpu_is_that_of_the_processor() -> None:
    """Its transposed versions are captured as graphs of their own."""
    exact = Upscaler("fast", 2, device="cpu", precision="fp32", tta=True).image(photograph(60, 80))
    upscaler = Upscaler("fast", 2, device="cuda", tta=True)
    for _ in range(3):
        made = upscaler.image(photograph(60, 80))
    assert len(upscaler._stage(2).runtime()._graphs) == 2
    assert np.abs(made.astype(int) - exact).max() <= 1
    frames = [photograph(60, 80, seed) for seed in range(5)]
    for made, frame in zip(upscaler.frames(frames), frames, strict=True):
        assert np.abs(made.astype(int) - upscaler.image(frame)).max() <= 1
    assert upscaler.take_notices() == []


def test_captured_work_gives_what_uncaptured_work_gives() -> None:
    upscaler = Upscaler("fast", 2, device="cuda")
    pictures_before = [upscaler.image(photograph(60, 80, seed)) for seed in range(2)]
    assert not upscaler._stage(2).runtime()._graphs
    for _ in range(4):
        upscaler.image(photograph(60, 80, 5))
    assert upscaler._stage(2).runtime()._graphs
    for seed, before in enumerate(pictures_before):
        assert np.array_equal(upscaler.image(photograph(60, 80, seed)), before)
    assert upscaler.take_notices() == []


def test_an_overflow_in_flight_is_redone_in_a_safer_precision() -> None:
    upscaler = Upscaler("fast", 2, device="cuda")
    frames = [photograph(60, 80, seed) for seed in range(6)]
    expected = list(Upscaler("fast", 2, device="cuda", precision="bf16").frames(frames))
    with torch.no_grad():
        upscaler._stage(2).network.head.weight.fill_(float("inf"))  # only in the fp16 network
    for made, wanted in zip(upscaler.frames(frames), expected, strict=True):
        assert np.abs(made.astype(int) - wanted).max() <= 1
    assert upscaler.take_notices() == ["values overflowed in fp16: redone in bf16"]


def test_compiled_on_the_gpu_equals_eager() -> None:
    pixels = photograph(60, 80)
    eager = Upscaler("fast", 2, device="cuda", runtime="eager").image(pixels).astype(int)
    upscaler = Upscaler("fast", 2, device="cuda", runtime="compiled")
    assert np.abs(upscaler.image(pixels) - eager).max() <= 1
    assert upscaler.take_notices() == []
