"""Pictures and a film on GPUs other than NVIDIA's, pretended: see ``support/pretended_gpu.py``."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from support.command import run
from support.media import clip, frame_times, pictures, save
from support.messages import Messages, held_by
from support.networks import network_of
from support.pictures import photograph
from support.pretended_gpu import PretendedGpu, pretended

from upscaler import Upscaler, pipeline
from upscaler.errors import DeviceError
from upscaler.jobs import Job
from upscaler.options import VideoOptions

KINDS = ["mps", "xpu"]


@pytest.fixture(params=KINDS)
def gpu(request: pytest.FixtureRequest) -> Iterator[PretendedGpu]:
    with pretended(request.param) as found:
        yield found


def exact(model: Path, pixels: np.ndarray, **options: object) -> np.ndarray:
    return Upscaler(model, device="cpu", precision="fp32", **options).image(pixels).astype(int)


@pytest.mark.parametrize("options", [{}, {"tta": True}, {"tile_px": 24}, {"scale": 3}])
def test_pictures_in_fp16_are_those_of_the_processor(
    gpu: PretendedGpu, tiny_weights: Path, options: dict[str, object]
) -> None:
    pixels = photograph(36, 44)
    upscaler = Upscaler(tiny_weights, **options)
    assert (upscaler.device.type, upscaler.dtype) == (gpu.kind, torch.float16)
    expected = exact(tiny_weights, pixels, **options)
    assert np.abs(upscaler.image(pixels) - expected).max() <= 1
    assert "conv2d" in gpu.functions
    deep = upscaler.image(pixels.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16
    assert np.abs(deep / 257 - expected).max() <= 1
    for result in upscaler.frames([pixels] * 3):
        assert np.abs(result - expected).max() <= 1
    assert held_by(upscaler) == []


def test_a_tensor_on_the_gpu_comes_back_there(gpu: PretendedGpu, tiny_weights: Path) -> None:
    picture = torch.rand(3, 20, 24)
    result = Upscaler(tiny_weights).image(picture.to(gpu.kind))
    assert result.device.type == gpu.kind
    expected = Upscaler(tiny_weights, device="cpu", precision="fp32").image(picture)
    assert torch.allclose(result.cpu(), expected, atol=2e-3)


def test_what_is_too_large_goes_in_tiles(tiny_weights: Path) -> None:
    pixels = photograph(288, 288)
    whole = exact(tiny_weights, pixels)
    for kind in KINDS:
        with pretended(kind, memory_bytes=16_000_000) as gpu:
            upscaler = Upscaler(tiny_weights, precision="fp32")
            assert len(network_of(upscaler, 2).tiles(288, 288)) > 1
            assert np.abs(upscaler.image(pixels) - whole).max() <= 1
            assert gpu.peak_bytes <= 16_000_000
            assert held_by(upscaler) == []


def test_memory_that_runs_out_is_met_with_smaller_tiles(gpu: PretendedGpu, tiny_weights: Path) -> None:
    pixels = photograph(128, 128)
    upscaler = Upscaler(tiny_weights, precision="fp32")
    assert len(network_of(upscaler, 2).tiles(128, 128)) == 1
    gpu.memory_bytes = gpu.held_bytes + 2_000_000  # another program has taken the rest
    assert np.abs(upscaler.image(pixels) - exact(tiny_weights, pixels)).max() <= 1
    assert set(held_by(upscaler)) == {"out of memory: retrying with smaller tiles (same output)"}
    gpu.memory_bytes = gpu.held_bytes + 5_000
    with pytest.raises(DeviceError, match="too little memory for one tile"):
        upscaler.image(pixels)


def test_an_overflow_is_computed_again_in_a_safer_format(gpu: PretendedGpu, tiny_weights: Path) -> None:
    pixels = photograph(20, 24)
    upscaler = Upscaler(tiny_weights)
    with torch.no_grad():
        network_of(upscaler, 2).network.head.weight.fill_(float("inf"))  # only in the fp16 network
    assert np.abs(upscaler.image(pixels) - exact(tiny_weights, pixels)).max() <= 1
    safer = {"mps": "fp32", "xpu": "bf16"}[gpu.kind]
    assert held_by(upscaler) == [f"values overflowed in fp16: redone in {safer}"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_step_that_is_missing_runs_on_the_processor(kind: str, tiny_weights: Path) -> None:
    pixels = photograph(20, 24)
    with pretended(kind, lacks=("pixel_shuffle",)):
        upscaler = Upscaler(tiny_weights)
        for _ in range(2):
            assert np.array_equal(upscaler.image(pixels), exact(tiny_weights, pixels))
        (said,) = held_by(upscaler)
    assert said.startswith(f"{kind} lacks a step of this network: it runs on the processor (The operator")


@pytest.mark.parametrize(("kind", "lacks"), [("mps", ("pixel_shuffle",)), ("xpu", ())])
def test_a_film(kind: str, lacks: tuple[str, ...], tmp_path: Path, tiny_weights: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=5)

    def upscale(target: str, **options: object) -> Messages:
        said = Messages()
        job = Job(source, tmp_path / target, "video")
        engine = Upscaler(tiny_weights, **options)
        pipeline.upscale_video(job, engine, VideoOptions(crf=4), lambda _: None, said)
        return said

    upscale("cpu.mp4", device="cpu", precision="fp32")
    with pretended(kind, lacks=lacks) as gpu:
        said = upscale("gpu.mp4")
        assert any("lacks a step" in line for line in said) is bool(lacks)
        assert "conv2d" in gpu.functions
    assert frame_times(tmp_path / "gpu.mp4") == frame_times(tmp_path / "cpu.mp4")
    difference = np.abs(pictures(tmp_path / "gpu.mp4").astype(int) - pictures(tmp_path / "cpu.mp4"))
    assert difference.mean() < 1.0


@pytest.mark.parametrize("chosen", [(), ("--device", "mps")])
def test_the_command(chosen: tuple[str, ...], tmp_path: Path, tiny_weights: Path) -> None:
    source = save(tmp_path / "a.png")
    with pretended("mps") as gpu:
        run(source, "--model", tiny_weights, *chosen)
        assert "conv2d" in gpu.functions
        assert "no device 'xpu' on this machine" in run(source, "--device", "xpu", "--overwrite", code=2)
