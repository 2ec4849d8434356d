"""How one network is run: compiled where it pays, and never a wrong picture when that fails."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from support.messages import Messages, held_by
from support.networks import network_of
from support.pictures import photograph
from torch import Tensor, nn

from upscaler import Upscaler
from upscaler.errors import UsageError
from upscaler.inference import devices, engine
from upscaler.inference.runtime import COMPILING, Runtime
from upscaler.models.compact import Compact


def network() -> Compact:
    result = Compact(scale=2, channels=8, depth=2).eval()
    nn.init.normal_(result.tail.weight, std=0.2)
    return result


def runtime() -> tuple[Runtime, Messages]:
    messages = Messages()
    return Runtime(network(), messages), messages


def plant_compiler(monkeypatch: pytest.MonkeyPatch, compiled: Callable[[Tensor], Tensor] | Exception) -> None:
    """Have torch.compile give ``compiled``, or code that fails when it first runs, as real failures do."""

    def failing(lr: Tensor) -> Tensor:
        assert isinstance(compiled, Exception)
        raise compiled

    result = failing if isinstance(compiled, Exception) else compiled
    monkeypatch.setattr(devices, "has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: result)


@pytest.mark.skipif(not devices.has_compiler(), reason="needs a C++ compiler")
@pytest.mark.slow
def test_compiled_equals_eager(tiny_weights: Path) -> None:
    pixels = photograph(40, 48)
    eager = Upscaler(tiny_weights, precision="fp32", runtime="eager").image(pixels).astype(int)
    upscaler = Upscaler(tiny_weights, precision="fp32", runtime="compiled")
    assert np.abs(upscaler.image(pixels) - eager).max() <= 1
    assert held_by(upscaler) == [COMPILING.text]
    assert network_of(upscaler, 2).runtime().compiled


def test_without_a_compiler_the_engine_runs_uncompiled_and_says_so_once(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "has_compiler", lambda: False)
    pixels = photograph(20, 24)
    upscaler = Upscaler(tiny_weights, runtime="compiled")
    for _ in range(2):
        assert np.array_equal(upscaler.image(pixels), Upscaler(tiny_weights).image(pixels))
    assert held_by(upscaler) == ["no C++ compiler found: continuing uncompiled"]


def test_code_that_does_not_compile_is_run_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_compiler(monkeypatch, RuntimeError("planted\nand a long trace"))
    result, messages = runtime()
    result.compile()
    lr = torch.rand(1, 3, 9, 11)
    assert torch.equal(result(lr), result.network(lr))
    assert messages == ["compiling the network", "compiling failed: continuing uncompiled (planted)"]
    assert not result.compiled


def test_lack_of_memory_in_compiled_code_is_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_compiler(monkeypatch, torch.OutOfMemoryError("planted"))
    result, messages = runtime()
    result.compile()
    with pytest.raises(torch.OutOfMemoryError):
        result(torch.rand(1, 3, 9, 11))
    assert result.compiled and messages == ["compiling the network"]


@pytest.mark.parametrize(("gain", "kept"), [(2.0, True), (1.01, False), (0.5, False)])
def test_compiled_code_is_kept_only_where_it_is_clearly_faster(
    monkeypatch: pytest.MonkeyPatch, gain: float, kept: bool
) -> None:
    result, _ = runtime()
    plant_compiler(monkeypatch, result.network)
    monkeypatch.setattr(Runtime, "seconds", lambda self, lr: 1 / gain if self.compiled else 1.0)
    result.compile_if_faster(torch.rand(1, 3, 9, 11))
    assert result.compiled is kept


def test_a_block_may_be_uncompiled(monkeypatch: pytest.MonkeyPatch) -> None:
    plant_compiler(monkeypatch, RuntimeError("compiled code ran"))
    result, messages = runtime()
    result.compile()
    with result.uncompiled():
        result(torch.rand(1, 3, 9, 11))
    assert result.compiled and messages == ["compiling the network"]


@pytest.mark.parametrize(
    ("frames", "seconds", "timed", "tried"),
    [(10, 1.0, False, False), (10_000_000, 1e-6, True, False), (10_000_000, 1e-3, True, True)],
)
def test_compiling_is_tried_only_for_long_work(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, frames: int, seconds: float, timed: bool, tried: bool
) -> None:
    shapes: list[torch.Size] = []
    timings: list[float] = []

    def measured(_runtime: Runtime, _lr: Tensor) -> float:
        timings.append(seconds)
        return seconds

    monkeypatch.setattr(Runtime, "seconds", measured)  # whatever the machine
    monkeypatch.setattr(Runtime, "compile_if_faster", lambda self, lr: shapes.append(lr.shape))
    upscaler = Upscaler(tiny_weights)
    with upscaler.prepared(upscaler.plan(20, 30), 20, 30, frames):
        pass
    assert bool(timings) is timed
    assert shapes == ([torch.Size((1, 3, 20, 30))] if tried else [])


def test_a_requested_runtime_is_used_without_a_trial(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_COMPILE_FROM_S", 0.0)
    monkeypatch.setattr(Runtime, "compile_if_faster", lambda self, lr: pytest.fail("tried"))
    for upscaler in (
        Upscaler(tiny_weights, runtime="eager"),
        Upscaler(tiny_weights, size_px=(10, 10)),  # needs no network
    ):
        with upscaler.prepared(upscaler.plan(20, 30), 20, 30, 100):
            pass
    with pytest.raises(UsageError, match="runtime"):
        Upscaler("fast", 2, runtime="quick")


def test_the_time_is_a_median_that_leaves_the_first_run_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter([0, 100, 100, 101, 101, 104, 104, 106])  # runs of 100, 1, 3 and 2 seconds
    monkeypatch.setattr("time.perf_counter", lambda: next(ticks))
    assert runtime()[0].seconds(torch.rand(1, 3, 5, 5)) == 2
