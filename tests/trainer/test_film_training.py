"""Clips that networks for films learn from: cut from videos, made from photographs."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from support import media
from support.makers import Configure, MakePhotos
from support.training import silent
from torch import Generator, Tensor

from upscaler.errors import UsageError
from upscaler.models import weight_file
from upscaler.trainer.data.clip_pairs import ClipReader, ClipSettings
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.made_motion import moving_clip
from upscaler.trainer.data.photo_pairs import PhotoPair
from upscaler.trainer.data.photos import load_photos
from upscaler.trainer.data.sources import Source
from upscaler.trainer.degrade import degradations
from upscaler.trainer.degrade.degradations import downscale
from upscaler.trainer.loops import train
from upscaler.trainer.stages import losses


def reader(degradation: str = "clean", size: float = 1) -> ClipReader:
    return ClipReader(ClipSettings(3, 2, degradations.parse(degradation), size))


def source(path: Path) -> Source:
    return Source(path, Path(path.name), 0)


def frames(image: Tensor) -> list[Tensor]:
    """``(H, W, 3*T)`` -> ``(3, H, W)`` each."""
    return [frame.permute(2, 0, 1) for frame in image.split(3, dim=2)]


def test_a_video_becomes_clips_whose_frames_move_on(tmp_path: Path) -> None:
    path = media.clip(tmp_path / "a.mp4", frames=7, height=48, width=64)
    first, second = reader().clips(source(path), 16)
    for pair in (first, second):
        assert (tuple(pair.hr.shape), tuple(pair.lr.shape)) == ((48, 64, 9), (24, 32, 9))
        for small, large in zip(frames(pair.lr), frames(pair.hr), strict=True):
            assert torch.equal(small, downscale(large.unsqueeze(0), 2)[0])
    moved = frames(first.hr) + frames(second.hr)
    assert not any(torch.equal(one, other) for one, other in pairwise(moved))
    (half, _) = reader(size=0.5).clips(source(path), 8)
    assert half.hr.shape == (24, 32, 9)


def test_videos_are_encoded_as_a_whole_and_half_stay_clean_for_films(tmp_path: Path) -> None:
    path = media.clip(tmp_path / "a.mp4", frames=6, height=64, width=64)
    for pair in reader("video").clips(source(path), 16):
        assert len(pair.lr_variants) == 4
        assert not any(torch.equal(version, pair.lr) for version in pair.lr_variants)
    for pair in reader("film").clips(source(path), 16):
        clean = [torch.equal(version, pair.lr) for version in pair.lr_variants]
        assert sorted(clean) == 4 * [False] + 4 * [True]
    again = reader("film").clips(source(path), 16)
    assert torch.equal(again[0].lr_variants[0], reader("film").clips(source(path), 16)[0].lr_variants[0])


@pytest.mark.parametrize("seed", range(4))
def test_made_motion_repeats_with_its_seed(seed: int) -> None:
    photograph = torch.randint(256, (3, 80, 90), dtype=torch.uint8, generator=Generator().manual_seed(seed))
    clip, again, other = (
        moving_clip(photograph, 4, 32, 2, Generator().manual_seed(number))
        for number in (seed, seed, seed + 9)
    )
    assert clip.shape == (4, 3, 32, 32) and clip.dtype == torch.uint8
    assert torch.equal(clip, again)
    assert not torch.equal(clip, other)


def test_made_motion_is_a_pan_by_parts_of_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    """A ramp tells by its level how far a frame has moved."""
    ramp = torch.arange(0, 240, 2).repeat(3, 120, 1).to(torch.uint8)
    monkeypatch.setattr("upscaler.trainer.data.made_motion._chance", lambda probability, generator: False)
    speeds = []
    for seed in range(6):
        clip = moving_clip(ramp, 5, 40, 2, Generator().manual_seed(seed)).float()
        speeds.append(clip[:, 0, 20, 20].diff() / 2)
    assert all(float(speed.std()) < 0.5 for speed in speeds)  # even, but for rounding, turn and zoom
    assert len({round(float(speed.mean()), 2) for speed in speeds}) > 3


def test_crops_of_clips_show_one_place_over_time(tmp_path: Path, make_photos: MakePhotos) -> None:
    make_photos(tmp_path / "photos", 2, height=96, width=96)
    media.clip(tmp_path / "photos" / "a.mp4", frames=6, height=64, width=64)
    photos = load_photos((str(tmp_path / "photos"),), 2, 16, degradation="clean", clip_frames=3)
    assert photos.not_images == {}
    lr, hr = Crops(photos.training, 2, 0).draw(8, 16)
    assert (lr.shape, hr.shape) == ((8, 3, 3, 16, 16), (8, 3, 3, 32, 32))
    reduced = downscale(hr.flatten(0, 1).mul(255).round().to(torch.uint8), 2).float() / 255
    difference = (reduced.view(lr.shape) - lr)[..., 2:-2, 2:-2].abs() * 255
    assert float(difference.max()) < 1.5


def test_half_of_the_clips_run_backwards_unless_they_were_encoded() -> None:
    levels = torch.arange(4).repeat_interleave(3).to(torch.uint8).expand(16, 16, 12).contiguous()
    lr, _ = Crops([PhotoPair("one", levels, levels)], 1, 0).draw(40, 8)
    order = lr.mul(255).round()[:, :, 0, 0, 0]
    forwards = (order.diff(dim=1) > 0).all(1)
    assert ((order.diff(dim=1) < 0).all(1) == ~forwards).all()
    assert 10 < int(forwards.sum()) < 30
    lr, _ = Crops([PhotoPair("one", levels, levels)], 1, 0, "video").draw(40, 8)
    assert (lr.mul(255).round()[:, :, 0, 0, 0].diff(dim=1) > 0).all()


def test_calm_is_an_error_that_does_not_change() -> None:
    hr = torch.rand(2, 4, 1, 8, 8)
    assert float(losses.calm_loss(hr + 0.1, hr)) == pytest.approx(0, abs=1e-6)
    flicker = 0.1 * torch.tensor([1.0, -1.0, 1.0, -1.0]).view(1, 4, 1, 1, 1)
    assert float(losses.calm_loss(hr + flicker, hr)) == pytest.approx(0.2, abs=1e-6)


def test_a_film_network_learns_from_its_own_clips(configure: Configure) -> None:
    config = configure(
        network="film",
        network_size={"channels": 4, "depth": 1},
        clip_frames=3,
        calm_weight=1.0,
        degradation="clean",
        steps=3,
    )
    train(config, silent)
    file = weight_file.load(Path(config.output))
    assert file.architecture == "film" and file.arguments["depth"] == 1
    header, *_, last = (Path(config.output).with_suffix(".run") / "metrics.csv").read_text().splitlines()
    assert float(dict(zip(header.split(","), last.split(","), strict=True))["psnr_db"]) > 5


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"clip_frames": 3}, "are for networks for films"),
        ({"plain_rate": 0.5}, "are for networks for films"),
        ({"network": "film", "clip_frames": 1, "degradation": "clean"}, "needs clip_frames of at least 2"),
        (
            {"network": "film", "clip_frames": 3, "degradation": "mild"},
            "needs degradation clean, film, video",
        ),
        ({"network": "film", "clip_frames": 3, "stages": "1,2"}, "needs stages 1"),
    ],
)
def test_what_films_cannot_be_learnt_from(
    configure: Configure, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        configure(**settings)
