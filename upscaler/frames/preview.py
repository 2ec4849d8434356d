"""One frame of a video as two images, upscaled and bicubic, to judge a model and a scale by."""

from collections.abc import Iterator
from fractions import Fraction

import torch
from torch import Tensor

from upscaler.errors import MediaError
from upscaler.frames.video_plan import plan_frames
from upscaler.images import stills
from upscaler.images.still import Still
from upscaler.inference.engine import Upscaler
from upscaler.inference.resize import resize_bicubic
from upscaler.jobs import Job, bicubic_beside
from upscaler.options import VideoOptions
from upscaler.pixels import Pixels, as_codes, upright
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress
from upscaler.video import yuv
from upscaler.video.info import Frame, VideoInfo
from upscaler.video.reader import VideoReader
from upscaler.video.survey import Survey, source_of, survey
from upscaler.video.trim import expected_frames


def write_preview(
    job: Job,
    engine: Upscaler,
    options: VideoOptions,
    on_progress: OnProgress,
    on_message: OnMessage,
    surveyed: Survey | None = None,
) -> Done:
    """Write a frame of a video as two PNG files, rotated for display; with 16 bits if it has more than 8.

    Args:
        job: Source and target; the bicubic image goes to ``jobs.bicubic_beside`` the target.
        engine: Runs the networks.
        options: Select the frame: at ``start_s`` if given, otherwise in the middle of the requested part.
        on_progress: Called at the end.
        on_message: Called with every message as it arises.
        surveyed: Of the source, if that was done already.

    Raises:
        MediaError: The source cannot be read, has no frame there, or a target cannot be written.
        UsageError: The requested size is out of range.
    """
    if surveyed is None and options.crop == "auto":
        surveyed = survey(job.source, options)
    requested = surveyed or Survey(source_of(job.source, options))
    with VideoReader.with_options(job.source, options, on_message, requested) as reader:
        info = reader.info
        frame = _find_frame(reader, options, requested)
    height, width = frame.planes[0].shape
    plan = plan_frames(engine, info, height, width)
    stills.check_target(job.target, plan.height, plan.width)
    text = f"{plan.describe(height, width)}, frame at {float(frame.pts * info.time_base):.3f} s"
    on_message(Message("info", text))
    rgb = yuv.to_rgb([plane.to(engine.device) for plane in frame.planes], frame.layout).unsqueeze(0)
    with engine.messages_to(on_message):
        upscaled = engine.upscale(rgb, plan)
    images = {
        job.target: upscaled,
        bicubic_beside(job.target): resize_bicubic(rgb, plan.height, plan.width),
    }
    job.make_target_folder()
    for path, image in images.items():
        pixels = _for_display(image[0], info, frame.layout.bits)
        stills.write(path, Still(pixels, gray=frame.layout.kind == "gray"), replaces=job.replaces)
    on_progress(Progress(1, 1, "frames"))
    on_message(Message("info", f"wrote {bicubic_beside(job.target)}"))
    return Done(1)


def _find_frame(reader: VideoReader, options: VideoOptions, surveyed: Survey) -> Frame:
    """The first frame from ``start_s`` on; without it, from the middle of the requested part, or the last."""
    info, start_s = reader.info, options.start_s
    time_s = expected_frames(info, options) / info.rate / 2 if start_s is None else options.from_s
    last = next(reader.frames())
    if last.pts * info.time_base >= time_s:
        return last
    for frame in _frames_from(reader, time_s, options, surveyed):
        last = frame
        if frame.pts * info.time_base >= time_s:
            return frame
    if start_s is not None:
        raise MediaError(f"'{reader.path}' has no frame at {float(start_s):g} s")
    return last


def _frames_from(
    reader: VideoReader, time_s: Fraction, options: VideoOptions, surveyed: Survey
) -> Iterator[Frame]:
    """Frames from a time, or from earlier, on. Seeking may end after the time, so it is retried earlier."""
    for earlier_s in (Fraction(0), Fraction(2), Fraction(10)):
        reader.seek(max(Fraction(0), time_s - earlier_s))
        frames = reader.frames()
        first = next(frames, None)
        if first is not None and first.pts * reader.info.time_base <= time_s:
            yield first
            yield from frames
            return
    with VideoReader.with_options(reader.path, options, lambda _: None, surveyed) as restarted:
        yield from restarted.frames()


def _for_display(rgb: Tensor, info: VideoInfo, bits: int) -> Pixels:
    """RGB ``(3, H, W)`` fp32 in [0, 1] -> RGB ``(H, W, 3)``, uint8 or uint16, rotated for display."""
    codes = as_codes(rgb, torch.uint8 if bits == 8 else torch.uint16).permute(1, 2, 0).cpu().numpy()
    return upright(codes, info.rotation, mirrored=info.mirrored)
