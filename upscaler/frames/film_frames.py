"""Frames through a network that sees their neighbours; otherwise as ``video_frames``."""

from collections.abc import Iterable, Iterator
from functools import partial

import torch
from torch import Tensor

from upscaler.frames.video_frames import Tally, planes_of, shape_planner, upscale_frames
from upscaler.inference.engine import Upscaler
from upscaler.inference.film_steps import Context, FilmSteps
from upscaler.inference.plan import Plan
from upscaler.options import VideoOptions
from upscaler.scenes import InContext, in_context
from upscaler.video import yuv
from upscaler.video.changes import scene_ends
from upscaler.video.cuts import Cut
from upscaler.video.info import Frame, VideoInfo
from upscaler.video.reader import VideoReader
from upscaler.video.trim import selected_frames


def upscale_film(
    frames: Iterable[InContext[Frame]],
    engine: Upscaler,
    plan: Plan,
    info: VideoInfo,
    layout: yuv.Layout,
    tally: Tally,
) -> Iterator[tuple[list[Tensor], int]]:
    """Upscale the decoded frames of a segment for an encoder.

    Frames come one by one, because each result depends on the one before; of a frame that is equal to the one
    before, the result is that one's, too. Before the first frame the network runs over those before it, as
    far as they are known: the result does not depend on which segments were computed in this run.

    Args:
        frames: In order, each with as many frames before it as ``Context.warm_up_frames`` says.
        engine: Runs the network.
        plan: From ``Upscaler.in_steps``; otherwise as for ``video_frames.upscale_frames``.
        info: Of the video.
        layout: How the planes for the encoder encode colour.
        tally: Is added to.

    Yields:
        As ``video_frames.upscale_frames``.
    """
    plan_for = shape_planner(engine, plan, info, layout)
    context = engine.context(plan)
    scene: _Scene | None = None
    for seen in frames:
        if scene is None or not seen.before:
            scene = _Scene(engine, plan_for(seen.frame.shape), layout)
            scene.warm_up(seen, context.warm_up_frames)
        own = scene.upscale(seen, tally)
        yield yuv.with_bars(own, layout, plan.height, plan.width), seen.frame.pts


class _Scene:
    """The frames of one scene, in order.

    Args:
        engine: Runs the network.
        plan: For frames of this shape.
        layout: Of the results.
    """

    def __init__(self, engine: Upscaler, plan: Plan, layout: yuv.Layout) -> None:
        self._engine, self._plan, self._layout = engine, plan, layout
        self._steps = FilmSteps(partial(engine.upscale_step, plan=plan), engine.context(plan).scale)
        self._finished: list[Tensor] | None = None

    def warm_up(self, first: InContext[Frame], frames: int) -> None:
        """Run over up to so many frames before the first one, for the state that they leave."""
        for frame in first.before[-frames:] if frames else ():
            self._step(frame)

    def upscale(self, seen: InContext[Frame], tally: Tally) -> list[Tensor]:
        """The planes of a frame for the encoder."""
        pixels = seen.frame.planes[0].numel()
        tally.frames_px += pixels
        if self._finished is not None and _are_equal(seen.before[-1], seen.frame):
            return self._finished
        tally.computed_px += pixels
        source = seen.frame
        given = planes_of(self._step(source), [source.planes], source.layout, self._plan, self._layout)
        self._finished = [plane.cpu() for plane in given]
        return self._finished

    def _step(self, frame: Frame) -> Tensor:
        planes = [plane.to(self._engine.device) for plane in frame.planes]
        return self._steps(yuv.to_rgb(planes, frame.layout))


def _are_equal(frame: Frame, other: Frame) -> bool:
    return all(map(torch.equal, frame.planes, other.planes))


def frames_in_context(
    reader: VideoReader, options: VideoOptions, context: Context, cut: Cut | None = None
) -> Iterator[InContext[Frame]]:
    """The selected frames, with those before that a network for films sees; with none for any other.

    Args:
        reader: Of the video.
        options: Select frames.
        context: What the network sees.
        cut: Where the reader was moved to: the frames begin there, or with the first one selected.
    """
    frames = cut.verified(reader.frames()) if cut else reader.frames()
    before = max(0, cut.position) if cut else 0
    frames = selected_frames(frames, reader.info.time_base, options, before)
    if context == Context():
        return in_context(frames, 0, lambda frame, following: False)
    return in_context(frames, frames_before(context), scene_ends)


def frames_before(context: Context) -> int:
    """How many frames before the first one of a range are looked at.

    One, at least: it tells where a scene begins.
    """
    return max(1, context.warm_up_frames)


def upscale_any(
    frames: Iterator[InContext[Frame]],
    engine: Upscaler,
    plan: Plan,
    info: VideoInfo,
    layout: yuv.Layout,
    tally: Tally | None = None,
) -> Iterator[tuple[list[Tensor], int]]:
    """Upscale frames by whatever network: ``upscale_film``, or frame by frame as ``upscale_frames``."""
    if engine.context(plan) != Context():
        return upscale_film(frames, engine, plan, info, layout, tally or Tally())
    return upscale_frames((each.frame for each in frames), engine, plan, info, layout, tally)
