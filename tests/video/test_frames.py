"""Frames through the network: planes straight out of it, against RGB that is converted."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from support.networks import network_of, weights
from torch import Tensor

from upscaler import Upscaler
from upscaler.inference.plan import Plan
from upscaler.video.info import ColorTags, Frame, VideoInfo
from upscaler.video.yuv import Layout
from upscaler.video_frames import upscale_frames
from upscaler.video_plan import giving_planes

HEIGHT, WIDTH = 60, 82


def info_of(layout: Layout) -> VideoInfo:
    tags = ColorTags(1, 1, 1, layout.full_range)
    return VideoInfo(
        WIDTH, HEIGHT, Fraction(1, 24), Fraction(24), 3, Fraction(1), 0, False, layout, 0, tags, None
    )


def frames(layout: Layout, count: int = 2, height: int = HEIGHT) -> list[Frame]:
    generator = torch.Generator().manual_seed(5)
    size = (-(-height // layout.vertical), -(-WIDTH // layout.horizontal))
    sizes = [(height, WIDTH), size, size, *([(height, WIDTH)] if layout.alpha else [])]
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


def assert_within_one(one: list[Tensor], other: list[Tensor]) -> None:
    for a, b in zip(one, other, strict=True):
        assert a.shape == b.shape and a.dtype == b.dtype
        assert int((a.to(torch.int32) - b.to(torch.int32)).abs().max()) <= 1


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
