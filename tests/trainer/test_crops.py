from pathlib import Path
from typing import Literal

import pytest
import torch
from support.makers import MakePhotos

from upscaler.trainer.data.crop_stores import CropCoordinates, DeviceStore, MemoryStore
from upscaler.trainer.data.crops import Crops, _coordinates
from upscaler.trainer.data.photo_pairs import PhotoPair
from upscaler.trainer.data.photos import load_photos
from upscaler.trainer.degrade.degradations import downscale


@pytest.fixture
def folder(tmp_path: Path, make_photos: MakePhotos) -> Path:
    make_photos(tmp_path / "photos", 5)
    return tmp_path / "photos"


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
    expected = crops.draw(6, 8)
    torch.rand(7)  # the global generator has no part in it
    fresh = Crops(pairs, 4, 99)
    fresh.generator.set_state(state)
    for one, same in zip(expected, fresh.draw(6, 8), strict=True):
        assert torch.equal(one, same)


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_low_and_high_crops_show_the_same_place(folder: Path, scale: int) -> None:
    lr, hr = Crops(load_photos((str(folder),), scale, 16).training, scale, 0).draw(24, 16)
    assert lr.shape == (24, 3, 16, 16)
    assert hr.shape == (24, 3, 16 * scale, 16 * scale)
    assert lr.is_contiguous(memory_format=torch.channels_last)
    assert lr.dtype == hr.dtype == torch.float32
    assert 0 <= float(hr.min()) < float(hr.max()) <= 1
    reduced = downscale(hr.mul(255).round().to(torch.uint8), scale).float() / 255
    # Inside, where the kernel does not look over the border; one level for another order of summation.
    difference = (reduced - lr)[..., 2:-2, 2:-2].abs() * 255
    assert float(difference.max()) < 1.5
    assert float(difference.mean()) < 0.01


def test_crops_come_in_all_eight_symmetries() -> None:
    hr = torch.randint(256, (16, 16, 3), dtype=torch.uint8)
    lr = torch.randint(256, (8, 8, 3), dtype=torch.uint8)  # its own pattern: both must turn alike
    lr_crops, hr_crops = Crops([PhotoPair("one", lr, hr)], 2, 0).draw(64, 8)
    expected = {}
    for mirrored in (False, True):
        for quarters in range(4):
            turned = [torch.rot90(side.flip(1) if mirrored else side, quarters, (0, 1)) for side in (lr, hr)]
            expected[turned[0].numpy().tobytes()] = turned[1].numpy().tobytes()
    seen = set()
    for made_low, made_high in zip(lr_crops, hr_crops, strict=True):
        key, value = (
            side.permute(1, 2, 0).mul(255).round().to(torch.uint8).contiguous().numpy().tobytes()
            for side in (made_low, made_high)
        )
        assert expected[key] == value
        seen.add(key)
    assert len(seen) == 8


def test_flat_crops_are_dropped() -> None:
    textured = PhotoPair(
        "textured",
        torch.randint(256, (48, 48, 3), dtype=torch.uint8),
        torch.randint(256, (96, 96, 3), dtype=torch.uint8),
    )
    flat = PhotoPair(
        "flat",
        torch.full((16, 16, 3), 77, dtype=torch.uint8),
        torch.full((32, 32, 3), 77, dtype=torch.uint8),
    )
    # A tenth of the area is flat: of 16 crops drawn for 12 used seldom more than the 4 that are left out.
    crops = Crops([textured, flat], 2, 0)
    flat_ones = sum(
        int(_coordinates(crops._pool_at(0), crops.generator, 16, 8).photo.sum()) for _ in range(40)
    )
    assert 30 < flat_ones < 100
    lr_crops = torch.cat([crops.draw(12, 8)[0] for _ in range(40)])
    assert (lr_crops.flatten(1).std(1) == 0).sum() <= 2


@pytest.mark.parametrize("flat_crop_drop_ratio", [0.0, 0.5, 0.75])
def test_the_share_of_flat_crops_that_is_dropped(flat_crop_drop_ratio: float) -> None:
    """Of crops whose contrast is evenly spread, the mean contrast of the upper ranks is known."""
    ramp = torch.arange(256).repeat_interleave(16).expand(16, -1)
    noise = (torch.rand(16, 4096) - 0.5) * ramp + 128
    lr = noise.round().to(torch.uint8)[..., None].expand(-1, -1, 3).contiguous()
    pair = PhotoPair("ramp", lr, lr.repeat_interleave(2, 0).repeat_interleave(2, 1))
    crops = Crops([pair], 2, 0, flat_crop_drop_ratio=flat_crop_drop_ratio)
    contrasts = torch.cat([crops.draw(4, 16)[0] for _ in range(100)]).flatten(1).std(1) * 255 * 12**0.5
    ranks = 4 / (1 - flat_crop_drop_ratio)
    assert float(contrasts.mean()) == pytest.approx(256 * (1 - 2.5 / (ranks + 1)), rel=0.06)


