import io
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
from upscaler.trainer.data.photos import PhotoPair, load_photos
from upscaler.trainer.degrade import artifacts, h264, jpeg
from upscaler.trainer.degrade.degradations import parse, reduce

DAMAGING = ["photo", "mild", "mild-combined", "jpeg20", "jpeg10-95", "real", "strong"]


def seeded(seed: int = 0) -> Generator:
    return Generator().manual_seed(seed)


def batch_of(count: int, side: int = 96) -> Tensor:
    """Photographs ``(count, 3, side, side)``."""
    return torch.stack([as_tensor(photograph(side, side, seed)) for seed in range(count)])


def as_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    return torch.from_numpy(pixels).permute(2, 0, 1)


def by(name: str, high: Tensor, scale: int, seed: int = 0) -> Tensor:
    damage = parse(name).degrade
    assert damage is not None
    low, _ = damage(reduce(high, scale), high, scale, seeded(seed))
    return low


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
def test_jpeg_is_pillow_s(quality: int, subsampling: int, halved: bool, size: tuple[int, int]) -> None:
    """To rounding: a coefficient that lies near half-way between two steps goes either way."""
    pixels = photograph(*size)
    wanted = by_pillow(pixels, quality, subsampling).float()
    made = jpeg.round_trip(as_tensor(pixels)[None], torch.tensor([quality]), torch.tensor([halved]))[0]
    assert made.shape == wanted.shape
    assert torch.equal(made, made.round())
    damage = float((wanted - as_tensor(pixels)).abs().mean())
    assert float((made - wanted).abs().mean()) < max(0.9, 0.05 * damage)
    assert float((made - wanted).mean().abs()) < 0.1  # no drift
    assert psnr(made, as_tensor(pixels)) == pytest.approx(psnr(wanted, as_tensor(pixels)), rel=0.01)


def test_jpeg_of_a_batch_is_that_of_each() -> None:
    batch = batch_of(4, 48)
    quality, halved = torch.tensor([5, 90, 30, 5]), torch.tensor([True, False, False, True])
    together = jpeg.round_trip(batch, quality, halved)
    for index in range(4):
        alone = jpeg.round_trip(
            batch[index : index + 1], quality[index : index + 1], halved[index : index + 1]
        )
        assert torch.equal(together[index], alone[0])


# Names


@pytest.mark.parametrize("name", ["", "Photo", "jpeg", "jpeg0", "jpeg101", "jpeg30-20", "jpeg-5", "jpeg20-"])
def test_unknown_names(name: str) -> None:
    known = "clean, bilinear, photo, mild, mild-combined, real, strong, video, jpegN"
    with pytest.raises(UsageError, match=rf"unknown degradation.*{known}"):
        parse(name)


def test_reduction_alone_leaves_nothing_to_restore() -> None:
    assert [name for name in ("clean", "bilinear", "video", *DAMAGING) if not parse(name).restorable] == [
        "clean",
        "bilinear",
    ]


# What each does


