"""Films through a network that sees neighbouring frames and remembers."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from support.films import film_engine, film_network
from support.media import VARIABLE, clip, frame_times, run
from support.pictures import photograph
from torch import Tensor

from upscaler.errors import UsageError
from upscaler.frames.film_frames import upscale_film
from upscaler.frames.video_frames import Tally
from upscaler.frames.video_plan import giving_planes
from upscaler.inference.engine import Upscaler
from upscaler.scenes import in_context, is_cut
from upscaler.video.changes import scene_ends
from upscaler.video.info import ColorTags, Frame, VideoInfo
from upscaler.video.yuv import Layout

Rgb = NDArray[np.uint8]
LAYOUT = Layout()


def pan(frames: int, seed: int = 0) -> list[Rgb]:
    large = photograph(48, 64 + 2 * frames, seed)
    return [large[:, 2 * index :][:, :64].copy() for index in range(frames)]


def decoded(images: list[Rgb]) -> list[Frame]:
    """As frames of a video whose luma is the green of these; chroma is made of the others."""
    return [
        Frame(
            [
                torch.from_numpy(image[..., 1].copy()),
                *(torch.from_numpy(image[::2, ::2, channel].copy()) for channel in (0, 2)),
            ],
            number,
            LAYOUT,
        )
        for number, image in enumerate(images)
    ]


def upscaled(
    engine: Upscaler, source: list[Frame], tally: Tally | None = None, *, planes: bool = True
) -> list[list[Tensor]]:
    height, width = source[0].planes[0].shape
    tags = ColorTags(1, 1, 1, full_range=False)
    info = VideoInfo(
        width, height, Fraction(1, 24), Fraction(24), 3, Fraction(1), 0, False, LAYOUT, 0, tags, None
    )
    plan = engine.in_steps(engine.plan(height, width))
    if planes:
        plan = giving_planes(engine, plan, LAYOUT, height, width)
        assert plan.planes is not None
    context = engine.context(plan)
    seen = in_context(source, max(1, context.warm_up_frames), scene_ends)
    return [own for own, _ in upscale_film(seen, engine, plan, info, LAYOUT, tally or Tally())]


def assert_alike(one: list[list[Tensor]], other: list[list[Tensor]], within: int = 1) -> None:
    assert len(one) == len(other)
    for planes, others in zip(one, other, strict=True):
        for plane, same in zip(planes, others, strict=True):
            assert int((plane.int() - same.int()).abs().max()) <= within


def test_frames_are_those_of_the_whole_clip(tmp_path: Path) -> None:
    network = film_network()
    engine, images = film_engine(tmp_path, network), pan(5)
    clip_of = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).unsqueeze(0) / 255
    with torch.inference_mode():
        expected = network.half().float()(clip_of)[0].mul(255).round().clamp(0, 255)
    for result, frame in zip(engine.frames(images), expected, strict=True):
        assert np.abs(result.astype(int) - frame.permute(1, 2, 0).numpy()).max() <= 1


def test_the_first_frame_is_upscaled_as_a_photograph(tmp_path: Path) -> None:
    engine, images = film_engine(tmp_path), pan(2)
    first, second = engine.frames(images)
    assert np.abs(engine.image(images[0]).astype(int) - first).max() <= 1
    assert np.abs(engine.image(images[1]).astype(int) - second).max() > 1


def test_tiles_have_no_seams(tmp_path: Path) -> None:
    images = pan(4)
    whole, tiled = film_engine(tmp_path), film_engine(tmp_path, tile_px=24)
    for one, other in zip(whole.frames(images), tiled.frames(images), strict=True):
        assert np.abs(one.astype(int) - other).max() <= 1
        assert (one != other).mean() < 0.001  # of them, roundings


def test_planes_come_straight_from_the_network(tmp_path: Path) -> None:
    engine, source = film_engine(tmp_path), decoded(pan(4))
    assert_alike(upscaled(engine, source), upscaled(engine, source, planes=False))


def test_a_cut_leaves_no_ghost(tmp_path: Path) -> None:
    """Frames on both sides of a cut are those of their scenes alone."""
    first, second = pan(3), [255 - image for image in pan(3, seed=4)]
    engine = film_engine(tmp_path)
    together = list(engine.frames(first + second))
    alone = [*engine.frames(first), *engine.frames(second)]
    assert all(np.array_equal(one, other) for one, other in zip(together, alone, strict=True))
    frames = decoded(first + second)
    joined, apart = upscaled(engine, frames), [*upscaled(engine, frames[:3]), *upscaled(engine, frames[3:])]
    assert_alike(joined, apart, within=0)


def test_a_pan_a_fade_and_a_flash_are_no_cuts() -> None:
    frames = [torch.from_numpy(image[..., 1].copy()) for image in pan(4)]
    assert not any(is_cut(frames[index + 1], frames[index], 255) for index in range(3))
    assert not is_cut((frames[0] * 0.8).to(torch.uint8), frames[0], 255)
    assert not is_cut(torch.clamp(frames[0].int() + 40, max=255).to(torch.uint8), frames[0], 255)
    other = torch.from_numpy(np.ascontiguousarray(photograph(48, 64, 9)[::-1, ::-1, 1]))
    assert is_cut(other, frames[0], 255)
    assert is_cut(torch.zeros_like(other), frames[0], 255)
    assert not is_cut(frames[0], frames[0], 255)


def test_frames_know_their_neighbours_of_the_same_scene() -> None:
    found = list(in_context(range(7), 2, lambda one, other: other == 4))
    assert [(seen.frame, seen.before) for seen in found] == [
        (0, ()),
        (1, (0,)),
        (2, (0, 1)),
        (3, (1, 2)),
        (4, ()),
        (5, (4,)),
        (6, (4, 5)),
    ]


def test_repeated_frames_keep_their_result(tmp_path: Path) -> None:
    images = pan(4)
    source = decoded([images[0], images[1], images[1], images[1], images[2]])
    tally = Tally()
    results = upscaled(film_engine(tmp_path), source, tally)
    assert tally.reused_share == pytest.approx(2 / 5)
    assert_alike(results[1:2] * 2, results[2:4], within=0)
    assert not torch.equal(results[3][0], results[4][0])


def test_frames_of_another_shape_begin_a_scene(tmp_path: Path) -> None:
    images = pan(4)
    source = decoded(images[:2]) + [
        replace(frame, pts=frame.pts + 2)
        for frame in decoded([image[:40, :56].copy() for image in images[2:]])
    ]
    results = upscaled(film_engine(tmp_path), source)
    assert [tuple(planes[0].shape) for planes in results] == [(96, 128)] * 4


def test_every_frame_keeps_its_time(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", pts=VARIABLE)
    run(film_engine(tmp_path), source, tmp_path / "out.mp4", preset="ultrafast")
    assert frame_times(tmp_path / "out.mp4") == frame_times(source)


@pytest.mark.parametrize(("mode", "factor"), [("on", 1), ("bob", 2)])
def test_deinterlaced_frames_are_seen_as_they_are_upscaled(tmp_path: Path, mode: str, factor: int) -> None:
    source = clip(tmp_path / "in.mp4", frames=4)
    done = run(film_engine(tmp_path), source, tmp_path / "out.mp4", deinterlace=mode, preset="ultrafast")
    assert done.frames == len(frame_times(tmp_path / "out.mp4")) == 4 * factor


def test_the_result_is_upscaled_to_any_size(tmp_path: Path) -> None:
    images = [image // 2 + 60 for image in pan(3)]
    engine = film_engine(tmp_path, scale=1.5)
    assert [frame.shape for frame in engine.frames(images)] == [(72, 96, 3)] * 3
    network = film_network()
    torch.nn.init.normal_(network.tail.weight, std=0.01)  # nothing is clamped
    half = film_engine(tmp_path, network, strength=0.5)
    whole, plain = film_engine(tmp_path), film_engine(tmp_path, strength=0.0)
    for one, mean, none in zip(*(each.frames(images) for each in (whole, half, plain)), strict=True):
        assert np.abs((one.astype(float) + none) / 2 - mean).max() <= 1


@pytest.mark.parametrize("options", [{"scale": 4}, {"tta": True}])
def test_what_such_a_network_does_not_do_with_films(tmp_path: Path, options: dict[str, object]) -> None:
    engine = film_engine(tmp_path, **options)
    engine.image(pan(1)[0])  # pictures are films of one frame
    with pytest.raises(UsageError, match="sees neighbouring frames"):
        next(engine.frames(pan(2)))
