import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.messages import Messages, held_by
from support.networks import Nearest, network_of, weights
from support.pictures import photograph
from torch import Tensor

from upscaler import Upscaler
from upscaler.errors import DeviceError, UsageError, WeightsError
from upscaler.inference import devices, memory, tiled_network
from upscaler.inference.resize import resize_bicubic
from upscaler.models import registry, weight_file
from upscaler.models.contract import Contract
from upscaler.video.yuv import Layout, plane_output

Maker = Callable[..., Path]


@pytest.fixture
def nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Maker:
    monkeypatch.setitem(registry.NETWORKS, "nearest", Nearest)
    # The estimate runs the network, which tests replace by one that counts or fails.
    monkeypatch.setattr(memory, "bytes_per_pixel", lambda network, device: 1000)

    def make(**arguments: int) -> Path:
        path = tmp_path / f"nearest-{len(list(tmp_path.iterdir()))}.safetensors"
        network = Nearest(**arguments)
        weight_file.save(path, network, network.state_dict(), {})
        return path

    return make


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_nearest_is_bit_exact_through_every_tiling(nearest: Maker, seed: int, dtype: type) -> None:
    generator = np.random.default_rng(seed)
    scale, multiple = int(generator.choice([1, 2, 3, 4])), int(generator.choice([1, 4]))
    tile = int(generator.integers(8, 40))
    height, width = (int(side) for side in generator.integers(1, 90, 2))
    pixels = generator.integers(0, np.iinfo(dtype).max + 1, (height, width, 3)).astype(dtype)
    upscaler = Upscaler(nearest(scale=scale, multiple_of=multiple), tile_px=tile, precision="fp32")
    expected = pixels.repeat(scale, 0).repeat(scale, 1)
    assert np.array_equal(upscaler.image(pixels), expected)


