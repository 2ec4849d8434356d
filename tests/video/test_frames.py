"""Frames through the network: planes straight out of it, against RGB that is converted."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from support.networks import network_of, weights
from torch import Tensor

from upscaler import Upscaler
from upscaler.frames.video_frames import Tally, upscale_frames
from upscaler.frames.video_plan import giving_planes
from upscaler.inference.plan import Plan
from upscaler.video.info import ColorTags, Frame, VideoInfo
from upscaler.video.yuv import Layout

HEIGHT, WIDTH = 60, 82


def info_of(layout: Layout, height: int = HEIGHT, width: int = WIDTH) -> VideoInfo:
    tags = ColorTags(1, 1, 1, layout.full_range)
    return VideoInfo(
        width, height, Fraction(1, 24), Fraction(24), 3, Fraction(1), 0, False, layout, 0, tags, None
    )


def frames(layout: Layout, count: int = 2, height: int = HEIGHT, width: int = WIDTH) -> list[Frame]:
    generator = torch.Generator().manual_seed(5)
    size = (-(-height // layout.vertical), -(-width // layout.horizontal))
    sizes = [(height, width), size, size, *([(height, width)] if layout.alpha else [])]
    return [
        Frame(
            [
                torch.randint(0, 2**layout.bits, size, generator=generator).to(layout.dtype)
                for size in (sizes[:1] if layout.kind == "gray" else sizes)
            ],
            number,
            layout,
        )
        for number in range(count)
    ]


def both_ways(engine: Upscaler, source: list[Frame], layout: Layout, **changes: int) -> list[list[Tensor]]:
    """All planes of all frames, straight and by way of RGB."""
    plan = replace(engine.plan(HEIGHT, WIDTH), **changes)
    direct = giving_planes(engine, plan, layout, HEIGHT, WIDTH)
    assert direct.planes and not plan.planes
    return [planes_of(engine, source, layout, way) for way in (direct, plan)]


def planes_of(engine: Upscaler, source: list[Frame], layout: Layout, plan: Plan) -> list[Tensor]:
    info = info_of(source[0].layout)
    return [plane for planes, _ in upscale_frames(source, engine, plan, info, layout) for plane in planes]


def assert_within_one(one: list[Tensor], other: list[Tensor], share: float = 1.0) -> None:
    """At most that share of the samples differ, by one code."""
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        differences = (a.to(torch.int32) - b.to(torch.int32)).abs()
        assert int(differences.max()) <= 1
        assert float((differences > 0).float().mean()) <= share


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
@pytest.mark.parametrize("bits", [8, 10])
def test_tiled_planes_are_those_of_rgb(tmp_path: Path, siting: str, bits: int) -> None:
    layout = Layout(bits=bits, siting=siting, alpha=bits == 8)
    options = {"device": "cpu", "precision": "fp32"}
    file = weights(tmp_path / "x2.safetensors", 2)
    tiled = Upscaler(file, 2, **options, tile_px=40)
    assert len(network_of(tiled, 2).tiles(HEIGHT, WIDTH)) > 3
    direct, rgb = both_ways(tiled, frames(layout), layout)
    assert_within_one(direct, rgb)
    whole, _ = both_ways(Upscaler(file, 2, **options), frames(layout), layout)
    assert_within_one(direct, whole)


@pytest.mark.parametrize("siting", ["left", "center"])
def test_planes_at_half_strength_are_those_of_rgb(tmp_path: Path, siting: str) -> None:
    layout, file = Layout(bits=10, siting=siting), weights(tmp_path / "x2.safetensors", 2, detail=1.0)
    options = {"device": "cpu", "precision": "fp32", "strength": 0.4}
    direct, rgb = both_ways(Upscaler(file, 2, **options, tile_px=40), frames(layout), layout)
    assert_within_one(direct, rgb)
    full, _ = both_ways(Upscaler(file, 2, device="cpu", precision="fp32"), frames(layout), layout)
    none, _ = both_ways(Upscaler(file, 2, **options | {"strength": 0}), frames(layout), layout)
    for blended, one, other in zip(direct, full, none, strict=True):
        inside = (one > 0) & (one < 1023) & (other > 0) & (other < 1023)  # where nothing is clamped
        mean = 0.4 * one + 0.6 * other
        assert (blended - mean)[inside].abs().max() <= 1.01 and (one - other).abs().max() > 50


def test_several_frames_go_through_together(tmp_path: Path) -> None:
    engine = Upscaler(weights(tmp_path / "x4.safetensors", 4), 4, precision="fp32", batch=2)
    layout = Layout(horizontal=2, vertical=1)
    assert_within_one(*both_ways(engine, frames(Layout(), 3), layout))


def test_a_frame_of_another_size_comes_by_way_of_rgb(tmp_path: Path) -> None:
    engine = Upscaler(weights(tmp_path / "x2.safetensors", 2), 2, precision="fp32")
    source = [*frames(Layout(), 1), *frames(Layout(), 1, height=40)]
    direct, rgb = both_ways(engine, source, Layout())
    assert_within_one(direct, rgb)
    assert [len(plane) for plane in direct[::3]] == [2 * HEIGHT, 2 * HEIGHT]


@pytest.mark.parametrize("reason", ["resized", "symmetries", "bits", "odd scale", "no network"])
def test_what_goes_by_way_of_rgb(tmp_path: Path, reason: str) -> None:
    scale = 3 if reason == "odd scale" else 2
    file = weights(tmp_path / "network.safetensors", scale)
    engine = Upscaler(file, scale, tta=reason == "symmetries")
    plan = engine.plan(HEIGHT, WIDTH)
    if reason == "resized":
        plan = replace(plan, width=plan.width - 2)
    if reason == "no network":
        plan = replace(plan, networks=())
    layout = Layout(bits=16 if reason == "bits" else 8)
    assert giving_planes(engine, plan, layout, HEIGHT, WIDTH).planes is None


def nearly_still(layout: Layout, height: int, width: int) -> list[Frame]:
    """Frames that repeat but for a square in luma, one in chroma, and one at the lower right border."""
    first = frames(layout, 1, height, width)[0]
    generator, result = torch.Generator().manual_seed(2), [first]
    for number, (plane, top, left) in enumerate([(0, 40, 30), (-1, 3, 60), (0, height - 3, width - 4)], 1):
        planes = [each.clone() for each in result[-1].planes]
        square = planes[plane][top : top + 5, left : left + 6]
        square.copy_(torch.randint(0, 2**layout.bits, square.shape, generator=generator))
        result.append(Frame(planes, number, layout))
    return result


REUSED = {
    "420": (2, Layout(), Layout()),
    "420 center": (2, Layout(siting="center"), Layout(siting="center")),
    "10 bits, 422 to 420": (4, Layout(bits=10, vertical=1), Layout(bits=10)),
    "444 to 420": (2, Layout(horizontal=1, vertical=1), Layout(siting="topleft")),
    "gray": (2, Layout(kind="gray", horizontal=1, vertical=1), Layout(kind="gray", horizontal=1, vertical=1)),
    "through RGB": (3, Layout(), Layout(siting="center")),
    "at half strength": (2, Layout(), Layout(siting="center")),
    "through RGB at half strength": (3, Layout(), Layout(siting="center")),
}


@pytest.mark.parametrize("name", REUSED)
@pytest.mark.parametrize(("height", "width"), [(102, 150), (97, 141)])
def test_only_what_changed_is_computed(tmp_path: Path, name: str, height: int, width: int) -> None:
    scale, given, layout = REUSED[name]
    strength = 0.5 if "strength" in name else 1.0
    file = weights(tmp_path / "network.safetensors", scale, detail=1.0)
    engine = Upscaler(file, scale, precision="fp32", strength=strength)
    plan = giving_planes(engine, engine.plan(height, width), layout, height, width)
    if name.startswith("through RGB"):
        plan = replace(plan, planes=None)
    source, info = nearly_still(given, height, width), info_of(given, height, width)
    # Each by itself: nothing comes before it.
    alone = [next(upscale_frames([frame], engine, plan, info, layout)) for frame in source]
    tally = Tally()
    together = list(upscale_frames(source, engine, plan, info, layout, tally))
    assert 0.5 < tally.reused_share < 0.75  # all of the first frame was computed
    for (one, pts), (other, other_pts) in zip(together, alone, strict=True):
        assert pts == other_pts
        # oneDNN's convolutions for AMD (brg_conv) add up in another order where a part has another width.
        assert_within_one(one, other, share=0.001)
    assert any(not torch.equal(a, b) for a, b in zip(alone[1][0], alone[2][0], strict=True))


@pytest.mark.parametrize("option", [{}, {"tta": True}, {"scale": 1.5}])
def test_a_frame_that_repeats_is_not_computed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, option: dict[str, float]
) -> None:
    engine = Upscaler(weights(tmp_path / "x2.safetensors"), **{"scale": 2} | option)
    plan, info = engine.plan(HEIGHT, WIDTH), info_of(Layout())
    whole, calls = engine.upscale_flagged, []
    monkeypatch.setattr(engine, "upscale_flagged", lambda *a, **n: calls.append(1) or whole(*a, **n))
    first, other = frames(Layout(), 2)
    source = [first, replace(first, pts=1), replace(other, pts=2), replace(other, pts=3)]
    tally = Tally()
    found = list(upscale_frames(source, engine, plan, info, Layout(), tally))
    assert len(calls) == 2 and tally.reused_share == 0.5
    assert [pts for _, pts in found] == [0, 1, 2, 3]
    assert torch.equal(found[0][0][0], found[1][0][0]) and not torch.equal(found[1][0][0], found[2][0][0])
