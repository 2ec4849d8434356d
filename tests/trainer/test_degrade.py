import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from support.pictures import photograph
from torch import Generator, Tensor

from upscaler.errors import UsageError
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photo_pairs import PhotoPair
from upscaler.trainer.data.photos import load_photos
from upscaler.trainer.degrade import artifacts, files, h264, jpeg
from upscaler.trainer.degrade.degradations import downscale, parse

DAMAGING = ["photo", "mild", "mild-combined", "jpeg20", "jpeg10-95", "real", "drawn", "strong"]


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def batch_of(count: int, side: int = 96) -> Tensor:
    """Photographs ``(count, 3, side, side)``."""
    return torch.stack([as_tensor(photograph(side, side, seed)) for seed in range(count)])


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def by(name: str, hr: Tensor, scale: int, seed: int = 0) -> Tensor:
    damage = parse(name).degrade
    assert damage is not None
    lr, _ = damage(downscale(hr, scale), hr, scale, seeded(seed))
    return lr


def psnr(one: Tensor, other: Tensor) -> float:
    return float(10 * torch.log10(255**2 / (one.float() - other.float()).square().mean()))


# JPEG


def by_pillow(pixels: NDArray[np.uint8], quality: int, subsampling: int) -> Tensor:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality, subsampling=subsampling)
    with Image.open(file) as picture:
        return as_tensor(np.array(picture))


@pytest.mark.parametrize("quality", [1, 10, 20, 50, 75, 95, 100])
@pytest.mark.parametrize(("subsampling", "halved"), [(0, False), (2, True)])
@pytest.mark.parametrize("size", [(64, 80), (53, 75)])
def test_jpeg_equals_pillow(quality: int, subsampling: int, halved: bool, size: tuple[int, int]) -> None:
    """To rounding: a coefficient that lies near half-way between two steps goes either way."""
    pixels = photograph(*size)
    expected = by_pillow(pixels, quality, subsampling).float()
    result = jpeg.round_trip(as_tensor(pixels)[None], torch.tensor([quality]), torch.tensor([halved]))[0]
    assert result.shape == expected.shape
    assert torch.equal(result, result.round())
    damage = float((expected - as_tensor(pixels)).abs().mean())
    assert float((result - expected).abs().mean()) < max(0.9, 0.05 * damage)
    assert float((result - expected).mean().abs()) < 0.1  # no drift
    assert psnr(result, as_tensor(pixels)) == pytest.approx(psnr(expected, as_tensor(pixels)), rel=0.01)


def test_jpeg_of_a_batch_equals_jpeg_of_each_image() -> None:
    batch = batch_of(4, 48)
    quality, halved = torch.tensor([5, 90, 30, 5]), torch.tensor([True, False, False, True])
    together = jpeg.round_trip(batch, quality, halved)
    for index in range(4):
        alone = jpeg.round_trip(
            batch[index : index + 1], quality[index : index + 1], halved[index : index + 1]
        )
        assert torch.equal(together[index], alone[0])


# Names


@pytest.mark.parametrize(
    "name", ["", "Photo", "jpeg", "jpeg0", "jpeg101", "jpeg30-20", "jpeg-5", "jpeg20-", "video0", "video52"]
)
def test_unknown_names(name: str) -> None:
    known = "clean, bilinear, photo, mild, mild-combined, real, drawn, strong, video, videoN .*jpegN"
    with pytest.raises(UsageError, match=rf"unknown degradation.*{known}"):
        parse(name)


def test_downscaling_alone_leaves_nothing_to_restore() -> None:
    assert [name for name in ("clean", "bilinear", "video", *DAMAGING) if not parse(name).restorable] == [
        "clean",
        "bilinear",
    ]


# What each does