@pytest.mark.parametrize("seed", range(6))
def test_tiled_equals_whole(tmp_path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    path = weights(tmp_path / "w.safetensors", scale=int(generator.choice([2, 3])))
    height, width = (int(side) for side in generator.integers(20, 120, 2))
    source = torch.rand(2, 3, height, width)
    whole = Upscaler(path, tile_px=1000, precision="fp32")
    tiled = Upscaler(path, tile_px=int(generator.integers(12, 40)), precision="fp32")
    plan = whole.plan(height, width)
    difference = whole.upscale(source, plan) - tiled.upscale(source, plan)
    assert float(difference.abs().max()) < 1e-5


def test_too_little_overlap_changes_the_result(tmp_path: Path) -> None:
    """The test above can fail: with a network whose contract claims too small a receptive radius, it does."""
    path = weights(tmp_path / "w.safetensors")
    source = torch.rand(1, 3, 60, 60)
    whole = Upscaler(path, tile_px=1000, precision="fp32")
    tiled = Upscaler(path, tile_px=20, precision="fp32")
    network = network_of(tiled, 2).network
    network.contract = Contract(2, 1, 1, macs_per_pixel=0)
    plan = whole.plan(60, 60)
    difference = whole.upscale(source, plan) - tiled.upscale(source, plan)
    assert float(difference.abs().max()) > 1e-3


def test_scales_are_reached_by_the_smallest_network_or_by_running_twice(tmp_path: Path) -> None:
    upscaler = Upscaler(weights(tmp_path / "w.safetensors"), 1)
    (model,) = upscaler.models
    file = upscaler.files[model][2]
    cases = {1: (2,), 1.5: (2,), 2: (2,), 2.5: (4,), 4: (4,), 5: (4, 2), 8: (4, 2)}
    for factor, scales in cases.items():
        upscaler.files, upscaler.scale = {model: {2: file, 4: file}}, factor
        assert upscaler.plan(9, 9).scales == scales
    upscaler.files = {model: {4: file}}
    assert upscaler.plan(9, 9).scales == (4, 4)


@pytest.mark.parametrize("scale", [1, 1.7, 2, 3, 4, 8])
def test_output_sizes(tmp_path: Path, scale: float) -> None:
    upscaler = Upscaler(weights(tmp_path / "w.safetensors"), scale, precision="fp32")
    out = upscaler.image(photograph(32, 32)[:11, :17])
    assert out.shape == (round(11 * scale), round(17 * scale), 3)


@pytest.mark.parametrize(
    ("size", "expected"),
    [((64, 64), (32, 64)), ((40, 400), (20, 40)), ((1000, 100), (100, 200)), ((30, 15), (15, 30))],
)
def test_size_fits_inside_and_keeps_the_aspect(
    tmp_path: Path, size: tuple[int, int], expected: tuple[int, int]
) -> None:
    upscaler = Upscaler(weights(tmp_path / "w.safetensors"), size_px=size, precision="fp32")
    assert upscaler.image(photograph(16, 32)).shape == (*expected, 3)


def test_enlarging_keeps_mean_and_position() -> None:
    """A real model: reduced again, the result is the source; a shift by a pixel would not be."""
    pixels = photograph(64, 96)
    larger = Upscaler("balanced", 4, precision="fp32").image(pixels)
    reduced = resize_bicubic(torch.from_numpy(larger).permute(2, 0, 1)[None], 64, 96)[0]
    again = reduced.permute(1, 2, 0).numpy().astype(float)
    error = np.abs(again - pixels).mean()
    shifted = np.abs(again[1:, 1:] - pixels[:-1, :-1]).mean()
    assert abs((again - pixels).mean()) < 0.5  # levels; half of this is usual
    assert error < 1.0 < shifted  # most of it is the noise of the source, which is not enlarged


def test_frames_are_images_one_by_one(tmp_path: Path) -> None:
    upscaler = Upscaler(weights(tmp_path / "w.safetensors"), precision="fp32")
    frames = [photograph(20, 24, seed) for seed in range(3)]
    for result, frame in zip(upscaler.frames(frames), frames, strict=True):
        assert np.array_equal(result, upscaler.image(frame))


def test_frames_may_share_one_array_that_is_overwritten(tmp_path: Path) -> None:
    upscaler = Upscaler(weights(tmp_path / "w.safetensors"), precision="fp32", batch=2)
    buffer = np.empty((20, 24, 3), np.uint8)

    def reader() -> Iterator[NDArray[np.uint8]]:
        for value in (0, 80, 160):
            buffer[:] = value
            yield buffer

    expected = [upscaler.image(np.full_like(buffer, value)) for value in (0, 80, 160)]
    for result, reference in zip(upscaler.frames(reader()), expected, strict=True):
        assert np.array_equal(result, reference)


def test_arrays_of_any_memory_layout_are_accepted(tmp_path: Path) -> None:
    upscaler = Upscaler(weights(tmp_path / "w.safetensors"), precision="fp32")
    bgr = photograph(20, 24)
    assert np.array_equal(upscaler.image(bgr[:, :, ::-1]), upscaler.image(bgr[:, :, ::-1].copy()))
    assert np.array_equal(upscaler.image(bgr[::-1]), upscaler.image(bgr[::-1].copy()))
    packed = np.ones((20, 24, 3), [("mark", np.uint8), ("value", np.uint16)])["value"]
    assert np.array_equal(upscaler.image(packed), upscaler.image(packed.copy()))
    with pytest.raises(UsageError, match="not an image"):
        upscaler.image(np.empty((0, 24, 3), np.uint8))


def test_frames_rejects_non_arrays_by_name(tmp_path: Path) -> None:
    upscaler = Upscaler(weights(tmp_path / "w.safetensors"), precision="fp32")
    picture: Any = torch.zeros(20, 24, 3, dtype=torch.uint8)
    with pytest.raises(UsageError, match="a Tensor is not an array"):
        next(upscaler.frames([picture]))
    with pytest.raises(UsageError, match="a list is not an array"):
        next(upscaler.frames([picture.tolist()]))


def test_a_weight_file_gives_its_own_scale_and_a_named_model_four(tmp_path: Path) -> None:
    assert Upscaler(weights(tmp_path / "w.safetensors", scale=3)).scale == 3
    assert Upscaler("fast").scale == 4


def test_wrong_arguments_are_rejected(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors")
    with pytest.raises(UsageError, match="--scale 9 must be"):
        Upscaler(path, 9)
    with pytest.raises(UsageError, match=r"--size \(640, 0\) must be"):
        Upscaler(path, size_px=(640, 0))
    with pytest.raises(UsageError, match="precision"):
        Upscaler(path, precision="fp8")
    with pytest.raises(UsageError, match="--tile 0 must be"):
        Upscaler(path, tile_px=0)
    with pytest.raises(WeightsError, match="no-such-model"):
        Upscaler("no-such-model")
    with pytest.raises(WeightsError, match="no weight file"):
        Upscaler(tmp_path / "missing.safetensors")
    with pytest.raises(DeviceError, match="no device"):
        Upscaler(path, device="cuda:99")
    with pytest.raises(UsageError, match="--device 'toaster' must be"):
        Upscaler(path, device="toaster")
    with pytest.raises(UsageError, match="too small"):
        Upscaler(path, tile_px=4).image(photograph(30, 30))
    with pytest.raises(UsageError, match="more than 8 times"):
        Upscaler(path, size_px=(900, 900)).image(photograph(20, 20)[:10, :10])
    with pytest.raises(UsageError, match="restores"):
        Upscaler(weights(tmp_path / "one.safetensors", scale=1), 2)


def test_a_driver_that_is_too_old_is_named_where_a_gpu_was_asked_for(
    tiny_weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def unusable() -> bool:
        warnings.warn(
            "CUDA initialization: The NVIDIA driver on your system is too old. Update it.", stacklevel=1
        )
        return False

    monkeypatch.setattr(torch.cuda, "is_available", unusable)
    devices._gpus.cache_clear()
    try:
        assert Upscaler(tiny_weights).device.type == "cpu"
        with pytest.raises(DeviceError, match=r"'cuda' on this machine: .* driver .* too old \("):
            Upscaler(tiny_weights, device="cuda")
    finally:
        devices._gpus.cache_clear()


def test_out_of_memory_halves_until_it_fits_and_says_so_once(
    nearest: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = photograph(200, 300)
    sizes: list[int] = []

    def small_memory(self: Nearest, lr: Tensor) -> Tensor:
        sizes.append(lr.shape[0] * lr.shape[2] * lr.shape[3])
        if sizes[-1] > 10_000:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        return real(self, lr)

    real = Nearest.forward
    monkeypatch.setattr(Nearest, "forward", small_memory)
    upscaler, messages = Upscaler(nearest(scale=2), precision="fp32"), Messages()
    with upscaler.messages_to(messages):
        for _ in range(2):
            assert np.array_equal(upscaler.image(pixels), pixels.repeat(2, 0).repeat(2, 1))
    assert sizes[0] == 200 * 300  # tried whole
    assert sum(size > 10_000 for size in sizes) <= 4  # and remembered afterwards
    assert messages == ["out of memory: retrying with smaller tiles (same output)"]
    assert held_by(upscaler) == []


def test_out_of_memory_for_the_smallest_tile_is_an_error(
    nearest: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(self: Nearest, lr: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("planted")

    monkeypatch.setattr(Nearest, "forward", no_memory)
    with pytest.raises(DeviceError, match="too little memory"):
        Upscaler(nearest(scale=2)).image(photograph(100, 100))


def test_other_errors_of_the_network_are_not_taken_for_lack_of_memory(
    nearest: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Nearest, lr: Tensor) -> Tensor:
        raise RuntimeError("planted")

    monkeypatch.setattr(Nearest, "forward", broken)
    with pytest.raises(RuntimeError, match="planted"):
        Upscaler(nearest(scale=2)).image(photograph(20, 20))


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_values_that_are_not_finite_are_redone_in_safer_precisions(
    nearest: Maker, monkeypatch: pytest.MonkeyPatch, bad: float
) -> None:
    tried: list[torch.dtype] = []

    def overflowing(self: Nearest, lr: Tensor) -> Tensor:
        tried.append(self.dtype)
        sr = real(self, lr).clone()
        if self.dtype is not torch.float32:
            sr[-1, 0, 3, 4] = bad
        return sr

    real = Nearest.forward
    monkeypatch.setattr(Nearest, "forward", overflowing)
    pixels = photograph(20, 24)
    upscaler = Upscaler(nearest(scale=2), precision="fp16")
    assert np.array_equal(upscaler.image(pixels), pixels.repeat(2, 0).repeat(2, 1))
    assert tried == [torch.float16, torch.bfloat16, torch.float32]
    assert held_by(upscaler) == [
        "values overflowed in fp16: redone in bf16",
        "values overflowed in bf16: redone in fp32",
    ]


def test_values_that_are_never_finite_end_in_a_clear_error(
    nearest: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Nearest, "forward", lambda self, lr: torch.full_like(lr, float("nan")))
    with pytest.raises(WeightsError, match="in fp32 too"):
        Upscaler(nearest(scale=2)).image(photograph(20, 20))


def test_a_memory_limit_makes_tiles_smaller_and_keeps_the_result(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors")
    free, bound = Upscaler(path, precision="fp32"), Upscaler(path, precision="fp32", memory_limit_gb=0.002)
    assert network_of(bound, 2).max_batch_px < 10_000 < network_of(free, 2).max_batch_px
    pixels = photograph(150, 170)
    difference = free.image(pixels).astype(int) - bound.image(pixels)
    assert np.abs(difference).max() <= 1


def test_features_that_are_kept_outside_of_layers_count_as_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def keeping(self: Nearest, lr: Tensor) -> Tensor:
        kept = [lr.repeat(1, 10, 1, 1) + number for number in range(5)]  # 30 channels each
        return torch.stack(kept).mean(0)[:, :3].repeat_interleave(2, -1).repeat_interleave(2, -2)

    monkeypatch.setattr(Nearest, "forward", keeping)
    network = Nearest(scale=2)
    found = memory.bytes_per_pixel(network, torch.device("cpu"))
    assert 2 * 5 * 30 * 4 <= found < 4 * 5 * 30 * 4


def test_a_memory_limit_below_the_smallest_tile_is_reported(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors")
    for limit_gb, messages in ((0.002, 0), (0.00001, 1)):
        bound = Upscaler(path, precision="fp32", memory_limit_gb=limit_gb)
        bound.image(photograph(150, 170))
        assert sum("too small for a tile" in text for text in held_by(bound)) == messages


def test_batches_of_tiles(nearest: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    batches: list[int] = []

    def counting(self: Nearest, lr: Tensor) -> Tensor:
        batches.append(lr.shape[0])
        return real(self, lr)

    real = Nearest.forward
    monkeypatch.setattr(Nearest, "forward", counting)
    pixels = photograph(100, 100)
    for batch, expected in ((2, 2), (10_000, 25), (None, 25)):
        batches.clear()
        upscaler = Upscaler(
            nearest(scale=2, receptive_radius_px=5), precision="fp32", tile_px=28, batch=batch
        )
        assert np.array_equal(upscaler.image(pixels), pixels.repeat(2, 0).repeat(2, 1))
        assert batches[0] == max(batches) == expected


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("model", ["fast", "balanced"])
def test_half_precision_is_within_one_code_and_62_db(model: str, precision: str) -> None:
    pixels = photograph(96, 128)
    exact, half = (Upscaler(model, 4, precision=chosen) for chosen in ("fp32", precision))
    difference = np.abs(half.image(pixels).astype(int) - exact.image(pixels))
    assert (difference <= 1).mean() >= 0.999
    source = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255  # floats: rounding to codes would hide it
    plan = exact.plan(96, 128)
    error = (half.upscale(source, plan) - exact.upscale(source, plan)).square().mean()
    assert -10 * float(torch.log10(error)) >= 62


def test_tile_and_batch_are_honoured_beyond_what_would_be_chosen(
    nearest: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tiled_network, "_CPU_FEATURES_GB", 400 * 1000 / 1e9)
    shapes: list[tuple[int, ...]] = []

    def noting(self: Nearest, lr: Tensor) -> Tensor:
        shapes.append(tuple(lr.shape))
        return real(self, lr)

    real = Nearest.forward
    monkeypatch.setattr(Nearest, "forward", noting)
    Upscaler(nearest(scale=2), precision="fp32", tile_px=60, batch=3).image(photograph(100, 100))
    assert shapes[0] == (3, 3, 53, 53)  # the fewest equal tiles of at most 60 pixels
    shapes.clear()
    limited = Upscaler(nearest(scale=2), precision="fp32", tile_px=60, batch=3, memory_limit_gb=0.0003)
    limited.image(photograph(100, 100))
    assert max(shape[2] for shape in shapes) < 53


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)]
)
def test_an_array_that_is_not_an_image_is_rejected(tiny_weights: Path, array: np.ndarray) -> None:
    with pytest.raises(UsageError, match="not an image"):
        Upscaler(tiny_weights).image(array)


def test_how_far_a_part_depends_on_its_surroundings(tiny_weights: Path, nearest: Maker) -> None:
    upscaler = Upscaler(tiny_weights, 2, device="cpu")
    plan, radius = upscaler.plan(20, 30), 3  # three convolutions of 3x3
    assert upscaler.radius_px(plan, 20, 30) == radius
    planes = upscaler.giving_planes(plan, plane_output(Layout()), 20, 30)
    assert upscaler.radius_px(planes, 20, 30) == radius + 1  # chroma rows lie between pixels
    assert upscaler.radius_px(replace(plan, width=58), 20, 30) is None  # resized
    assert upscaler.radius_px(upscaler.plan(20, 30, (240, 160)), 20, 30) is None  # two networks
    blocks = Upscaler(nearest(scale=2, multiple_of=4, receptive_radius_px=4), 2, device="cpu")
    assert blocks.radius_px(blocks.plan(20, 28), 20, 28) is None
