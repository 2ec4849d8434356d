"""What only a GPU can show. Everything here also has a test that runs on a processor."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support.films import film_engine
from support.makers import Configure
from support.media import clip, frame_times, pictures
from support.messages import held_by
from support.networks import network_of
from support.pictures import photograph
from support.training import messages, silent, table

from upscaler import Upscaler, pipeline
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.data import crop_stores
from upscaler.trainer.loops import train

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
    assert held_by(upscaler) == []


def test_tiles_on_the_gpu_give_the_whole_picture() -> None:
    pixels = photograph(300, 400)
    whole = Upscaler("fast", 4, device="cuda", precision="fp32").image(pixels).astype(int)
    tiled = Upscaler("fast", 4, device="cuda", precision="fp32", tile_px=96).image(pixels)
    assert np.abs(whole - tiled).max() <= 1


def test_a_chain_on_the_gpu_is_the_chain_of_the_processor() -> None:
    pixels = photograph(60, 80)
    expected = Upscaler(["restore", "fast"], 2, device="cpu", precision="fp32").image(pixels).astype(int)
    upscaler = Upscaler(["restore", "fast"], 2, device="cuda", precision="fp32")
    for made in (upscaler.image(pixels), next(iter(upscaler.frames([pixels])))):
        assert np.abs(made - expected).max() <= 1


def test_a_film_on_the_gpu_is_that_of_the_processor(tmp_path: Path) -> None:
    large = photograph(72, 120)
    images = [large[:, start : start + 96].copy() for start in range(0, 12, 3)]
    engines = film_engine(tmp_path), film_engine(tmp_path, device="cuda")
    for one, other in zip(*(engine.frames(images) for engine in engines), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 2


def test_the_probe_limits_the_batch() -> None:
    free = Upscaler("balanced", 4, device="cuda")
    bound = Upscaler("balanced", 4, device="cuda", memory_limit_gb=0.05)
    assert network_of(bound, 4).max_batch_px < network_of(free, 4).max_batch_px
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
    for result, frame in zip(upscaler.frames(frames), frames, strict=True):
        assert np.abs(result.astype(int) - upscaler.image(frame)).max() <= 1


def test_images_of_one_size_together_are_those_one_by_one() -> None:
    upscaler = Upscaler("fast", 2, device="cuda")
    sources = [photograph(60, 80, seed) for seed in range(7)]
    assert upscaler.batch_for(upscaler.plan(60, 80), 60, 80) >= 7
    for result, source in zip(upscaler.images(sources), sources, strict=True):
        assert np.abs(result.astype(int) - upscaler.image(source)).max() <= 1


def test_self_ensemble_on_the_gpu_is_that_of_the_processor() -> None:
    """Its transposed versions are captured as graphs of their own."""
    exact = Upscaler("fast", 2, device="cpu", precision="fp32", tta=True).image(photograph(60, 80))
    upscaler = Upscaler("fast", 2, device="cuda", tta=True)
    for _ in range(3):
        result = upscaler.image(photograph(60, 80))
    assert len(network_of(upscaler, 2).runtime()._graphs) == 2
    assert np.abs(result.astype(int) - exact).max() <= 1
    frames = [photograph(60, 80, seed) for seed in range(5)]
    for result, frame in zip(upscaler.frames(frames), frames, strict=True):
        assert np.abs(result.astype(int) - upscaler.image(frame)).max() <= 1
    assert held_by(upscaler) == []


def test_captured_work_gives_what_uncaptured_work_gives() -> None:
    upscaler = Upscaler("fast", 2, device="cuda")
    pictures_before = [upscaler.image(photograph(60, 80, seed)) for seed in range(2)]
    assert not network_of(upscaler, 2).runtime()._graphs
    for _ in range(4):
        upscaler.image(photograph(60, 80, 5))
    assert network_of(upscaler, 2).runtime()._graphs
    for seed, before in enumerate(pictures_before):
        assert np.array_equal(upscaler.image(photograph(60, 80, seed)), before)
    assert held_by(upscaler) == []


def test_an_overflow_in_flight_is_redone_in_a_safer_precision() -> None:
    upscaler = Upscaler("fast", 2, device="cuda")
    frames = [photograph(60, 80, seed) for seed in range(6)]
    expected = list(Upscaler("fast", 2, device="cuda", precision="bf16").frames(frames))
    with torch.no_grad():
        network_of(upscaler, 2).network.head.weight.fill_(float("inf"))  # only in the fp16 network
    for result, reference in zip(upscaler.frames(frames), expected, strict=True):
        assert np.abs(result.astype(int) - reference).max() <= 1
    assert held_by(upscaler) == ["values overflowed in fp16: redone in bf16"]


def test_compiled_on_the_gpu_equals_eager() -> None:
    pixels = photograph(60, 80)
    eager = Upscaler("fast", 2, device="cuda", runtime="eager").image(pixels).astype(int)
    upscaler = Upscaler("fast", 2, device="cuda", runtime="compiled")
    assert np.abs(upscaler.image(pixels) - eager).max() <= 1
    assert held_by(upscaler) == []


def test_training_on_the_gpu_is_compiled_and_keeps_its_photographs_there(
    configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In fp32 and of the same crops, so that the losses are those of the processor."""
    cut: list[torch.device] = []
    genuine = crop_stores.DeviceStore.cut

    def counted(rows: crop_stores.DeviceStore, *given: Any) -> tuple[torch.Tensor, torch.Tensor]:  # noqa: ANN401
        lr, hr = genuine(rows, *given)
        cut.append(hr.device)
        return lr, hr

    monkeypatch.setattr(crop_stores.DeviceStore, "cut", counted)
    common = {"precision": "fp32", "degradation": "clean", "checkpoint_every_s": 1e-9}
    on_gpu = configure("gpu", device="cuda", compiled=True, **common)
    said = messages(on_gpu)
    assert not [line for line in said if "uncompiled" in line]
    assert len(cut) == 8
    assert {device.type for device in cut} == {"cuda"}
    on_cpu = configure("cpu", **common)
    messages(on_cpu)
    for one, other in zip(table(on_gpu), table(on_cpu), strict=True):
        if one["pixel"]:
            assert float(one["pixel"]) == pytest.approx(float(other["pixel"]), rel=1e-2)


@pytest.mark.parametrize("compiled", [False, True])
def test_training_on_the_gpu_in_both_stages(configure: Configure, compiled: bool) -> None:
    gan = GanConfig(vgg_weight=0.0, batch=2, patch_px=12, discriminator_channels=8)
    assert train(configure(device="cuda", stages="1,2", gan=gan, compiled=compiled), silent).finished


def test_checkpointing_takes_less_memory_on_the_gpu(configure: Configure) -> None:
    peaks = []
    for checkpointing in (False, True):
        torch.cuda.reset_peak_memory_stats()
        train(
            configure(
                f"checkpointing{checkpointing}",
                device="cuda",
                network="srresnet",
                steps=2,
                batch=16,
                patch_px=48,
                phase2_share=0.0,
                checkpointing=checkpointing,
            ),
            silent,
        )
        peaks.append(torch.cuda.max_memory_allocated())
    assert peaks[1] < 0.7 * peaks[0]
