from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import MakePhotos
from PIL import Image
from torch import Tensor

from upscaler.errors import TrainingError
from upscaler.trainer.data import Crops, Pair, load_photos
from upscaler.trainer.degrade import reduce


@pytest.fixture
def folder(tmp_path: Path, make_photos: MakePhotos) -> Path:
    make_photos(tmp_path / "photos", 5)
    return tmp_path / "photos"


def colored(folder: Path, count: int) -> None:
    """Pictures that can be told by their red."""
    folder.mkdir(exist_ok=True)
    random = np.random.default_rng(0)
    for index in range(count):
        pixels = random.integers(0, 256, (64, 64, 3), dtype=np.uint8)
        pixels[..., 0] = index
        Image.fromarray(pixels).save(folder / f"{index:03}.png")


def as_batch(pixels: Tensor) -> Tensor:
    return pixels.permute(2, 0, 1).unsqueeze(0)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_pairs_are_the_photograph_and_its_reduction(folder: Path, scale: int) -> None:
    photos = load_photos((str(folder),), scale, 8)
    assert len(photos.training) + len(photos.held_out) == 5
    assert photos.left_out == []
    for pair in photos.training + photos.held_out:
        with Image.open(folder / pair.name) as picture:
            original = np.asarray(picture)
        height, width = (side - side % scale for side in original.shape[:2])
        assert np.array_equal(pair.high.numpy(), original[:height, :width])
        assert torch.equal(as_batch(pair.low), reduce(as_batch(pair.high), scale))
        assert pair.low.shape == (height // scale, width // scale, 3)


def test_reduction_of_scale_1_changes_nothing() -> None:
    picture = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(reduce(picture, 1), picture)


def test_reduction_keeps_flat_areas_and_does_not_wrap() -> None:
    """White beside black overshoots with a cubic kernel; an unclamped 257 would become 1."""
    picture = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    picture[..., 16:] = 255
    low = reduce(picture, 4)
    assert low[..., :2].max() == 0
    assert low[..., -2:].min() == 255


def test_unusable_files_are_reported_and_left_out(folder: Path) -> None:
    (folder / "text.png").write_text("no picture")
    (folder / "empty.jpg").touch()
    (folder / "notes.txt").write_text("not even named like one")
    whole = (folder / "photo00.png").read_bytes()
    (folder / "truncated.png").write_bytes(whole[: len(whole) // 2])
    Image.new("RGB", (40, 20)).save(folder / "tiny.png")
    seen: list[tuple[int, int]] = []
    photos = load_photos((str(folder),), 4, 8, lambda done, total: seen.append((done, total)))
    names = sorted(line.split(":")[0] for line in photos.left_out)
    assert names == ["empty.jpg", "text.png", "tiny.png", "truncated.png"]
    assert "40x20 is smaller than a crop" in " ".join(photos.left_out)
    assert len(photos.training) + len(photos.held_out) == 5
    assert seen == [(index + 1, 9) for index in range(9)]


def test_too_few_photographs(folder: Path) -> None:
    with pytest.raises(TrainingError, match=r"only 0 usable photographs.*5 left out.*smaller than a crop"):
        load_photos((str(folder),), 4, 100)
    with pytest.raises(TrainingError, match="only 1 usable"):
        load_photos((str(folder / "photo00.png"),), 4, 8)


def test_missing_folder() -> None:
    with pytest.raises(TrainingError, match="no folder 'nowhere'"):
        load_photos(("nowhere",), 4, 8)


@pytest.mark.parametrize("count", [2, 3, 7, 60, 120])
def test_held_out_photographs_are_never_drawn(tmp_path: Path, count: int) -> None:
    colored(tmp_path, count)
    photos = load_photos((str(tmp_path),), 2, 8)
    held_out = {int(pair.name[:3]) for pair in photos.held_out}
    training = {int(pair.name[:3]) for pair in photos.training}
    assert held_out
    assert held_out | training == set(range(count))
    assert not held_out & training
    _, high = Crops(photos.training, 2, 0).draw(1200, 8)
    reds = high[:, 0].mul(255).round()
    assert torch.equal(reds.amin((1, 2)), reds.amax((1, 2)))
    assert set(reds[:, 0, 0].int().tolist()) == training


def test_a_photograph_found_twice_counts_once(folder: Path) -> None:
    once = load_photos((str(folder),), 4, 8)
    twice = load_photos((str(folder), str(folder / ".." / "photos"), str(folder / "photo01.png")), 4, 8)
    assert [pair.name for pair in twice.training] == [pair.name for pair in once.training]
    assert [pair.name for pair in twice.held_out] == [pair.name for pair in once.held_out]


def test_the_seed_decides_what_is_drawn(folder: Path) -> None:
    pairs = load_photos((str(folder),), 4, 8).training
    first, second, other = Crops(pairs, 4, 1), Crops(pairs, 4, 1), Crops(pairs, 4, 2)
    for patch_px in (8, 12):
        for one, same in zip(first.draw(6, patch_px), second.draw(6, patch_px), strict=True):
            assert torch.equal(one, same)
    assert not torch.equal(first.draw(6, 8)[0], other.draw(6, 8)[0])


def test_the_generator_s_state_is_all_that_drawing_depends_on(folder: Path) -> None:
    pairs = load_photos((str(folder),), 4, 8).training
    crops = Crops(pairs, 4, 1)
    crops.draw(6, 8)
    state = crops.generator.get_state()
    wanted = crops.draw(6, 8)
    torch.rand(7)  # the global generator has no part in it
    fresh = Crops(pairs, 4, 99)
    fresh.generator.set_state(state)
    for one, same in zip(wanted, fresh.draw(6, 8), strict=True):
        assert torch.equal(one, same)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_low_and_high_crops_show_the_same_place(folder: Path, scale: int) -> None:
    low, high = Crops(load_photos((str(folder),), scale, 16).training, scale, 0).draw(24, 16)
    assert low.shape == (24, 3, 16, 16)
    assert high.shape == (24, 3, 16 * scale, 16 * scale)
    assert low.is_contiguous(memory_format=torch.channels_last)
    assert low.dtype == high.dtype == torch.float32
    assert 0 <= float(high.min()) < float(high.max()) <= 1
    reduced = reduce(high.mul(255).round().to(torch.uint8), scale).float() / 255
    # Inside, where the kernel does not look over the border; one level for another order of summation.
    difference = (reduced - low)[..., 2:-2, 2:-2].abs() * 255
    assert float(difference.max()) < 1.5
    assert float(difference.mean()) < 0.01


def test_crops_come_in_all_eight_symmetries() -> None:
    high = torch.randint(256, (16, 16, 3), dtype=torch.uint8)
    low = torch.randint(256, (8, 8, 3), dtype=torch.uint8)  # its own pattern: both must turn alike
    lows, highs = Crops([Pair("one", low, high)], 2, 0).draw(64, 8)
    wanted = {}
    for mirrored in (False, True):
        for quarters in range(4):
            turned = [
                torch.rot90(side.flip(1) if mirrored else side, quarters, (0, 1)) for side in (low, high)
            ]
            wanted[turned[0].numpy().tobytes()] = turned[1].numpy().tobytes()
    seen = set()
    for made_low, made_high in zip(lows, highs, strict=True):
        key, value = (
            side.permute(1, 2, 0).mul(255).round().to(torch.uint8).contiguous().numpy().tobytes()
            for side in (made_low, made_high)
        )
        assert wanted[key] == value
        seen.add(key)
    assert len(seen) == 8


def test_flat_crops_are_left_out() -> None:
    textured = Pair(
        "textured",
        torch.randint(256, (48, 48, 3), dtype=torch.uint8),
        torch.randint(256, (96, 96, 3), dtype=torch.uint8),
    )
    flat = Pair(
        "flat",
        torch.full((16, 16, 3), 77, dtype=torch.uint8),
        torch.full((32, 32, 3), 77, dtype=torch.uint8),
    )
    # A tenth of the area is flat: of 16 crops drawn for 12 used seldom more than the 4 that are left out.
    crops = Crops([textured, flat], 2, 0)
    places = [photo for _ in range(40) for photo, _, _ in crops._places(16, 8)]
    assert 30 < sum(places) < 100
    lows = torch.cat([crops.draw(12, 8)[0] for _ in range(40)])
    assert (lows.flatten(1).std(1) == 0).sum() <= 2


def test_large_photographs_are_drawn_more_often() -> None:
    def random_pair(side: int, red: int) -> Pair:
        low = torch.randint(256, (side, side, 3), dtype=torch.uint8)
        low[..., 0] = red
        return Pair(str(red), low, low.repeat_interleave(2, 0).repeat_interleave(2, 1))

    low, _ = Crops([random_pair(16, 0), random_pair(48, 255)], 2, 0).draw(600, 8)
    assert float(low[:, 0].mean()) == pytest.approx(0.9, abs=0.05)
