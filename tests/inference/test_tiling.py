import math

import numpy as np
import pytest
from support.networks import network_of
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.errors import UsageError
from upscaler.inference.tiling import Limits, check_side, min_side_px, plan, split
from upscaler.models import shipped

# (height, width) of what people have: VGA, PAL, XGA, 720p, 1080p, and pictures of 12 and 24 megapixels.
SIZES = [(480, 640), (576, 720), (768, 1024), (720, 1280), (1080, 1920), (3000, 4000), (4000, 6000)]


def drawn_limits(generator: np.random.Generator, **fixed: int) -> Limits:
    """Limits of any size, also such that cannot be held."""
    area = int(generator.integers(1, 20_000))
    radius_px = int(generator.integers(0, 12))
    multiple_of = fixed.get("multiple_of", int(generator.choice([1, 1, 4])))
    drawn = {
        "radius_px": radius_px // multiple_of * multiple_of,
        "multiple_of": multiple_of,
        "max_area_px": area,
        "fast_area_px": int(generator.integers(1, area + 1)),
    }
    return Limits(**drawn | fixed)


@pytest.mark.parametrize("seed", range(40))
def test_kept_parts_cover_every_pixel_once_and_saw_their_neighbours(seed: int) -> None:
    generator = np.random.default_rng(seed)
    limits = drawn_limits(generator)
    height, width = (int(side) * limits.multiple_of for side in generator.integers(1, 200, 2))
    radius = limits.radius_px
    covered = np.zeros((height, width), int)
    tiles = plan(height, width, limits)
    for piece in tiles:
        for span, length in ((piece.rows, height), (piece.columns, width)):
            assert span.start % limits.multiple_of == 0
            assert 0 <= span.start <= span.keep_start < span.keep_stop <= span.stop <= length
            assert span.start == 0 or span.keep_start - span.start >= radius
            assert span.stop == length or span.stop - span.keep_stop >= radius
        assert (piece.height, piece.width) == (tiles[0].height, tiles[0].width)
        rows, columns = piece.rows, piece.columns
        covered[rows.keep_start : rows.keep_stop, columns.keep_start : columns.keep_stop] += 1
    assert (covered == 1).all()


@pytest.mark.parametrize("seed", range(40))
def test_limits_are_held(seed: int) -> None:
    generator = np.random.default_rng(seed)
    height, width = (int(side) for side in generator.integers(1, 400, 2))
    side = int(generator.integers(40, 120))
    limits = drawn_limits(generator, max_side_px=side)
    tile = plan(height, width, limits)[0]
    allowed = max(limits.max_area_px, min(side, min_side_px(limits.radius_px)) ** 2)
    rounding = limits.multiple_of * (tile.height + tile.width)
    assert tile.area_px < allowed + rounding
    assert max(tile.height, tile.width) < side + limits.multiple_of


@pytest.mark.parametrize("seed", range(60))
def test_tiles_repeat_no_more_than_their_overlap(seed: int) -> None:
    """Work over pixels is at most 1 + 2 r (n_x / W + n_y / H), and what rounding up adds."""
    generator = np.random.default_rng(seed)
    height, width = (int(side) for side in np.exp(generator.uniform(np.log(300), np.log(6000), 2)))
    radius = int(generator.choice([7, 10, 18, 26, 35]))
    multiple = int(generator.choice([1, 4]))
    limits = Limits(radius, multiple, int(generator.integers(800_000, 2_000_000)), 512 * 512)
    tiles = plan(height, width, limits)
    down = len({piece.rows.start for piece in tiles})
    across = len(tiles) // down
    work = sum(piece.area_px for piece in tiles) / (height * width)
    rounding = multiple * (across / width + down / height)
    assert work <= 1 + 2 * radius * (across / width + down / height) + rounding
    assert work <= (1 + rounding) * (1.25 if radius == 35 else 1.10)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("model", shipped.WEIGHTS)
def test_shipped_models_do_little_work_twice(model: str, precision: str) -> None:
    """At ``auto``, on a processor."""
    for scale in shipped.weight_files(model):
        network = network_of(Upscaler(model, scale, device="cpu", precision=precision), scale)
        for height, width in SIZES:
            pixels = height * width
            work = sum(piece.area_px for piece in network.tiles(height, width)) / pixels
            if network.network.contract.receptive_radius_px == 35:  # srresnet and srgan
                allowed = 1.15
            elif scale in (1, 8):  # the largest radius but srresnet's, and results that fill the memory
                allowed = 1.09
            else:
                allowed = 1.05
            assert work <= allowed, f"{model}-x{scale}, {width}x{height}: {work:.3f}"


def test_fast_in_half_precision_runs_full_hd_untiled() -> None:
    upscaler = Upscaler("fast-photo", 2, device="cpu", precision="bf16")
    assert len(network_of(upscaler, 2).tiles(1080, 1920)) == 1


def test_no_smaller_tiles_and_no_less_work_were_possible() -> None:
    """The plan against every grid, for limits of memory alone and of the area that is fast."""
    generator = np.random.default_rng(0)
    for _ in range(30):
        height, width = (int(side) for side in generator.integers(60, 500, 2))
        limits = drawn_limits(generator, multiple_of=1)
        tiles = plan(height, width, limits)
        own_work = sum(piece.area_px for piece in tiles)
        smallest = min_side_px(limits.radius_px)
        max_area = max(limits.max_area_px, smallest**2)
        grids = []
        usable = smallest - 2 * limits.radius_px
        for down in range(1, math.ceil(height / usable) + 1):
            for across in range(1, math.ceil(width / usable) + 1):
                sides = [
                    span.stop - span.start
                    for span in (split(height, down, limits)[0], split(width, across, limits)[0])
                ]
                area = sides[0] * sides[1]
                if area <= max_area:
                    grids.append((area, down * across * area))
        enough = [
            area for area, work in grids if work <= 1.05 * height * width and area >= limits.fast_area_px
        ]
        if height * width <= max_area:
            assert len(tiles) == 1
        elif enough:
            assert own_work <= 1.05 * height * width
            assert tiles[0].area_px <= 1.15 * min(enough)  # the search skips some grids
        else:
            assert own_work <= 1.02 * min(work for _, work in grids)


def test_a_picture_that_fits_is_not_cut() -> None:
    assert len(plan(100, 200, Limits(90, 1, 20_000, 20_000))) == 1


def test_a_tile_smaller_than_its_overlap_is_rejected_with_a_size_that_works() -> None:
    with pytest.raises(UsageError, match="too small") as caught:
        check_side(20, radius_px=10)
    assert "--tile 84" in caught.value.hint
    check_side(84, radius_px=10)


@pytest.mark.parametrize(("height", "width"), [(150, 171), (64, 300), (301, 65)])
def test_tiles_of_a_real_network_give_the_whole_picture(height: int, width: int) -> None:
    pixels = photograph(height, width)
    whole = Upscaler("fast", 2, device="cpu", precision="fp32").image(pixels)
    tiled = Upscaler("fast", 2, device="cpu", precision="fp32", memory_limit_gb=0.004).image(pixels)
    assert np.abs(whole.astype(int) - tiled).max() <= 1
