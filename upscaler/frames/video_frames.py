"""Frames through the network: planes -> RGB -> larger planes, all on the engine's device.

Where the plan says so, the network gives planes; otherwise RGB, which is converted.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from upscaler.frames.video_plan import giving_planes, plan_frames
from upscaler.inference.batching import batch_equal
from upscaler.inference.engine import Upscaler
from upscaler.inference.overlap import run_overlapped
from upscaler.inference.plan import Plan
from upscaler.inference.resize import resize_bicubic
from upscaler.video import yuv
from upscaler.video.changes import Part, changed_parts
from upscaler.video.geometry import Shape, fitted_size
from upscaler.video.info import Frame, VideoInfo


@dataclass
class Tally:
    """How much of the frames was computed.

    Attributes:
        frames_px: Luma pixels of all frames.
        computed_px: Those of them that went through the network, without margins; where parts overlap, twice.
    """

    frames_px: int = 0
    computed_px: int = 0

    @property
    def reused_share(self) -> float:
        """Share that was taken from the frame before."""
        return max(0.0, 1 - self.computed_px / self.frames_px) if self.frames_px else 0.0


def upscale_frames(
    frames: Iterable[Frame],
    engine: Upscaler,
    plan: Plan,
    info: VideoInfo,
    layout: yuv.Layout,
    tally: Tally | None = None,
) -> Iterator[tuple[list[Tensor], int]]:
    """Upscale decoded frames for an encoder.

    Consecutive frames of equal size and layout go through the network together, as many as
    ``Upscaler.batch_for`` says. On a GPU, upload, computation and download of successive batches overlap, so
    some frames are read ahead. Where frames come one by one, on a CPU, only what changed since the frame
    before is computed.

    Args:
        frames: In order; nothing is reused from frames before these.
        engine: Runs the networks.
        plan: For frames of the shape in ``info``. Frames of another shape are fitted into the same target,
            with bars unless they are displayed with the same aspect.
        info: Of the video.
        layout: How the planes for the encoder encode colour.
        tally: Is added to.

    Yields:
        The planes of a frame, ``(h, w)`` each on the host, full code range of ``layout.dtype``, in the order
        of ``yuv.Layout``; and its PTS. They must not be changed.
    """
    plan_for = shape_planner(engine, plan, info, layout)

    def upscale(planes: list[Tensor], batch: list[Frame], check: bool) -> tuple[list[Tensor], Tensor]:
        own, given = plan_for(batch[0].shape), batch[0].layout
        return _upscale(_by_frame(planes, len(batch)), given, engine, own, layout, check=check)

    def max_batch(frame: Frame) -> int:
        height, width = frame.planes[0].shape
        return engine.batch_for(plan_for(frame.shape), height, width)

    tally = tally or Tally()
    batches = batch_equal(frames, lambda frame: (frame.layout, frame.shape), max_batch)
    if engine.device.type == "cpu" and engine.options.batch in (None, 1):
        singly = (frame for (frame,) in batches)
        for own, pts in _upscale_changes(singly, engine, plan_for, layout, tally):
            yield yuv.with_bars(own, layout, plan.height, plan.width), pts
        return
    with_planes = (([plane for frame in batch for plane in frame.planes], batch) for batch in batches)
    for planes, batch in run_overlapped(with_planes, upscale, engine.device):
        for frame, own in zip(batch, _by_frame(planes, len(batch)), strict=True):
            tally.frames_px += frame.planes[0].numel()
            tally.computed_px += frame.planes[0].numel()
            yield yuv.with_bars(own, layout, plan.height, plan.width), frame.pts


def shape_planner(
    engine: Upscaler, plan: Plan, info: VideoInfo, layout: yuv.Layout
) -> Callable[[Shape], Plan]:
    """How frames of any shape are upscaled to fit into one target; arguments as for ``upscale_frames``."""
    # What the target displays is what ``info`` displays.
    target = Shape(plan.width, plan.height, info.shape.aspect() * plan.height / plan.width)
    chroma_px = (1, 1) if layout.kind != "yuv" else (layout.horizontal, layout.vertical)

    def plan_for(shape: Shape) -> Plan:
        if shape == info.shape:
            return plan
        other = plan_frames(engine, info, shape.height, shape.width)
        width, height = fitted_size(shape, target, chroma_px)
        other = engine.in_steps(replace(other, height=height, width=width))
        return giving_planes(engine, other, layout, shape.height, shape.width)

    return plan_for


def _upscale_changes(
    frames: Iterable[Frame],
    engine: Upscaler,
    plan_for: Callable[[Shape], Plan],
    layout: yuv.Layout,
    tally: Tally,
) -> Iterator[tuple[list[Tensor], int]]:
    """Upscale frames one by one, of each only what changed since the one before; see ``upscale_frames``."""
    before: Frame | None = None
    finished: list[Tensor] = []
    for frame in frames:
        height, width = frame.planes[0].shape
        plan = plan_for(frame.shape)
        parts = [Part(0, 0, height, width)]
        radius_px = None if layout.alpha else engine.radius_px(plan, height, width)
        reach_px = None if radius_px is None else radius_px + yuv.REACH_PX
        if before is not None and (frame.layout, frame.shape) == (before.layout, before.shape):
            parts = changed_parts(frame.planes, before.planes, frame.layout, reach_px)
        tally.frames_px += height * width
        tally.computed_px += sum(part.area_px for part in parts)
        if reach_px is None or sum(part.area_px for part in parts) == height * width:
            if parts:
                finished, _ = _upscale([frame.planes], frame.layout, engine, plan, layout, check=True)
        elif parts:
            finished = [plane.clone() for plane in finished]  # the encoder may still read the others
            with engine.uncompiled(plan):
                for part in parts:
                    _upscale_part(frame, part, engine, plan, layout, reach_px, finished)
        before = frame
        yield finished, frame.pts


def _upscale_part(
    frame: Frame,
    part: Part,
    engine: Upscaler,
    plan: Plan,
    layout: yuv.Layout,
    reach_px: int,
    finished: list[Tensor],
) -> None:
    """Upscale a part of a frame with what it depends on around it, into the finished planes."""
    seen = part.widened(reach_px + reach_px % 2, *frame.planes[0].shape)  # even, as chroma samples are
    given, scale = frame.layout, plan.scales[0]
    cut = [
        plane[_slices(seen, 1, given, is_chroma=index > 0)] for index, plane in enumerate(frame.planes[:3])
    ]
    rows, columns = (seen.bottom - seen.top) * scale, (seen.right - seen.left) * scale
    own = replace(plan, height=rows, width=columns)
    results, _ = _upscale([cut], given, engine, own, layout, check=True)
    inner = Part(part.top - seen.top, part.left - seen.left, part.bottom - seen.top, part.right - seen.left)
    for index, (whole, result) in enumerate(zip(finished, results, strict=True)):
        target = whole[_slices(part, scale, layout, is_chroma=index > 0)]
        target.copy_(result[_slices(inner, scale, layout, is_chroma=index > 0)])


def _slices(part: Part, scale: int, layout: yuv.Layout, *, is_chroma: bool) -> tuple[slice, slice]:
    """Where a part of a frame lies in a plane of the frame that is enlarged by ``scale``."""
    down, across = (layout.vertical, layout.horizontal) if is_chroma and layout.kind == "yuv" else (1, 1)
    return (
        slice(part.top * scale // down, -(-part.bottom * scale // down)),
        slice(part.left * scale // across, -(-part.right * scale // across)),
    )


def _upscale(
    sources: list[list[Tensor]],
    given: yuv.Layout,
    engine: Upscaler,
    plan: Plan,
    layout: yuv.Layout,
    *,
    check: bool,
) -> tuple[list[Tensor], Tensor]:
    """The planes of frames of one size, together -> all planes for the encoder; and whether all were finite.

    Args:
        sources: Planes of each frame.
        given: How they encode colour.
        engine: Runs the networks.
        plan: For frames of their size.
        layout: Of the results.
        check: See ``Upscaler.upscale_flagged``.
    """
    converted = [yuv.to_rgb(source, given) for source in sources]
    rgb = torch.stack(converted) if len(converted) > 1 else converted[0][None]  # without a copy
    del converted
    upscaled, finite = engine.upscale_flagged(rgb, plan, check=check)
    return planes_of(upscaled, sources, given, plan, layout), finite


def planes_of(
    upscaled: Tensor, sources: list[list[Tensor]], given: yuv.Layout, plan: Plan, layout: yuv.Layout
) -> list[Tensor]:
    """All planes for the encoder of upscaled frames; alpha comes from their sources.

    Args:
        upscaled: From ``Upscaler.upscale_flagged``: RGB ``(B, 3, H, W)`` fp32 in [0, 1], or packed planes.
        sources: Planes of each frame.
        given: How they encode colour.
        plan: With which they were upscaled.
        layout: Of the results.

    Returns:
        ``(h, w)`` each, ``layout.dtype``, those of the first frame first.
    """
    if plan.planes is not None:
        colors = list(zip(*plan.planes.unpack(upscaled, plan.scales[-1]), strict=True))
    else:
        colors = [tuple(yuv.from_rgb(picture, layout)) for picture in upscaled]
    results: list[Tensor] = []
    for frame_colors, source in zip(colors, sources, strict=True):
        results += frame_colors
        if layout.alpha:
            results.append(_resize_alpha(source, given, plan, layout))
    return results


def _by_frame(planes: list[Tensor], frames: int) -> list[list[Tensor]]:
    """Split the planes of a batch of frames; every frame has the same number of planes."""
    each = len(planes) // frames
    return [planes[first : first + each] for first in range(0, len(planes), each)]


def _resize_alpha(planes: list[Tensor], given: yuv.Layout, plan: Plan, layout: yuv.Layout) -> Tensor:
    """The alpha plane of the result, bicubic; opaque if the source has no alpha."""
    alpha = yuv.to_alpha(planes, given) if given.alpha else torch.ones_like(planes[0], dtype=torch.float32)
    return yuv.from_alpha(resize_bicubic(alpha[None, None], plan.height, plan.width)[0, 0], layout)
