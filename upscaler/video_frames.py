"""Frames through the network: planes -> RGB -> larger RGB -> planes, on the engine's device, in batches."""

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
from upscaler.video.geometry import coded_box
from upscaler.video.info import Frame, VideoInfo


def plan_frames(engine: Upscaler, info: VideoInfo, height: int, width: int) -> Plan:
    """The plan for coded frames of this size: what is shown of them fits into the size asked for."""
    size_px = engine.options.size_px
    box_px = coded_box(size_px, info.sample_aspect, info.rotation) if size_px else None
    return engine.plan(height, width, box_px)


def enlarged(
    frames: Iterable[Frame], engine: Upscaler, plan: Plan, info: VideoInfo, layout: yuv.Layout
) -> Iterator[tuple[list[Tensor], int]]:
    """Every frame's planes through colour conversion, network and back, and its PTS.

    Args:
        frames: As decoded.
        engine: Does the enlarging.
        plan: For frames of ``info``'s size; frames of another size are brought to the same target.
        info: Of the video.
        layout: What to make.

    Returns:
        Planes on the host and PTS, in order. On a GPU some frames are read ahead.
    """

    def work(planes: list[Tensor], batch: list[Frame], check: bool) -> tuple[list[Tensor], Tensor]:
        each = len(planes) // len(batch)
        sources = [planes[first : first + each] for first in range(0, len(planes), each)]
        rgb = torch.stack([yuv.to_rgb(source, batch[0].layout) for source in sources])
        own_plan = plan
        if rgb.shape[-2:] != (info.height, info.width):  # the size changed in mid-stream
            other = plan_frames(engine, info, *rgb.shape[-2:])
            own_plan = replace(other, height=plan.height, width=plan.width)
        larger, finite = engine.upscale_flagged(rgb, own_plan, check=check)
        made = []
        for picture, source in zip(larger, sources, strict=True):
            made += yuv.from_rgb(picture, layout)
            if layout.alpha:
                made.append(_alpha(source, batch[0].layout, plan, layout))
        return made, finite

    together = batch_equal(
        frames,
        lambda frame: (frame.layout, [plane.shape for plane in frame.planes]),
        lambda frame: engine.batch_for(*frame.planes[0].shape),
    )
    batches = (([plane for frame in batch for plane in frame.planes], batch) for batch in together)
    for planes, batch in run_overlapped(batches, work, engine.device):
        each = len(planes) // len(batch)
        for index, frame in enumerate(batch):
            yield planes[index * each : (index + 1) * each], frame.pts


def _alpha(source: list[Tensor], given: yuv.Layout, plan: Plan, layout: yuv.Layout) -> Tensor:
    """The plane of opacity, enlarged without a network; opaque where the source has none."""
    alpha = yuv.to_alpha(source, given) if given.alpha else torch.ones_like(source[0], dtype=torch.float32)
    return yuv.from_alpha(resize_bicubic(alpha[None, None], plan.height, plan.width)[0, 0], layout)