@pytest.mark.parametrize("name", [*DAMAGING, "bilinear"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_shape_seed_and_input(name: str, scale: int) -> None:
    hr = batch_of(6)
    before = hr.clone()
    lr = by(name, hr, scale)
    assert (lr.dtype, lr.shape) == (torch.uint8, (6, 3, 96 // scale, 96 // scale))
    assert torch.equal(hr, before)
    assert torch.equal(lr, by(name, hr, scale))
    if name not in ("bilinear", "jpeg20"):  # nothing is drawn there
        assert not torch.equal(lr, by(name, hr, scale, seed=1))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_downscaling_kernels_equal_pillow(scale: int) -> None:
    pixels = photograph(96, 72)
    ways = {
        Image.Resampling.BILINEAR: artifacts.downscale_bilinear,
        Image.Resampling.BOX: artifacts.downscale_box,
        Image.Resampling.LANCZOS: artifacts.downscale_lanczos,
    }
    for resampling in ways:
        expected = as_tensor(np.array(Image.fromarray(pixels).resize((72 // scale, 96 // scale), resampling)))
        values = {
            kind: psnr(way(as_tensor(pixels)[None].float(), scale)[0].clamp(0, 255).round(), expected)
            for kind, way in ways.items()
        }
        assert values[resampling] > 50  # Pillow rounds after each of the two directions
        assert all(value < values[resampling] - 5 for kind, value in values.items() if kind != resampling)


def test_bilinear_equals_pillow() -> None:
    pixels = photograph(96, 96)
    expected = np.asarray(Image.fromarray(pixels).resize((24, 24), Image.Resampling.BILINEAR)).astype(int)
    result = by("bilinear", as_tensor(pixels)[None], 4)[0].permute(1, 2, 0).numpy()
    assert np.abs(result - expected).max() <= 1


def test_a_third_of_photo_is_clean_and_the_rest_mildly_degraded() -> None:
    hr = as_tensor(photograph(96, 96)).expand(400, -1, -1, -1)
    clean = downscale(hr[:1], 2)[0]
    lr = by("photo", hr, 2)
    same = torch.tensor([torch.equal(each, clean) for each in lr])
    assert 0.25 < float(same.float().mean()) < 0.45
    values = torch.tensor([psnr(each, clean) for each in lr[~same]])
    assert float(values.min()) > 20
    assert 25 < float(values.median()) < 45


def test_mild_combined_applies_all_degradations_to_every_image() -> None:
    hr = as_tensor(photograph(96, 96)).expand(60, -1, -1, -1)
    clean, combined, mild = downscale(hr[:1], 2)[0], by("mild-combined", hr, 2), by("mild", hr, 2)
    quality = torch.tensor([[psnr(each, clean) for each in lr] for lr in (combined, mild)])
    assert 20 < float(quality[0].min()) < float(quality[0].max()) < 45
    assert float(quality[0].median()) < float(quality[1].median())
    flat = torch.full((60, 3, 32, 32), 128, dtype=torch.uint8)  # of blur and JPEG it shows nothing
    grain = by("mild-combined", flat, 1).float().std((1, 2, 3))
    assert 0.3 < float((grain > 0.5).float().mean()) < 0.9  # JPEG takes weak noise away


def test_strong_degrades_more_than_photo() -> None:
    hr = batch_of(8)
    clean = downscale(hr, 2)
    strong = [psnr(by("strong", hr, 2, seed), clean) for seed in range(5)]
    photo = [psnr(by("photo", hr, 2, seed), clean) for seed in range(5)]
    assert max(strong) < min(photo)
    assert min(strong) > 10


def test_real_is_milder_than_strong_and_leaves_a_tenth_clean() -> None:
    hr = as_tensor(photograph(96, 96)).expand(400, -1, -1, -1)
    clean = downscale(hr[:1], 4)[0]
    real, strong = by("real", hr, 4), by("strong", hr, 4)
    same = torch.tensor([torch.equal(each, clean) for each in real])
    assert 0.05 < float(same.float().mean()) < 0.2
    quality = torch.tensor([[psnr(each, clean) for each in lr] for lr in (real[~same], strong[~same])])
    assert float(quality[0].min()) > 13
    assert float(quality[1].median()) + 1 < float(quality[0].median()) < 40


def test_real_sharpens_some_and_blurs_some() -> None:
    hr = as_tensor(photograph(96, 96)).expand(200, -1, -1, -1)
    contrast = by("real", hr, 2).float().std((1, 2, 3)) / downscale(hr[:1], 2).float().std()
    assert float(contrast.min()) < 0.95
    assert float(contrast.max()) > 1.1


def drawing() -> Tensor:
    """A red disc with a black line on white, ``(1, 3, 96, 96)``."""
    rows, columns = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    distance = ((rows - 48).square() + (columns - 48).square()).sqrt()
    pixels = torch.full((3, 96, 96), 255.0)
    pixels[:, distance < 36] = 0
    pixels[0, distance < 32] = 230
    return pixels.to(torch.uint8)[None]


def test_half_of_drawn_is_only_downscaled_and_some_have_a_small_palette() -> None:
    hr = drawing().expand(300, -1, -1, -1)
    clean = downscale(hr[:1], 2)[0]
    lr = by("drawn", hr, 2)
    same = torch.tensor([torch.equal(each, clean) for each in lr])
    assert 0.4 < float(same.float().mean()) < 0.6
    worn = lr[~same]
    quality = torch.tensor([psnr(each, clean) for each in worn])
    assert float(quality.min()) > 11
    assert 20 < float(quality.median()) < 40
    colors = torch.tensor([len(each.flatten(1).unique(dim=1).T) for each in worn])
    assert 0.05 < float((colors <= 64).float().mean()) < 0.4
    assert float((colors > 256).float().mean()) > 0.4  # the artifacts around lines that JPEG leaves
    paper = worn[:, :, 0, 0].float().mean(1)
    assert 0.05 < float((paper < 250).float().mean()) < 0.4  # scans


@pytest.mark.parametrize("way", ["jpeg", "webp", "h264", "mpeg2", "gif"])
def test_files_change_a_drawing_without_moving_it(way: str) -> None:
    levels = drawing().float().expand(3, -1, -1, -1)
    saved = {
        "jpeg": lambda: files.as_jpeg(levels, (30, 60), seeded()),
        "webp": lambda: files.as_webp(levels, (30, 60), seeded()),
        "h264": lambda: files.as_h264(levels, (28, 34), seeded()),
        "mpeg2": lambda: files.as_mpeg2(levels, (8, 12), seeded()),
        "gif": lambda: files.as_gif(
            artifacts.convolve(levels, artifacts.gaussian_kernels(torch.full((3,), 3.0), 13)).round(),
            seeded(),
        ),
    }[way]()
    assert saved.shape == levels.shape
    assert torch.equal(saved, saved.round())
    assert 14 < psnr(saved, levels) < 45
    shifted = torch.roll(levels, 2, -1)
    assert psnr(saved, levels) > psnr(saved, shifted) + 1


def test_sharpening_overshoots_at_edges_and_keeps_flat_areas() -> None:
    levels = torch.full((2, 3, 16, 32), 60.0)
    levels[..., 16:] = 180
    result = artifacts.sharpen(levels, torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.0]))
    assert float(result[0].max()) > 185
    assert float(result[0].min()) < 55
    assert torch.allclose(result[0, ..., :8], levels[0, ..., :8], atol=0.01)
    assert torch.allclose(result[1], levels[1], atol=0.01)


@pytest.mark.parametrize(("encode", "values"), [(h264.frame, (18, 32)), (h264.dvd_frame, (2, 12))])
def test_a_coded_frame_shows_the_picture_degraded(
    encode: Callable[[Tensor, int], Tensor], values: tuple[int, int]
) -> None:
    picture = as_tensor(photograph(45, 51))
    values_db = [psnr(encode(picture, value) * 255, picture) for value in values]
    assert 20 < values_db[1] < values_db[0] - 1
    assert values_db[0] < 45


def test_jpeg_with_one_quality_equals_saving_the_downscaled_image() -> None:
    hr = batch_of(3)
    lr = by("jpeg35", hr, 2)
    for result, reduced in zip(lr, downscale(hr, 2), strict=True):
        expected = by_pillow(reduced.permute(1, 2, 0).contiguous().numpy(), 35, 2)
        assert psnr(result, expected) > 40 > psnr(result, reduced) + 5


def test_jpeg_with_a_range_draws_all_its_qualities() -> None:
    hr = as_tensor(photograph(64, 64)).expand(200, -1, -1, -1)
    lr = by("jpeg10-95", hr, 1)
    values = sorted(psnr(each, hr[0]) for each in lr)
    worst, best = (psnr(by(f"jpeg{quality}", hr[:1], 1)[0], hr[0]) for quality in (10, 95))
    assert values[0] == pytest.approx(worst, abs=1)
    assert values[-1] > best - 1


def test_the_target_of_good_jpeg_at_scale_1_is_its_input() -> None:
    """Up to quality 90 a network of scale 1 is to find the original; above, what it gets is good enough."""
    hr = batch_of(24)
    for name, scale, kept in (
        ("jpeg91-100", 1, True),
        ("jpeg10-90", 1, False),
        ("jpeg91-100", 2, False),
        ("jpeg95", 1, False),
    ):
        damage = parse(name).degrade
        assert damage is not None
        lr, expected = damage(downscale(hr, scale), hr, scale, seeded())
        assert torch.equal(expected, lr if kept else hr), name
        assert scale > 1 or not torch.equal(lr, hr)


def test_kernels_add_up_to_one_and_do_not_move_the_picture() -> None:
    for kernels in (
        artifacts.blur_kernels(64, (0.2, 3), seeded()),
        artifacts.sinc_kernels(64, seeded()),
        artifacts.gaussian_kernels(torch.linspace(0.1, 0.8, 8), 7),
    ):
        assert kernels.isfinite().all()
        assert torch.allclose(kernels.sum((1, 2)), torch.ones(len(kernels)), atol=1e-5)
        assert torch.allclose(kernels, kernels.flip(1, 2), atol=1e-6)  # point-symmetric: no shift


def test_filter_against_a_plain_convolution() -> None:
    levels = batch_of(2, 24).float()
    kernels = torch.rand(2, 5, 5)
    result = artifacts.convolve(levels, kernels)
    edged = torch.nn.functional.pad(levels, (2, 2, 2, 2), mode="replicate")
    expected = torch.stack(
        [
            torch.nn.functional.conv2d(picture[:, None], kernel.flip(0, 1)[None, None])[:, 0]
            for picture, kernel in zip(edged, kernels, strict=True)
        ]
    )
    assert torch.allclose(result, expected, atol=0.01)


# Films


def test_coded_versions_show_the_photograph_aligned_and_degraded() -> None:
    hr = as_tensor(photograph(90, 102))
    clean = downscale(hr[None], 2)[0]
    result = h264.versions(hr, 2, 6, seeded())
    assert all(each.shape == (45, 51, 3) and each.dtype == torch.uint8 for each in result)
    assert not torch.equal(result[0], result[1])
    for each in result:
        quality = psnr(each.permute(2, 0, 1), clean)
        assert 20 < quality < 42
        moved = each.roll(1, 0).permute(2, 0, 1)
        assert psnr(moved, clean) < quality - 1
    again = h264.versions(hr, 2, 6, seeded())
    assert all(torch.equal(one, other) for one, other in zip(result, again, strict=True))


# In training


@pytest.fixture
def pair() -> PhotoPair:
    hr = torch.from_numpy(photograph(160, 192))
    return PhotoPair("one", downscale(hr.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0).contiguous(), hr)


@pytest.mark.parametrize("name", DAMAGING)
def test_degraded_crops_are_aligned_with_their_originals(pair: PhotoPair, name: str) -> None:
    lr, hr = Crops([pair], 2, 0, name).draw(12, 24)
    assert (lr.shape, hr.shape) == ((12, 3, 24, 24), (12, 3, 48, 48))
    assert lr.dtype == hr.dtype == torch.float32
    assert lr.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= float(lr.min()) < float(lr.max()) <= 1
    clean = downscale(hr.mul(255).round().to(torch.uint8), 2).float() / 255
    inside = (..., slice(3, -3), slice(3, -3))
    near = float((lr - clean)[inside].square().mean())
    for shifted in (clean.roll(2, 2), clean.roll(-2, 3)):
        assert float((lr - shifted)[inside].square().mean()) > 1.1 * near


def test_lr_and_hr_crops_have_the_same_size_at_scale_1(pair: PhotoPair) -> None:
    same = PhotoPair("one", pair.hr, pair.hr)
    lr, hr = Crops([same], 1, 0, "jpeg20").draw(8, 32)
    assert lr.shape == hr.shape == (8, 3, 32, 32)
    assert 20 < psnr(lr * 255, hr * 255) < 40


def test_the_jpeg_block_grid_is_at_any_offset_in_crops(pair: PhotoPair) -> None:
    """The steps at the borders of blocks: were the grid always at 0, they would be in the same columns."""
    lr, _ = Crops([PhotoPair("one", pair.hr, pair.hr)], 1, 0, "jpeg5").draw(256, 32)
    steps = lr.mean(1).diff(dim=2).abs().mean(1)  # (256, 31)
    strongest = {int(each) for each in steps.view(256, -1)[:, :24].view(256, 3, 8).mean(1).argmax(1)}
    assert strongest == set(range(8))


def test_a_photograph_no_larger_than_the_crop(pair: PhotoPair) -> None:
    small = PhotoPair("small", pair.lr[:24, :20], pair.hr[:48, :40])
    lr, hr = Crops([small], 2, 0, "jpeg90").draw(8, 20)
    assert (lr.shape, hr.shape) == ((8, 3, 20, 20), (8, 3, 40, 40))
    values = set(hr.mul(255).round().int().flatten().tolist())
    assert values <= set(small.hr.int().flatten().tolist())


@pytest.mark.parametrize("name", ["photo", "video", "real", "drawn", "strong"])
def test_degraded_crops_can_be_drawn_again(tmp_path: Path, make_photos: object, name: str) -> None:
    make_photos(tmp_path, 3)  # type: ignore[operator]
    pairs = load_photos((str(tmp_path),), 2, 16, degradation=name).training
    crops = Crops(pairs, 2, 5, name)
    crops.draw(4, 16)
    state = crops.generator.get_state()
    expected = crops.draw(4, 16)
    fresh = Crops(pairs, 2, 99, name)
    fresh.generator.set_state(state)
    assert all(torch.equal(one, other) for one, other in zip(expected, fresh.draw(4, 16), strict=True))


@pytest.mark.parametrize("name", ["photo", "video", "jpeg20"])
def test_held_out_photographs_are_degraded_alike_in_every_run(
    tmp_path: Path, make_photos: object, name: str
) -> None:
    make_photos(tmp_path, 8)  # type: ignore[operator]
    clean = load_photos((str(tmp_path),), 2, 16)
    one, other = (load_photos((str(tmp_path),), 2, 16, degradation=name) for _ in range(2))
    assert len(one.held_out) == len(clean.held_out)
    changed = 0
    for first, second, plain in zip(one.held_out, other.held_out, clean.held_out, strict=True):
        assert first.lr.shape == plain.lr.shape
        assert torch.equal(first.lr, second.lr)
        assert torch.equal(first.hr, plain.hr)
        changed += not torch.equal(first.lr, plain.lr)
    assert changed or name == "photo"


def test_video_draws_from_the_coded_versions(pair: PhotoPair) -> None:
    films = tuple(torch.full_like(pair.lr, level) for level in (50, 100, 150))
    lr, _ = Crops([PhotoPair("one", pair.lr, pair.hr, films)], 2, 0, "video").draw(60, 16)
    assert set(lr[:, 0, 0, 0].mul(255).round().int().tolist()) == {50, 100, 150}
