"""A video as images: numbered files (``frames/%06d.png``), or one animation (GIF, PNG, WebP, AVIF)."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from torch import Tensor

from upscaler import image_sequences
from upscaler.errors import MediaError
from upscaler.frames.film_frames import frames_in_context, upscale_any
from upscaler.frames.video_plan import deinterlacing_note, plan_square_frames
from upscaler.images import animation, stills
from upscaler.images.cicp import CodePoints
from upscaler.images.encoding import Encoding
from upscaler.images.formats import ImageFormat
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.pixels import Pixels, upright
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress
from upscaler.video import hdr
from upscaler.video.info import VideoInfo
from upscaler.video.projections import FLAT
from upscaler.video.reader import VideoReader
from upscaler.video.survey import Survey, survey
from upscaler.video.threads import BackgroundWriter, Prefetcher
from upscaler.video.trim import expected_frames
from upscaler.video.yuv import Layout

_WIDE_PRIMARIES = 9  # BT.2020
_SHORTEST_SHOWN_MS = 20  # players show frames of a GIF that are shorter for 100 ms


def upscale_to_images(
    job: Job,
    engine: Upscaler,
    options: VideoOptions,
    how: Encoding,
    on_progress: OnProgress,
    on_message: OnMessage,
    surveyed: Survey | None = None,
) -> Done:
    """Upscale a video into numbered images, or into one animation.

    Images are upright and have square pixels; numbered ones have 16 bits if the video has more than 8 and the
    format stores them. Interrupted work does not resume.

    Args:
        job: Source and target.
        engine: Runs the networks.
        options: How the video is read, and which part of it.
        how: How images are encoded.
        on_progress: Called after every frame.
        on_message: Called with every message as it arises.
        surveyed: Of the source, if that was done already.

    Raises:
        MediaError: The source cannot be read, or has no such frames; or an image cannot be written.
        UsageError: The format stores no images of this size, or not these colours.
    """
    surveyed = surveyed or survey(job.source, options)
    with VideoReader.with_options(job.source, options, on_message, surveyed) as reader:
        planned = _plan(job, reader, engine)
        for line in _lines(reader, planned, options):
            on_message(Message("info", line))
        job.make_target_folder()
        frames = _Frames(reader, engine, planned, options)
        with engine.messages_to(on_message):
            if image_sequences.is_pattern(job.target):
                count = _write_numbered(job, frames, how, on_progress)
            else:
                count = _write_animation(job, frames, how, on_progress, on_message)
        reader.report(whole=not options.trims)
    return Done(count)


def expected_images(
    job: Job, reader: VideoReader, engine: Upscaler, options: VideoOptions
) -> tuple[list[str], int]:
    """What ``upscale_to_images`` says before the first frame, and the most bytes that an image takes.

    Raises:
        UsageError: As ``upscale_to_images``.
    """
    planned = _plan(job, reader, engine)
    upscaling, layout = planned.upscaling, planned.layout
    samples = upscaling.height * upscaling.width * (3 + layout.alpha)
    return list(_lines(reader, planned, options)), samples * (1 if layout.bits == 8 else 2)


@dataclass(frozen=True)
class _Plan:
    """What is decided before the first frame.

    Attributes:
        upscaling: Networks, and the size of the frames before they are turned upright.
        layout: Of the planes that become images.
        image_format: Of the images.
        codes: Colours that they declare.
    """

    upscaling: Plan
    layout: Layout
    image_format: ImageFormat
    codes: CodePoints | None


def _plan(job: Job, reader: VideoReader, engine: Upscaler) -> _Plan:
    info = reader.info
    upscaling, codes = plan_square_frames(engine, info), _codes(info)
    sides = (upscaling.height, upscaling.width)
    check = stills.check_target if image_sequences.is_pattern(job.target) else animation.check_target
    image_format = check(job.target, *(sides if info.rotation % 180 == 0 else sides[::-1]), codes)
    return _Plan(upscaling, _layout(info, image_format), image_format, codes)


class _Frames:
    """The upscaled frames of a video as pictures."""

    def __init__(self, reader: VideoReader, engine: Upscaler, planned: _Plan, options: VideoOptions) -> None:
        self.reader = reader
        self.info = reader.info
        self.gray = reader.info.layout.kind == "gray"
        self.metadata = Metadata(codes=planned.codes)
        self.image_format = planned.image_format
        self.total = expected_frames(reader.info, options)
        self._engine = engine
        self._planned = planned
        self.until_s = options.until_s
        self._options = options

    def progress(self, done: int) -> Progress:
        """After so many frames."""
        info, total = self.info, max(self.total, done)
        factor = self._planned.upscaling.factor
        return Progress(done, total, "frames", 0, (info.height, info.width), factor, float(info.rate))

    def planes(self) -> Iterator[tuple[list[Tensor], int]]:
        """G, B, R and perhaps alpha of each frame, and its PTS.

        Raises:
            MediaError: There is no frame.
        """
        context = self._engine.context(self._planned.upscaling)
        with Prefetcher(frames_in_context(self.reader, self._options, context)) as decoder:
            pts, planned = None, self._planned
            upscaled = upscale_any(iter(decoder), self._engine, planned.upscaling, self.info, planned.layout)
            for planes, pts in upscaled:
                yield planes, pts
        if pts is None:
            raise MediaError(f"'{self.reader.path}' has no frame between the requested start and end")

    def picture(self, planes: list[Tensor]) -> tuple[Pixels, Pixels | None]:
        """Planes -> RGB ``(H, W, 3)`` and alpha ``(H, W)``, uint8 or uint16 over the full range, upright."""
        dtype = np.uint8 if self._planned.layout.bits == 8 else np.uint16
        channels: list[Any] = [plane.numpy().view(dtype) for plane in planes]
        g, b, r, *alpha = channels
        rotation, mirrored = self.info.rotation, self.info.mirrored
        rgb = upright(np.stack([r, g, b], 2), rotation, mirrored=mirrored)
        return rgb, upright(alpha[0], rotation, mirrored=mirrored) if alpha else None


def _layout(info: VideoInfo, image_format: ImageFormat) -> Layout:
    bits = 16 if info.layout.bits > 8 and image_format.sixteen_bit else 8
    alpha = info.layout.alpha and image_format.alpha
    return Layout(kind="gbr", bits=bits, horizontal=1, vertical=1, full_range=True, alpha=alpha)


def _codes(info: VideoInfo) -> CodePoints | None:
    """The colours to declare: HDR and wide gamut. Images that declare none are shown as sRGB."""
    colors = info.colors
    if colors.transfer in (hdr.PQ, hdr.HLG) or colors.primaries == _WIDE_PRIMARIES:
        return CodePoints(colors.primaries, colors.transfer)
    return None


def _lines(reader: VideoReader, planned: _Plan, options: VideoOptions) -> Iterator[str]:
    """What the user is told before the first frame."""
    info, layout, name = reader.info, planned.layout, planned.image_format.name
    yield f"{planned.upscaling.describe(info.height, info.width)}, {name} of {layout.bits} bits"
    if note := deinterlacing_note(reader, options):
        yield note
    if info.layout.bits > layout.bits:
        yield f"reducing {info.layout.bits} bits to {layout.bits}"
    if info.layout.alpha and not layout.alpha:
        yield f"the alpha channel is lost: {name} does not store it"
    if info.projection != FLAT:
        yield "360 degree and 3D metadata is lost: images do not declare it"
    if reader.has_other_streams:
        yield "images keep no audio, subtitles and chapters"


def _write_numbered(job: Job, frames: _Frames, how: Encoding, on_progress: OnProgress) -> int:
    """Write each frame as an image of its own, numbered from 1; images of a longer run are removed."""
    count = 0

    def write(planes: list[Tensor], pts: int) -> None:
        nonlocal count
        pixels, alpha = frames.picture(planes)
        still = Still(pixels, alpha, gray=frames.gray, metadata=frames.metadata)
        stills.write(image_sequences.numbered(job.target, count + 1), still, how, replaces=job.replaces)
        count += 1

    with BackgroundWriter(write) as writer:
        for done, (planes, pts) in enumerate(frames.planes(), 1):
            writer.put(planes, pts)
            on_progress(frames.progress(done))
        writer.finish()
    for number, path in image_sequences.existing(job.target):
        if number > count:
            path.unlink()
    return count


def _write_animation(
    job: Job, frames: _Frames, how: Encoding, on_progress: OnProgress, on_message: OnMessage
) -> int:
    count, shortest_ms = 0, float("inf")
    time_base, until_s = frames.info.time_base, frames.until_s

    def shown(planes: list[Tensor], begin_s: Fraction, end_s: Fraction) -> animation.Frame:
        nonlocal shortest_ms
        duration_ms = float(end_s - begin_s) * 1000
        shortest_ms = min(shortest_ms, duration_ms)
        return animation.Frame(*frames.picture(planes), duration_ms)

    def pictures() -> Iterator[animation.Frame]:
        before: tuple[list[Tensor], Fraction] | None = None
        for planes, pts in frames.planes():
            if before is not None:
                yield shown(*before, pts * time_base)
            before = planes, pts * time_base
        assert before is not None, "without a frame, `planes` raises"
        end_s = frames.reader.shown_until * time_base
        end_s = end_s if until_s is None else min(end_s, until_s)
        yield shown(*before, max(end_s, before[1] + 1 / frames.info.rate))

    def report(done: int) -> None:
        nonlocal count
        count = done
        on_progress(frames.progress(done))

    animation.write(job.target, pictures(), 0, frames.metadata, report, how, replaces=job.replaces)
    if frames.image_format.name == "GIF" and shortest_ms < _SHORTEST_SHOWN_MS:
        text = (
            f"players show the frames of a GIF for at least {_SHORTEST_SHOWN_MS} ms; .webp has no such limit"
        )
        on_message(Message("info", text))
    return count
