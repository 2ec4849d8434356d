"""One frame of a video as a picture, upscaled and by bicubic, to judge a model and a scale by."""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from upscaler.errors import MediaError
from upscaler.images import stills
from upscaler.images.still import Still
from upscaler.inference.engine import Upscaler
from upscaler.inference.resize import resize_bicubic
from upscaler.jobs import Job, bicubic_beside
from upscaler.options import VideoOptions
from upscaler.pipeline import describe, make_folder
from upscaler.pixels import Pixels, as_codes
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress
from upscaler.video import yuv
from upscaler.video.info import Frame, VideoInfo
from upscaler.video.reader import VideoReader
from upscaler.video.trim import expected_frames
from upscaler.video_frames import plan_frames


def write_preview(
    job: Job,
    engine: Upscaler,
    options: VideoOptions,
    on_progress: OnProgress,
    on_message: OnMessage,
) -> Done:
    """Write a frame of a video as two PNG files, turned as it is to be shown, of 16 bits where it has over 8.

    Args:
        job: Source, and where the upscaled frame goes; ``bicubic_beside`` it goes the other.
        engine: Does the enlarging.
        options: Says which frame: at the start asked for, else from the middle.
        on_progress: Called at the end.
        on_message: Called with what the user should know.

    Raises:
        MediaError: The source cannot be read, has no frame there, or a target cannot be written.
    """
    with VideoReader(job.source, options.deinterlace, options.decoder, on_message) as reader:
        info = reader.info
        frame = _frame(reader, options)
    height, width = frame.planes[0].shape
    plan = plan_frames(engine, info, height, width)
    stills.check_target(job.target, plan.height, plan.width)
    text = f"{describe(plan, height, width)}, the frame at {float(frame.pts * info.time_base):.3f} s"
    on_message(Message("info", text))
    rgb = yuv.to_rgb([plane.to(engine.device) for plane in frame.planes], frame.layout).unsqueeze(0)
    with engine.messages_to(on_message):
        upscaled = engine.upscale(rgb, plan)
    pictures = {
        job.target: upscaled,
        bicubic_beside(job.target): resize_bicubic(rgb, plan.height, plan.width),
    }
    make_folder(job.target.parent)
    for path, picture in pictures.items():
        pixels = _shown(picture[0], info, frame.layout.bits)
        stills.write(path, Still(pixels, gray=frame.layout.kind == "gray"))
    on_progress(Progress(1, 1, "frames"))
    on_message(Message("info", f"wrote {bicubic_beside(job.target)}"))
    return Done(1)


def _frame(reader: VideoReader, options: VideoOptions) -> Frame:
    """The frame at the start asked for; without one, that of the middle of the part, or the nearest to it."""
    info, start_s = reader.info, options.start_s
    wanted_s = expected_frames(info, options) / info.rate / 2 if start_s is None else options.from_s
    nearest = next(reader.frames())
    if nearest.pts * info.time_base >= wanted_s:
        return nearest
    for frame in _frames_from(reader, wanted_s, options):
        nearest = frame
        if frame.pts * info.time_base >= wanted_s:
            return frame
    if start_s is not None:
        raise MediaError(f"'{reader.path}' has no frame at {float(start_s):g} s")
    return nearest


def _frames_from(reader: VideoReader, time_s: Fraction, options: VideoOptions) -> Iterator[Frame]:
    """Frames from a time or from before it on; some files are sought to the key frame after it."""
    for earlier_s in (Fraction(0), Fraction(2), Fraction(10)):
        reader.seek(max(Fraction(0), time_s - earlier_s))
        frames = reader.frames()
        first = next(frames, None)
        if first is not None and first.pts * reader.info.time_base <= time_s:
            yield first
            yield from frames
            return
    with VideoReader(reader.path, options.deinterlace, options.decoder) as again:
        yield from again.frames()


def _shown(rgb: Tensor, info: VideoInfo, bits: int) -> Pixels:
    """``(3, H, W)`` -> ``(H, W, 3)``, turned and mirrored as it is to be shown."""
    codes = as_codes(rgb, torch.uint8 if bits == 8 else torch.uint16).permute(1, 2, 0).cpu().numpy()
    turned = np.rot90(codes, info.rotation // 90)
    return np.ascontiguousarray(np.fliplr(turned) if info.mirrored else turned)