@pytest.mark.parametrize("name", [*DAMAGING, "bilinear"])
@pytest.mark.parametrize("scale", [1, 2, 3, 4])
def test_shape_seed_and_input(name: str, scale: int) -> None:
    high = batch_of(6)
    before = high.clone()
    low = by(name, high, scale)
    assert (low.dtype, low.shape) == (torch.uint8, (6, 3, 96 // scale, 96 // scale))
    assert torch.equal(high, before)
    assert torch.equal(low, by(name, high, scale))
    if name not in ("bilinear", "jpeg20"):  # nothing is drawn there
        assert not torch.equal(low, by(name, high, scale, seed=1))


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_reduction_kernels_are_pillow_s(scale: int) -> None:
    pixels = photograph(96, 72)
    ways = {
        Image.Resampling.BILINEAR: artifacts.by_triangle,
        Image.Resampling.BOX: artifacts.by_box,
        Image.Resampling.LANCZOS: artifacts.by_lanczos,
    }
    for resampling in ways:
        wanted = as_tensor(np.array(Image.fromarray(pixels).resize((72 // scale, 96 // scale), resampling)))
        values = {
            kind: psnr(way(as_tensor(pixels)[None].float(), scale)[0].clamp(0, 255).round(), wanted)
            for kind, way in ways.items()
        }
        assert values[resampling] > 50  # Pillow rounds after each of the two directions
        assert all(value < values[resampling] - 5 for kind, value in values.items() if kind != resampling)


def test_bilinear_is_pillow_s() -> None:
    pixels = photograph(96, 96)
    wanted = np.asarray(Image.fromarray(pixels).resize((24, 24), Image.Resampling.BILINEAR)).astype(int)
    made = by("bilinear", as_tensor(pixels)[None], 4)[0].permute(1, 2, 0).numpy()
    assert np.abs(made - wanted).max() <= 1


def test_a_third_of_photo_is_clean_and_the_rest_mildly_damaged() -> None:
    high = as_tensor(photograph(96, 96)).expand(400, -1, -1, -1)
    clean = reduce(high[:1], 2)[0]
    low = by("photo", high, 2)
    same = torch.tensor([torch.equal(each, clean) for each in low])
    assert 0.25 < float(same.float().mean()) < 0.45
    values = torch.tensor([psnr(each, clean) for each in low[~same]])
    assert float(values.min()) > 20
    assert 25 < float(values.median()) < 45


def test_mild_combined_damages_every_picture_in_every_way() -> None:
    high = as_tensor(photograph(96, 96)).expand(60, -1, -1, -1)
    clean, combined, mild = reduce(high[:1], 2)[0], by("mild-combined", high, 2), by("mild", high, 2)
    quality = torch.tensor([[psnr(each, clean) for each in low] for low in (combined, mild)])
    assert 20 < float(quality[0].min()) < float(quality[0].max()) < 45
    assert float(quality[0].median()) < float(quality[1].median())
    flat = torch.full((60, 3, 32, 32), 128, dtype=torch.uint8)  # of blur and JPEG it shows nothing
    grain = by("mild-combined", flat, 1).float().std((1, 2, 3))
    assert 0.3 < float((grain > 0.5).float().mean()) < 0.9  # JPEG takes weak noise away


def test_strong_damages_more_than_photo() -> None:
    high = batch_of(8)
    clean = reduce(high, 2)
    strong = [psnr(by("strong", high, 2, seed), clean) for seed in range(5)]
    photo = [psnr(by("photo", high, 2, seed), clean) for seed in range(5)]
    assert max(strong) < min(photo)
    assert min(strong) > 10


def test_real_is_milder_than_strong_and_leaves_a_tenth_clean() -> None:
    high = as_tensor(photograph(96, 96)).expand(400, -1, -1, -1)
    clean = reduce(high[:1], 4)[0]
    real, strong = by("real", high, 4), by("strong", high, 4)
    same = torch.tensor([torch.equal(each, clean) for each in real])
    assert 0.05 < float(same.float().mean()) < 0.2
    quality = torch.tensor([[psnr(each, clean) for each in low] for low in (real[~same], strong[~same])])
    assert float(quality[0].min()) > 13
    assert float(quality[1].median()) + 1 < float(quality[0].median()) < 40


def test_real_sharpens_some_and_blurs_some() -> None:
    high = as_tensor(photograph(96, 96)).expand(200, -1, -1, -1)
    contrast = by("real", high, 2).float().std((1, 2, 3)) / reduce(high[:1], 2).float().std()
    assert float(contrast.min()) < 0.95
    assert float(contrast.max()) > 1.1


def test_sharpening_overshoots_at_edges_and_leaves_flat_places() -> None:
    levels = torch.full((2, 3, 16, 32), 60.0)
    levels[..., 16:] = 180
    made = artifacts.sharpened(levels, torch.tensor([1.0, 1.0]), torch.tensor([0.5, 0.0]))
    assert float(made[0].max()) > 185
    assert float(made[0].min()) < 55
    assert torch.allclose(made[0, ..., :8], levels[0, ..., :8], atol=0.01)
    assert torch.allclose(made[1], levels[1], atol=0.01)


def test_a_frame_of_a_film_is_the_picture_and_damaged() -> None:
    picture = as_tensor(photograph(45, 51))
    values = [psnr(h264.frame(picture, crf) * 255, picture) for crf in (18, 32)]
    assert 20 < values[1] < values[0] - 1
    assert values[0] < 45


def test_jpeg_of_one_quality_is_the_reduction_saved() -> None:
    high = batch_of(3)
    low = by("jpeg35", high, 2)
    for made, reduced in zip(low, reduce(high, 2), strict=True):
        wanted = by_pillow(reduced.permute(1, 2, 0).contiguous().numpy(), 35, 2)
        assert psnr(made, wanted) > 40 > psnr(made, reduced) + 5


def test_jpeg_of_many_qualities_covers_them() -> None:
    high = as_tensor(photograph(64, 64)).expand(200, -1, -1, -1)
    low = by("jpeg10-95", high, 1)
    values = sorted(psnr(each, high[0]) for each in low)
    worst, best = (psnr(by(f"jpeg{quality}", high[:1], 1)[0], high[0]) for quality in (10, 95))
    assert values[0] == pytest.approx(worst, abs=1)
    assert values[-1] > best - 1


def test_good_jpeg_is_to_be_left_as_it_is_where_nothing_is_enlarged() -> None:
    """Up to quality 90 a network of scale 1 is to find the original; above, what it gets is good enough."""
    high = batch_of(24)
    for name, scale, kept in (
        ("jpeg91-100", 1, True),
        ("jpeg10-90", 1, False),
        ("jpeg91-100", 2, False),
        ("jpeg95", 1, False),
    ):
        damage = parse(name).degrade
        assert damage is not None
        low, wanted = damage(reduce(high, scale), high, scale, seeded())
        assert torch.equal(wanted, low if kept else high), name
        assert scale > 1 or not torch.equal(low, high)


def test_kernels_add_up_to_one_and_do_not_move_the_picture() -> None:
    for kernels in (
        artifacts.blur_kernels(64, (0.2, 3), seeded()),
        artifacts.sinc_kernels(64, seeded()),
        artifacts.gaussians(torch.linspace(0.1, 0.8, 8), 7),
    ):
        assert kernels.isfinite().all()
        assert torch.allclose(kernels.sum((1, 2)), torch.ones(len(kernels)), atol=1e-5)
        assert torch.allclose(kernels, kernels.flip(1, 2), atol=1e-6)  # point-symmetric: no shift


def test_filter_against_a_plain_convolution() -> None:
    levels = batch_of(2, 24).float()
    kernels = torch.rand(2, 5, 5)
    made = artifacts.filtered(levels, kernels)
    edged = torch.nn.functional.pad(levels, (2, 2, 2, 2), mode="replicate")
    wanted = torch.stack(
        [
            torch.nn.functional.conv2d(picture[:, None], kernel.flip(0, 1)[None, None])[:, 0]
            for picture, kernel in zip(edged, kernels, strict=True)
        ]
    )
    assert torch.allclose(made, wanted, atol=0.01)


# Films


def test_films_show_the_photograph_in_place_and_damaged() -> None:
    high = as_tensor(photograph(90, 102))
    clean = reduce(high[None], 2)[0]
    made = h264.versions(high, 2, 6, seeded())
    assert all(each.shape == (45, 51, 3) and each.dtype == torch.uint8 for each in made)
    assert not torch.equal(made[0], made[1])
    for each in made:
        quality = psnr(each.permute(2, 0, 1), clean)
        assert 20 < quality < 42
        moved = each.roll(1, 0).permute(2, 0, 1)
        assert psnr(moved, clean) < quality - 1
    again = h264.versions(high, 2, 6, seeded())
    assert all(torch.equal(one, other) for one, other in zip(made, again, strict=True))


# In training


@pytest.fixture
def pair() -> PhotoPair:
    high = torch.from_numpy(photograph(160, 192))
    return PhotoPair("one", reduce(high.permute(2, 0, 1)[None], 2)[0].permute(1, 2, 0).contiguous(), high)


@pytest.mark.parametrize("name", DAMAGING)
def test_damaged_crops_show_the_same_place(pair: PhotoPair, name: str) -> None:
    low, high = Crops([pair], 2, 0, name).draw(12, 24)
    assert (low.shape, high.shape) == ((12, 3, 24, 24), (12, 3, 48, 48))
    assert low.dtype == high.dtype == torch.float32
    assert low.is_contiguous(memory_format=torch.channels_last)
    assert 0 <= float(low.min()) < float(low.max()) <= 1
    clean = reduce(high.mul(255).round().to(torch.uint8), 2).float() / 255
    inside = (..., slice(3, -3), slice(3, -3))
    near = float((low - clean)[inside].square().mean())
    for shifted in (clean.roll(2, 2), clean.roll(-2, 3)):
        assert float((low - shifted)[inside].square().mean()) > 1.1 * near


def test_scale_1_has_high_crops_of_the_same_size(pair: PhotoPair) -> None:
    same = PhotoPair("one", pair.hr, pair.hr)
    low, high = Crops([same], 1, 0, "jpeg20").draw(8, 32)
    assert low.shape == high.shape == (8, 3, 32, 32)
    assert 20 < psnr(low * 255, high * 255) < 40


def test_the_grid_of_jpeg_lies_anywhere_over_the_crops(pair: PhotoPair) -> None:
    """The steps at the borders of blocks: were the grid always at 0, they would be in the same columns."""
    low, _ = Crops([PhotoPair("one", pair.hr, pair.hr)], 1, 0, "jpeg5").draw(256, 32)
    steps = low.mean(1).diff(dim=2).abs().mean(1)  # (256, 31)
    strongest = {int(each) for each in steps.view(256, -1)[:, :24].view(256, 3, 8).mean(1).argmax(1)}
    assert strongest == set(range(8))


def test_a_photograph_no_larger_than_the_crop(pair: PhotoPair) -> None:
    small = PhotoPair("small", pair.lr[:24, :20], pair.hr[:48, :40])
    low, high = Crops([small], 2, 0, "jpeg90").draw(8, 20)
    assert (low.shape, high.shape) == ((8, 3, 20, 20), (8, 3, 40, 40))
    values = set(high.mul(255).round().int().flatten().tolist())
    assert values <= set(small.hr.int().flatten().tolist())


@pytest.mark.parametrize("name", ["photo", "video", "real", "strong"])
def test_degraded_crops_can_be_drawn_again(tmp_path: Path, make_photos: object, name: str) -> None:
    make_photos(tmp_path, 3)  # type: ignore[operator]
    pairs = load_photos((str(tmp_path),), 2, 16, degradation=name).training
    crops = Crops(pairs, 2, 5, name)
    crops.draw(4, 16)
    state = crops.generator.get_state()
    wanted = crops.draw(4, 16)
    fresh = Crops(pairs, 2, 99, name)
    fresh.generator.set_state(state)
    assert all(torch.equal(one, other) for one, other in zip(wanted, fresh.draw(4, 16), strict=True))


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


def test_video_draws_from_the_films(pair: PhotoPair) -> None:
    films = tuple(torch.full_like(pair.lr, level) for level in (50, 100, 150))
    low, _ = Crops([PhotoPair("one", pair.lr, pair.hr, films)], 2, 0, "video").draw(60, 16)
    assert set(low[:, 0, 0, 0].mul(255).round().int().tolist()) == {50, 100, 150}
