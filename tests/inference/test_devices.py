"""Which devices are found, what they have left, and which number format they run networks in."""

import time
from collections.abc import Callable, Iterator

import pytest
import torch
from support.messages import Messages

from upscaler.errors import DeviceError, UsageError
from upscaler.inference import devices
from upscaler.inference.runtime import Runtime
from upscaler.models.registry import build
from upscaler.options import Options
from upscaler.system import graphics, memory

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "pays", "expected"),
    [
        ({"amx_bf16": True}, True, torch.bfloat16),
        ({"avx512_bf16": True}, True, torch.bfloat16),
        ({"avx512_bf16": True}, False, torch.float32),  # a Xeon whose AMX is masked
        ({"avx2": True}, True, torch.float32),
    ],
)
def test_bf16_is_chosen_where_it_is_native_and_faster(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], pays: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(devices, "_bf16_pays", lambda: pays)
    assert devices.fast_dtype(CPU) is expected


@pytest.mark.parametrize("slow", [torch.bfloat16, torch.float32])
def test_the_faster_format_wins_the_trial(monkeypatch: pytest.MonkeyPatch, slow: torch.dtype) -> None:
    genuine = torch.nn.functional.conv2d

    def convolve(given: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        if given.dtype is slow:
            time.sleep(0.05)
        return genuine(given, weight, padding=padding)

    monkeypatch.setattr(torch.nn.functional, "conv2d", convolve)
    devices._bf16_pays.cache_clear()
    try:
        assert devices._bf16_pays() is (slow is torch.float32)
    finally:
        devices._bf16_pays.cache_clear()


def test_a_busy_machine_does_not_change_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most turns in the faster format are interrupted for longer than the slower one takes."""
    genuine, turns = torch.nn.functional.conv2d, iter(range(1000))

    def convolve(given: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        if given.dtype is torch.bfloat16:
            time.sleep(0.02)
        elif next(turns) % 8:
            time.sleep(0.04)
        return genuine(given, weight, padding=padding)

    monkeypatch.setattr(torch.nn.functional, "conv2d", convolve)
    devices._bf16_pays.cache_clear()
    try:
        assert not devices._bf16_pays()
    finally:
        devices._bf16_pays.cache_clear()


def test_the_trial_draws_no_random_numbers() -> None:
    devices._bf16_pays.cache_clear()
    before = torch.get_rng_state()
    devices.fast_dtype(CPU)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.fixture
def having(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Pretends GPUs: ``having(mps=1)``."""

    def have(cuda: int = 0, mps: int = 0, xpu: int = 0) -> None:
        for module, count in ((torch.cuda, cuda), (torch.xpu, xpu)):
            monkeypatch.setattr(module, "is_available", lambda count=count: count > 0)
            monkeypatch.setattr(module, "device_count", lambda count=count: count)
        monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps > 0)
        devices._gpus.cache_clear()

    yield have
    devices._gpus.cache_clear()


@pytest.mark.parametrize(
    ("found", "chosen"),
    [
        ({}, "cpu"),
        ({"xpu": 1}, "xpu"),
        ({"mps": 1}, "mps"),
        ({"cuda": 1, "mps": 1, "xpu": 1}, "cuda"),
    ],
)
def test_auto_takes_cuda_then_other_gpus(
    having: Callable[..., None], found: dict[str, int], chosen: str
) -> None:
    having(**found)
    assert devices.select("auto").type == chosen
    if chosen != "cpu":
        assert devices.select(chosen).type == chosen
        assert devices.fast_dtype(torch.device(chosen)) is torch.float16
    with pytest.raises(DeviceError, match="no device 'xpu:1'"):
        devices.select("xpu:1")


def test_options_take_every_device() -> None:
    for name in ("mps", "xpu", "xpu:1", "cuda:0", "auto"):
        assert Options(device=name).engine.device == name
    for name in ("mps:1", "tpu"):
        with pytest.raises(UsageError, match="mps or xpu"):
            Options(device=name)


def test_memory_of_other_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.mps, "recommended_max_memory", lambda: 10_000)
    monkeypatch.setattr(torch.mps, "driver_allocated_memory", lambda: 4_000)
    assert devices.free_memory_bytes(torch.device("mps")) == 6_000
    monkeypatch.setattr(memory, "available_bytes", lambda: 5_000)  # it is the processor's memory
    assert devices.free_memory_bytes(torch.device("mps")) == 5_000
    monkeypatch.setattr(torch.xpu, "mem_get_info", lambda device: (7_000, 9_000))
    assert devices.free_memory_bytes(torch.device("xpu")) == 7_000
    assert devices.is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"))


def test_values_that_are_not_finite_are_computed_again_in_safer_formats() -> None:
    mps, xpu = torch.device("mps"), torch.device("xpu")
    assert devices.safer_dtype(xpu, torch.float16) is torch.bfloat16
    assert devices.safer_dtype(mps, torch.float16) is torch.float32
    assert devices.safer_dtype(mps, torch.bfloat16) is torch.float32
    assert devices.safer_dtype(xpu, torch.float32) is None


def test_a_step_that_a_gpu_lacks_runs_on_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build("compact", {"scale": 2, "channels": 4, "depth": 1}).eval()
    lr = torch.rand(1, 3, 8, 8)
    with torch.inference_mode():
        expected = network(lr)
    calls: list[int] = []

    class Lacking(type(network)):  # type: ignore[misc]
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            calls.append(1)
            if len(calls) == 1:
                raise NotImplementedError("The operator 'aten::pixel_shuffle' is not implemented")
            return super().forward(given)

    network.__class__ = Lacking
    said = Messages()
    runtime = Runtime(network, said)
    with pytest.raises(NotImplementedError):  # the processor lacks nothing: it is a mistake of ours
        runtime(lr)
    calls.clear()
    monkeypatch.setattr(devices, "is_processor", lambda _: False)
    with torch.inference_mode():
        assert torch.equal(runtime(lr), expected)
        assert torch.equal(runtime(lr), expected)
    assert len(said) == 1 and "runs on the processor" in said[0]


@pytest.mark.parametrize(
    ("driver", "complaint", "said"),
    [
        (False, "", ""),
        (True, "", "this torch has no CUDA"),
        (True, "The NVIDIA driver on your system is too old", "too old; update its driver"),
    ],
)
def test_a_card_that_is_not_used_is_named(
    monkeypatch: pytest.MonkeyPatch, driver: bool, complaint: str, said: str
) -> None:
    monkeypatch.setattr(graphics, "has_nvidia_driver", lambda: driver)
    monkeypatch.setattr(devices, "_gpus", lambda _: (0, complaint))
    monkeypatch.setattr(torch.version, "cuda", None)
    line = devices.unused_gpu(CPU)
    assert said in line and bool(said) is ("pytorch.org" in line)
    assert not devices.unused_gpu(torch.device("cuda"))
