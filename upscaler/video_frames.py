"""Frames through the network: planes -> RGB -> larger planes, all on the engine's device.

Where the plan says so, the network gives planes; otherwise RGB, which is converted.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from upscaler.inference.batching import batch_equal
from upscaler.inference.engine import Upscaler
from upscaler.inference.overlap import run_overlapped
from upscaler.inference.plan import Plan
from upscaler.inference.resize import resize_bicubic
from upscaler.video import yuv
from upscaler.video.geometry import Shape, fitted_size
from upscaler.video.info import Frame, VideoInfo
from upscaler.video_plan import giving_planes, plan_frames


def upscale_frames(
    frames: Iterable[Frame], engine: Upscaler, plan: Plan, info: VideoInfo, layout: yuv.Layout
) -> Iterator[tuple[list[Tensor], int]]:
    """Upscale decoded frames for an encoder.

    Consecutive frames of equal size and layout go through the network together, as many as
    ``Upscaler.batch_for`` says. On a GPU, upload, computation and download of successive batches overlap, so
    some frames are read ahead.

    Args:
        frames: In order.
        engine: Runs the networks.
        plan: For frames of the shape in ``info``. Frames of another shape are fitted into the same target,
            with bars unless they are displayed with the same aspect.
        info: Of the video.
        layout: How the planes for the encoder encode colour.

    Yields:
        The planes of a frame, ``(h, w)`` each on the host, full code range of ``layout.dtype``, in the order
        of ``yuv.Layout``; and its PTS.
    """
    # What the target displays is what ``info`` displays.
    target = Shape(plan.width, plan.height, info.shape.aspect() * plan.height / plan.width)
    chroma_px = (1, 1) if layout.kind != "yuv" else (layout.horizontal, layout.vertical)

    def plan_for(shape: Shape) -> Plan:
        if shape == info.shape:
            return plan
        other = plan_frames(engine, info, shape.height, shape.width)
        width, height = fitted_size(shape, target, chroma_px)
        other = replace(other, height=height, width=width)
        return giving_planes(engine, other, layout, shape.height, shape.width)

    def upscale(planes: list[Tensor], batch: list[Frame], check: bool) -> tuple[list[Tensor], Tensor]:
        sources = _by_frame(planes, len(batch))
        given = batch[0].layout
        rgb = torch.stack([yuv.to_rgb(source, given) for source in sources])
        own = plan_for(batch[0].shape)
        upscaled, finite = engine.upscale_flagged(rgb, own, check=check)
        if own.planes is not None:
            colors = list(zip(*own.planes.unpack(upscaled, own.scales[-1]), strict=True))
        else:
            colors = [tuple(yuv.from_rgb(picture, layout)) for picture in upscaled]
        results: list[Tensor] = []
        for frame_colors, source in zip(colors, sources, strict=True):
            results += frame_colors
            if layout.alpha:
                results.append(_resize_alpha(source, given, own, layout))
        return results, finite

    def max_batch(frame: Frame) -> int:
        height, width = frame.planes[0].shape
        return engine.batch_for(plan_for(frame.shape), height, width)

    batches = batch_equal(frames, lambda frame: (frame.layout, frame.shape), max_batch)
    with_planes = (([plane for frame in batch for plane in frame.planes], batch) for batch in batches)
    for planes, batch in run_overlapped(with_planes, upscale, engine.device):
        for frame, own in zip(batch, _by_frame(planes, len(batch)), strict=True):
            yield yuv.with_bars(own, layout, plan.height, plan.width), frame.pts


def _by_frame(planes: list[Tensor], frames: int) -> list[list[Tensor]]:
    """Split the planes of a batch of frames; every frame has the same number of planes."""
    each = len(planes) // frames
    return [planes[first : first + each] for first in range(0, len(planes), each)]


def _resize_alpha(planes: list[Tensor], given: yuv.Layout, plan: Plan, layout: yuv.Layout) -> Tensor:
    """The alpha plane of the result, bicubic; opaque if the source has no alpha."""
    alpha = yuv.to_alpha(planes, given) if given.alpha else torch.ones_like(planes[0], dtype=torch.float32)
    return yuv.from_alpha(resize_bicubic(alpha[None, None], plan.height, plan.width)[0, 0], layout)
