"""A video as a YUV4MPEG2 stream: raw frames for a pipe into another program, or a ``.y4m`` file."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

from torch import Tensor

from upscaler import atomic
from upscaler.errors import MediaError
from upscaler.frames.film_frames import frames_in_context, upscale_any
from upscaler.frames.video_plan import deinterlacing_note, giving_planes, plan_frames
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress
from upscaler.video import yuv
from upscaler.video.info import VideoInfo
from upscaler.video.projections import FLAT
from upscaler.video.reader import VideoReader
from upscaler.video.survey import Survey, survey
from upscaler.video.threads import BackgroundWriter, Prefetcher
from upscaler.video.trim import expected_frames

_SAMPLINGS = {(2, 2): "420", (2, 1): "422", (1, 1): "444"}
_SITINGS = {"left": "mpeg2", "center": "jpeg", "topleft": "paldv"}
_MAY_BE_OFF = Fraction(1, 2)  # of a frame: containers round times


def upscale_to_y4m(
    job: Job,
    engine: Upscaler,
    options: VideoOptions,
    on_progress: OnProgress,
    on_message: OnMessage,
    surveyed: Survey | None = None,
    stream: BinaryIO | None = None,
) -> Done:
    """Upscale a video into raw frames, with the chroma subsampling and the bits that it has.

    Args:
        job: Source and target.
        engine: Runs the networks.
        options: How the video is read, and which part of it.
        on_progress: Called after every frame.
        on_message: Called with every message as it arises.
        surveyed: Of the source, if that was done already.
        stream: What the frames are written to; ``None``: the target.

    Raises:
        MediaError: The source cannot be read, or has no frame in the requested part; or writing failed.
        UsageError: The requested size is out of range.
    """
    surveyed = surveyed or survey(job.source, options)
    with VideoReader.with_options(job.source, options, on_message, surveyed) as reader:
        plan, layout = _plan(reader, engine)
        for line in _lines(reader, plan, layout, options):
            on_message(Message("info", line))
        with engine.messages_to(on_message), _opened(job, stream) as file:
            count = _write(reader, engine, plan, layout, options, file, on_progress, on_message)
        reader.report(whole=not options.trims)
    return Done(count)


def expected_y4m(reader: VideoReader, engine: Upscaler, options: VideoOptions) -> tuple[list[str], int]:
    """What ``upscale_to_y4m`` says before the first frame, and the bytes of a frame."""
    plan, layout = _plan(reader, engine)
    chroma = 0 if layout.kind == "gray" else Fraction(2, layout.horizontal * layout.vertical)
    samples = plan.height * plan.width * (1 + chroma)
    return list(_lines(reader, plan, layout, options)), round(samples * (1 if layout.bits == 8 else 2))


def _plan(reader: VideoReader, engine: Upscaler) -> tuple[Plan, yuv.Layout]:
    info = reader.info
    exact, layout = plan_frames(engine, info, info.height, info.width), replace(info.layout, alpha=False)
    if layout.kind == "gbr":
        layout = replace(layout, kind="yuv", full_range=False)
    if (layout.horizontal, layout.vertical) not in _SAMPLINGS:
        layout = replace(layout, horizontal=1, vertical=1)
    height, width = yuv.even_sized(layout, exact.height, exact.width)
    plan = engine.in_steps(replace(exact, height=height, width=width))
    return giving_planes(engine, plan, layout, info.height, info.width), layout


def _lines(reader: VideoReader, plan: Plan, layout: yuv.Layout, options: VideoOptions) -> Iterator[str]:
    """What the user is told before the first frame."""
    info = reader.info
    yield f"{plan.describe(info.height, info.width)}, y4m ({_colour_space(layout)})"
    if note := deinterlacing_note(reader, options):
        yield note
    if info.layout.alpha:
        yield "the alpha channel is lost: y4m does not store it"
    if info.rotation or info.mirrored:
        yield "frames are not turned upright: y4m does not store their orientation"
    if info.projection != FLAT:
        yield "360 degree and 3D metadata is lost: y4m does not declare it"
    if reader.has_other_streams:
        yield "y4m keeps no audio, subtitles and chapters"


def _write(
    reader: VideoReader,
    engine: Upscaler,
    plan: Plan,
    layout: yuv.Layout,
    options: VideoOptions,
    file: BinaryIO,
    on_progress: OnProgress,
    on_message: OnMessage,
) -> int:
    """Write all selected frames; the number of them."""
    info, count, off = reader.info, 0, 0
    begin_s: Fraction | None = None
    total = expected_frames(info, options)

    def write(planes: list[Tensor], pts: int) -> None:
        _put(file, b"FRAME\n")
        for plane in planes:
            samples: Any = plane.contiguous().numpy()
            _put(file, samples.tobytes())

    _put(file, _header(info, plan, layout))
    selected = frames_in_context(reader, options, engine.context(plan))
    with Prefetcher(selected) as decoder, BackgroundWriter(write) as writer:
        for planes, pts in upscale_any(iter(decoder), engine, plan, info, layout):
            writer.put(planes, pts)
            time_s = pts * info.time_base
            begin_s = time_s if begin_s is None else begin_s
            off += abs((time_s - begin_s) * info.rate - count) > _MAY_BE_OFF
            count += 1
            source_px = (info.height, info.width)
            progress = Progress(count, max(total, count), "frames", 0, source_px, plan.factor)
            on_progress(replace(progress, rate=float(info.rate)))
        if not count:
            raise MediaError(f"'{reader.path}' has no frame between the requested start and end")
        writer.finish()
    if off:
        frames = "1 frame is" if off == 1 else f"{off} frames are"
        text = f"{frames} at another time: y4m has {float(info.rate):.5g} frames/s throughout"
        on_message(Message("warning", text))
    return count


@contextmanager
def _opened(job: Job, stream: BinaryIO | None) -> Iterator[BinaryIO]:
    if stream is not None:
        yield stream
        return
    job.make_target_folder()
    try:
        with atomic.replacing(job.target) as partial, Path(partial).open("wb") as file:
            yield file
    except OSError as error:
        raise MediaError(f"'{job.target}' cannot be written: {error.strerror or error}") from error


def _put(file: BinaryIO, content: bytes) -> None:
    """Write all of it; an unbuffered pipe may take less at a time."""
    rest = memoryview(content)
    try:
        while rest:
            rest = rest[file.write(rest) or 0 :]
    except OSError as error:
        raise MediaError(f"cannot write the frames: {error.strerror or error}") from error


def _header(info: VideoInfo, plan: Plan, layout: yuv.Layout) -> bytes:
    rate, aspect = info.rate, info.sample_aspect
    colour_space = _colour_space(layout)
    parts = [
        "YUV4MPEG2",
        f"W{plan.width}",
        f"H{plan.height}",
        f"F{rate.numerator}:{rate.denominator}",
        "Ip",
        f"A{aspect.numerator}:{aspect.denominator}",
        f"C{colour_space}",
        f"XYSCSS={colour_space.upper()}",
        f"XCOLORRANGE={'FULL' if layout.full_range else 'LIMITED'}",
    ]
    return " ".join(parts).encode() + b"\n"


def _colour_space(layout: yuv.Layout) -> str:
    """As FFmpeg's muxer names it."""
    if layout.kind == "gray":
        return "mono" if layout.bits == 8 else f"mono{layout.bits}"
    sampling = _SAMPLINGS[layout.horizontal, layout.vertical]
    if layout.bits > 8:
        return f"{sampling}p{layout.bits}"
    return sampling + (_SITINGS[layout.siting] if sampling == "420" else "")
