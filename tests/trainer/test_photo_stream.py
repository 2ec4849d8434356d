"""Photographs that are read during the training."""

import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from upscaler.errors import TrainingError
from upscaler.helper_process import HelperDiedError, HelperUnavailableError
from upscaler.images import stills
from upscaler.trainer.data import decoding_helper, photo_sizes, photo_stream
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photo_stream import PhotoStream
from upscaler.trainer.data.photos import Photos, load_photos


@pytest.fixture
def no_helpers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Decoding in threads of this process: starting a helper takes half a second."""

    class Unavailable:
        def __init__(self, _module: str) -> None:
            pass

        def ask(self, _request: dict[str, Any], _timeout_s: float) -> dict[str, Any]:
            raise HelperUnavailableError

        def close(self) -> None:
            pass

    monkeypatch.setattr(photo_stream, "HelperProcess", Unavailable)


def numbered(folder: Path, count: int, side_px: int = 64) -> Path:
    """Images of noise that differ in their red channel."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 256, (side_px, side_px, 3), dtype=np.uint8)
        pixels[..., 0] = index
        Image.fromarray(pixels).save(folder / f"{index:03}.png")
    return folder


def streamed(folder: Path, **more: Any) -> Photos:  # noqa: ANN401
    return load_photos((str(folder),), 2, 8, **({"cache_gb": 0, "workers": 1} | more))


def stream_of(photos: Photos) -> PhotoStream:
    assert isinstance(photos.training, PhotoStream)
    return photos.training


def numbers(hr: torch.Tensor) -> set[int]:
    """Which images these crops are from."""
    return set(hr[:, 0, 0, 0].mul(255).round().int().tolist())


def test_little_is_held_and_everything_is_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_helpers: None
) -> None:
    """40 images of 15 kB may take 77 kB: five are in memory, and new ones take their places."""
    monkeypatch.setattr(photo_stream, "_FEWEST_IN_WINDOW", 1)
    photos = streamed(numbered(tmp_path / "photos", 40), cache_gb=0.000077)
    stream = stream_of(photos)
    with closing(photos):
        assert stream.window_bytes <= 77_000
        assert photos.photographs == 32
        held_out = numbers(torch.stack([pair.hr for pair in photos.held_out]).permute(0, 3, 1, 2) / 255)
        assert len(held_out) == 8
        crops, drawn, largest = Crops(photos.training, 2, 0), set[int](), 0
        for _ in range(34):
            _, hr = crops.draw(16, 8)
            drawn |= numbers(hr)
            largest = max(largest, len(stream._loaded))
    assert drawn == set(range(40)) - held_out
    assert largest <= 5 + 10  # the window, and what is read ahead


def test_a_resumed_run_draws_the_same(tmp_path: Path, no_helpers: None) -> None:
    folder = numbered(tmp_path / "photos", 20)
    with closing(streamed(folder)) as photos:
        crops = Crops(photos.training, 2, 5, "jpeg50")
        for _ in range(3):
            crops.draw(40, 8)
        state = crops.state()
        expected = [crops.draw(6, 8) for _ in range(3)]
        crops.restore(state)  # back, as when a run returns to its last state
        again = [crops.draw(6, 8) for _ in range(3)]
    with closing(streamed(folder, workers=2)) as photos:
        crops = Crops(photos.training, 2, 99, "jpeg50")
        crops.restore(state)
        resumed = [crops.draw(6, 8) for _ in range(3)]
    for one, two, three in zip(expected, again, resumed, strict=True):
        assert torch.equal(one[0], two[0])
        assert torch.equal(one[0], three[0])
        assert torch.equal(one[1], three[1])


def test_helper_processes_decode_and_what_they_cannot_is_left_out_once(tmp_path: Path) -> None:
    folder = numbered(tmp_path / "photos", 12)
    whole = (folder / "003.png").read_bytes()
    (folder / "003.png").write_bytes(whole[: len(whole) // 2])  # the header says nothing of that
    with closing(streamed(folder)) as photos:
        crops = Crops(photos.training, 2, 0)
        told: list[str] = []
        for _ in range(4):
            _, hr = crops.draw(16, 8)
            assert 3 not in numbers(hr)
            told += crops.left_out()
        (helper,) = stream_of(photos)._helpers
        process = helper._process
        assert process is not None
        assert process.poll() is None
    assert len(told) == 1
    assert told[0].startswith("003.png: ")
    assert process.poll() is not None


def test_helpers_load_no_torch() -> None:
    """It would take seconds to start, and 200 MB each."""
    question = f"import sys, {decoding_helper.__name__}; print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", question], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_nothing_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_helpers: None) -> None:
    with closing(streamed(numbered(tmp_path / "photos", 4))) as photos:

        def die(*_: object) -> None:
            raise HelperDiedError("SIGSEGV")

        monkeypatch.setattr(photo_stream.HelperProcess, "ask", die)
        crops = Crops(photos.training, 2, 0)
        with pytest.raises(TrainingError, match=r"none of the last 3 photographs can be read: .*SIGSEGV"):
            crops.draw(4, 8)


def test_of_many_photographs_a_few_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_helpers: None
) -> None:
    """24 of 40 are opened; one of the others is too small, which is seen when its turn comes."""
    monkeypatch.setattr(photo_sizes, "_MOST_OPENED", 24)
    folder = numbered(tmp_path / "photos", 40)
    opened: list[str] = []
    read_size = stills.read_size
    monkeypatch.setattr(stills, "read_size", lambda path: opened.append(path.name) or read_size(path))
    with closing(streamed(folder)):
        pass
    assert len(opened) == 24
    unopened = sorted({path.name for path in folder.iterdir()} - {*opened})
    Image.new("RGB", (9, 9)).save(folder / unopened[0])

    with closing(streamed(folder)) as photos:
        assert photos.opened == 24
        assert photos.left_out == []
        assert len(photos.held_out) == 3  # an eighth of those that were opened: these can be used
        assert {pair.name for pair in photos.held_out} <= {*opened}
        assert photos.photographs == 37
        crops, drawn, told = Crops(photos.training, 2, 0), set[int](), list[str]()
        for _ in range(40):
            drawn |= numbers(crops.draw(16, 8)[1])
            told += crops.left_out()
    assert told == [f"{unopened[0]}: 9x9 is smaller than a crop"]
    assert len(drawn) == 36


def test_large_photographs_give_more_crops(tmp_path: Path, no_helpers: None) -> None:
    folder = numbered(tmp_path / "photos", 2, 64)
    large = np.zeros((64, 192, 3), np.uint8)
    large[..., 0] = 7
    Image.fromarray(large).save(folder / "large.png")
    with closing(streamed(folder, valid=(str(folder / "000.png"),))) as photos:
        window = stream_of(photos).window(0)
        weights = dict(zip((pair.name for pair in window.pairs), window.weights.tolist(), strict=True))
    assert weights["large.png"] == 3 * weights["001.png"]


def test_of_a_large_photograph_a_part_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, no_helpers: None
) -> None:
    monkeypatch.setattr(photo_stream, "_LARGEST_SIDE_PX", 32)
    with closing(streamed(numbered(tmp_path / "photos", 9))) as photos:
        pairs = stream_of(photos).window(0).pairs
        assert {(pair.lr.shape, pair.hr.shape) for pair in pairs} == {((16, 16, 3), (32, 32, 3))}
        assert all(pair.hr.untyped_storage().nbytes() == 32 * 32 * 3 for pair in pairs)
