"""What does not fit into memory is refused before any work, in a line, and does not concern the next file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.media import save
from support.messages import Messages
from support.pictures import photograph

from upscaler import Upscaler, upscale
from upscaler.batch.result import Result
from upscaler.errors import DeviceError, MediaError
from upscaler.images import eight_bit, stills
from upscaler.inference import devices
from upscaler.inference.tiled_network import TiledNetwork
from upscaler.system import memory


@pytest.fixture
def limit(monkeypatch: pytest.MonkeyPatch) -> object:
    def to(free_bytes: int) -> None:
        monkeypatch.setattr(memory, "_UNCHECKED_BYTES", 0)
        monkeypatch.setattr(memory, "_obtainable_bytes", lambda: free_bytes)

    return to


def failure(source: Path, weights: Path, **options: object) -> str:
    (result,) = upscale(source, output=source.with_name("out" + source.suffix), model=weights, **options)
    assert result.outcome == "failed"
    assert not source.with_name("out" + source.suffix).exists()
    assert "\n" not in result.error_line and "internal error" not in result.error_line
    return result.error_line


def moving(path: Path) -> Path:
    frames = [Image.fromarray(photograph(16, 24, seed)) for seed in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=100)
    return path


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif"])
def test_a_result_that_does_not_fit_is_refused_before_the_network_runs(
    tmp_path: Path, tiny_weights: Path, limit: object, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = save(tmp_path / f"a{suffix}", 16, 24)
    monkeypatch.setattr(TiledNetwork, "run", lambda *_, **__: pytest.fail("the network ran"))
    limit(2 * 16 * 24 * 3)  # enough for reading it
    said = failure(source, tiny_weights)
    assert "a picture of 48x32 takes 0.0 GB of memory, and 0.0 GB are left" in said and str(source) in said
    limit(100)
    assert f"reading '{source}' takes" in failure(source, tiny_weights)


@pytest.mark.parametrize("suffix", [".gif", ".png", ".webp"])
def test_an_animation_that_does_not_fit_is_refused_before_the_network_runs(
    tmp_path: Path, tiny_weights: Path, limit: object, suffix: str
) -> None:
    source = moving(tmp_path / f"a{suffix}")
    limit(1000)
    assert "an animation of 3 frames of 48x32 takes" in failure(source, tiny_weights)


def test_an_array_that_does_not_fit_is_refused(tiny_weights: Path, limit: object) -> None:
    limit(1000)
    with pytest.raises(memory.MemoryNeededError, match="a picture of 48x32"):
        Upscaler(tiny_weights).image(photograph(16, 24))


def test_what_is_resized_counts_before_and_after(tmp_path: Path, tiny_weights: Path, limit: object) -> None:
    """At 1.9, the network makes 48x32, of which 46x30 is made: 8-bit codes of both, and a channel in fp32."""
    source = save(tmp_path / "a.png", 16, 24)
    codes, floats = 3 * (48 * 32 + 46 * 30), 4 * (48 * 32 + 32 * 46 + 46 * 30)
    limit(codes + floats - 1)
    assert "a picture of 46x30 takes" in failure(source, tiny_weights, scale=1.9)


def test_enough_memory_is_not_refused(limit: object) -> None:
    limit(10**9)
    memory.check_room(10**9, "it", "")


def test_freed_memory_that_the_library_keeps_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([10, 1000])
    monkeypatch.setattr(memory, "_UNCHECKED_BYTES", 0)
    monkeypatch.setattr(memory, "_obtainable_bytes", lambda: next(left))
    memory.check_room(900, "it", "")


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("could not create a primitive"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"),
        OSError("out of memory when reading image file"),
        ValueError("error: (-4:Insufficient memory) Failed to allocate 12 bytes"),
    ],
    ids=str,
)
def test_lack_of_memory_is_not_taken_for_damage(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    source = save(tmp_path / "a.png", 16, 24)

    def fail(*_: object, **__: object) -> None:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(eight_bit, "read", fail)
        with pytest.raises(MediaError, match=f"too little memory to read '{source}'"):
            stills.read(source, tolerant=True)
    monkeypatch.setattr(stills, "write", fail)  # any place that does not expect it
    assert devices.is_out_of_memory(error)
    assert f"there is too little memory for '{source}'" in failure(source, tiny_weights)


def test_no_room_for_the_result_is_not_blamed_on_tiles(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, messages = Upscaler(tiny_weights, precision="fp32"), Messages()
    picture = photograph(16, 24)
    empty = torch.empty

    def no_room(shape: object, **options: object) -> torch.Tensor:
        if tuple(shape)[-2:] == (32, 48) and "memory_format" in options:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return empty(shape, **options)

    monkeypatch.setattr(torch, "empty", no_room)
    with engine.messages_to(messages), pytest.raises(DeviceError, match="for a result of 48x32") as raised:
        engine.image(picture)
    assert messages == []
    assert "--device cpu" not in str(raised.value)


def test_lack_of_memory_in_one_job_does_not_concern_the_next(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, messages = Upscaler(tiny_weights, precision="fp32"), Messages()
    picture = photograph(300, 300)
    (network,) = engine._networks.values()
    whole = network.max_batch_px
    forward = TiledNetwork._forward

    def small_memory(self: TiledNetwork, lr: torch.Tensor, *rest: object, **options: object) -> torch.Tensor:
        if lr.numel() > 3 * 200 * 200:
            raise MemoryError
        return forward(self, lr, *rest, **options)

    with monkeypatch.context() as patch, engine.messages_to(messages):
        patch.setattr(TiledNetwork, "_forward", small_memory)
        expected = engine.image(picture)
        assert network.max_batch_px < whole
    assert messages == ["out of memory: retrying with smaller tiles (same output)"]
    assert network.max_batch_px == whole
    assert np.array_equal(engine.image(picture), expected)


def test_an_error_holds_no_pictures(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``upscale`` returns the errors of a whole batch, each with the functions through which it came."""
    source = save(tmp_path / "a.png", 16, 24)

    def fail(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(stills, "write", fail)
    (result,) = upscale(source, output=tmp_path / "out.png", model=tiny_weights)
    assert result.error is not None
    assert not [value for value in held(result) if isinstance(value, stills.Still | np.ndarray)]


def held(result: Result) -> list[object]:
    values: list[object] = []
    error: BaseException | None = result.error
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            values += trace.tb_frame.f_locals.values()
            trace = trace.tb_next
        error = error.__cause__
    return values