def test_large_photographs_are_drawn_more_often() -> None:
    def random_pair(side: int, red: int) -> PhotoPair:
        lr = torch.randint(256, (side, side, 3), dtype=torch.uint8)
        lr[..., 0] = red
        return PhotoPair(str(red), lr, lr.repeat_interleave(2, 0).repeat_interleave(2, 1))

    lr, _ = Crops([random_pair(16, 0), random_pair(48, 255)], 2, 0).draw(600, 8)
    assert float(lr[:, 0].mean()) == pytest.approx(0.9, abs=0.05)


@pytest.mark.parametrize("scale", [1, 2, 3])
def test_crops_cut_on_a_device_are_those_cut_in_memory(folder: Path, scale: int) -> None:
    """The way for GPUs, tried on the processor: every turn, every version, and beyond the edges."""
    pairs = load_photos((str(folder),), scale, 16, degradation="video").training
    crops = [
        (photo, top, left, turn, version)
        for photo in range(len(pairs))
        for turn, (top, left) in enumerate(
            [(0, 0), (3, 5), (-4, 2), (20, 21), (7, -3), (9, 9), (1, 0), (0, 1)]
        )
        for version in (0, 1, 3)
    ]
    coordinates = CropCoordinates(*torch.tensor(crops).unbind(1))
    ways = MemoryStore(pairs, scale), DeviceStore(pairs, scale, torch.device("cpu"))
    for one, other in zip(*(way.cut(coordinates, 24) for way in ways), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("degradation", ["clean", "photo", "video"])
def test_crops_drawn_on_a_device_are_those_drawn_in_memory(folder: Path, degradation: str) -> None:
    pairs = load_photos((str(folder),), 2, 16, degradation=degradation).training
    in_memory, on_device = Crops(pairs, 2, 0, degradation), Crops(pairs, 2, 0, degradation)
    on_device._store, on_device._worker = DeviceStore(pairs, 2, torch.device("cpu")), None
    for _ in range(3):
        ways = in_memory.draw(6, 12), on_device.draw(6, 12)
        assert all(torch.equal(*sides) for sides in zip(*ways, strict=True))


@pytest.mark.parametrize("degradation", ["clean", "photo"])
def test_crops_drawn_ahead_equal_crops_drawn_in_turn(folder: Path, degradation: str) -> None:
    pairs = load_photos((str(folder),), 2, 16).training
    crops = Crops(pairs, 2, 0, degradation)
    shapes = [(4, 8), (4, 8), (6, 8), (6, 12), (6, 12), (4, 8), (4, 8)]
    result = []
    for number, shape in enumerate(shapes):
        if number == 4:
            early = crops.generator.get_state()
        result.append(crops.draw(*shape))
    for number, shape in enumerate(shapes[4:], start=4):  # each by an object that has drawn nothing ahead
        fresh = Crops(pairs, 2, 99, degradation)
        fresh.generator.set_state(early)
        assert all(torch.equal(*sides) for sides in zip(fresh.draw(*shape), result[number], strict=True))
        early = fresh.generator.get_state()
    crops.generator.set_state(fresh.generator.get_state())  # back, as when a run returns to its last state
    crops.generator.manual_seed(7)
    again = Crops(pairs, 2, 7, degradation)
    assert all(torch.equal(*sides) for sides in zip(crops.draw(4, 8), again.draw(4, 8), strict=True))


def test_errors_of_drawing_are_raised_by_the_next_draw(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> CropCoordinates:
        raise MemoryError("planted")

    crops = Crops(load_photos((str(folder),), 2, 16).training, 2, 0)
    with monkeypatch.context() as patch:
        patch.setattr(crops, "_chosen", broken)
        with pytest.raises(MemoryError, match="planted"):
            crops.draw(4, 16)
    assert crops.draw(4, 16)[0].shape == (4, 3, 16, 16)


def test_detailed_places_are_preferred_in_proportion() -> None:
    """A picture of two halves, one with three times the contrast: it gives three times as many crops."""
    random = torch.Generator().manual_seed(0)
    noise = torch.randint(-20, 21, (64, 256, 3), generator=random)
    noise[:, 128:] *= 3
    lr = (noise + 128).to(torch.uint8)
    pair = PhotoPair("two halves", lr, lr.repeat_interleave(2, 0).repeat_interleave(2, 1))

    def share(focus: Literal["everywhere", "detail"]) -> float:
        crops = Crops([pair], 2, 0, flat_crop_drop_ratio=0, focus=focus)
        contrasts = torch.cat([crops.draw(16, 8)[0] for _ in range(40)]).flatten(1).std(1) * 255
        return float((contrasts > 23).float().mean())  # levels: 12 and 36

    assert 0.4 < share("everywhere") < 0.6
    assert 0.65 < share("detail") < 0.8
