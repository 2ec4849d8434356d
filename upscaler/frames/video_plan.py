"""What is decided about a video before its first frame: sizes, encoder, segments."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

from upscaler.errors import UsageError
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.results import StreamPlan
from upscaler.system import memory
from upscaler.video import codecs, encoder_memory, encoders, hdr, stream_plan, yuv
from upscaler.video.formats import container_of
from upscaler.video.geometry import coded_box
from upscaler.video.info import VideoInfo
from upscaler.video.reader import VideoReader
from upscaler.video.segment_writer import settings_for
from upscaler.video.segments import frames_per_segment
from upscaler.video.survey import Survey


@dataclass(frozen=True)
class VideoPlan:
    """How a video is upscaled and encoded.

    Attributes:
        upscaling: Networks, and the size of the encoded frames.
        encoding: Settings of the encoder.
        segment_frames: Frames per segment.
        summary: Sizes and encoder in one line.
        notes: Further lines for the user: what the encoder or the container cannot keep.
        encoder_bytes: About how much main memory the encoder takes.
    """

    upscaling: Plan
    encoding: encoders.EncodeSettings
    segment_frames: int
    summary: str
    notes: list[str]
    encoder_bytes: int


def plan_streams(job: Job, options: VideoOptions, surveyed: Survey) -> list[StreamPlan]:
    """What becomes of every stream of the source except its main video; raises as ``stream_plan.plan``."""
    return stream_plan.plan(
        surveyed.source,
        job.target,
        audio=options.audio,
        subtitles=options.subtitles,
        audio_codec=options.audio_codec,
        audio_languages=options.audio_language,
    )


def plan_video(reader: VideoReader, job: Job, engine: Upscaler, options: VideoOptions) -> VideoPlan:
    """Decide about a video.

    Raises:
        UsageError: The target's container does not support the codec, or the encoder does not support the
            options; or the requested size is out of range.
        MemoryNeededError: Main memory is too small for the encoder.
    """
    info, suffix = reader.info, job.target.suffix.lower()
    choice = encoders.choose(suffix, options, info.layout)
    exact = plan_frames(engine, info, info.height, info.width)
    squares_pixels = info.sample_aspect != 1 and not codecs.stores_pixel_aspect(suffix, choice.codec)
    if squares_pixels:
        exact = _with_square_pixels(exact, info.sample_aspect)
    height, width = yuv.even_sized(choice.layout, exact.height, exact.width)
    encoders.check_size(choice, suffix, height, width)
    plan = engine.in_steps(replace(exact, height=height, width=width))
    upscaling = giving_planes(engine, plan, choice.layout, info.height, info.width)
    rounded = (
        ""
        if (height, width) == (exact.height, exact.width)
        else f" (rounded to even from {exact.width}x{exact.height})"
    )
    choice = encoder_memory.bounded(choice, width, height)
    encoder_bytes = encoder_memory.needed_bytes(choice, width, height)
    what = f"encoding frames of {width}x{height} with {choice.encoder.name}"
    memory.check_room(encoder_bytes, what, "use a smaller --scale or --size, or a faster --preset")
    notes = [*choice.notes]
    if squares_pixels:
        aspect = f"{info.sample_aspect.numerator}:{info.sample_aspect.denominator}"
        notes.append(f"converting to square pixels: {choice.codec} in {suffix} cannot store aspect {aspect}")
    if note := deinterlacing_note(reader, options):
        notes.append(note)
    is_mp4 = container_of(suffix).is_mp4
    notes += info.projection.lost(suffix, is_mp4=is_mp4, is_cropped=options.crop is not None)
    for name in hdr.lost_metadata(info.hdr, choice.encoder.name) if info.hdr else ():
        notes.append(f"{name} metadata is lost: {choice.encoder.name} does not write it")
    return VideoPlan(
        upscaling=upscaling,
        encoding=settings_for(info, choice, height, width, square=squares_pixels),
        segment_frames=frames_per_segment(engine.macs(plan, info.height, info.width), engine.device.type),
        summary=f"{plan.describe(info.height, info.width)}{rounded}, {choice.describe()}",
        notes=notes,
        encoder_bytes=encoder_bytes,
    )


def first_lines(
    planned: VideoPlan,
    info: VideoInfo,
    surveyed: Survey,
    streams: list[StreamPlan],
    options: VideoOptions,
) -> list[str]:
    """What the user is told before the first frame: sizes and encoder, notes, and the table of streams."""
    note = stream_plan.language_note(streams, options.audio_language)
    captions = stream_plan.captions_row(planned.encoding.choice.codec) if surveyed.has_captions else None
    table = stream_plan.table(streams, info.chapters, captions)
    notes = [*planned.notes, *([note] if note else [])]
    if options.crop is not None and stream_plan.keeps_bitmaps(streams):
        notes.append(
            "subtitles that are pictures are placed for the whole picture, not for what --crop keeps"
        )
    return [planned.summary, *notes, *table]


def deinterlacing_note(reader: VideoReader, options: VideoOptions) -> str:
    """A line about deinterlacing; empty if there is none."""
    if options.deinterlace == "bob":
        return f"deinterlacing with bwdif, a frame per field: {float(reader.info.rate):.5g} frames/s"
    if options.deinterlace == "ivtc":
        return "inverse telecine: 3:2 pulldown becomes 24 frames/s"
    if reader.interlaced_frames and options.deinterlace != "off":
        return "deinterlacing with bwdif (same frame count)"
    return ""


def plan_frames(engine: Upscaler, info: VideoInfo, height: int, width: int) -> Plan:
    """The plan for coded frames of this size: as displayed, they fit inside the requested size."""
    size_px = engine.options.size_px
    box_px = coded_box(size_px, info.sample_aspect, info.rotation) if size_px else None
    return engine.plan(height, width, box_px)


def giving_planes(engine: Upscaler, plan: Plan, layout: yuv.Layout, height: int, width: int) -> Plan:
    """The plan for frames of this size, with planes for the encoder straight from the network if possible."""
    output = yuv.plane_output(layout)
    return engine.giving_planes(plan, output, height, width) if output else plan


def plan_square_frames(engine: Upscaler, info: VideoInfo) -> Plan:
    """The plan for frames that become images, which have square pixels."""
    plan = plan_frames(engine, info, info.height, info.width)
    return engine.in_steps(plan if info.sample_aspect == 1 else _with_square_pixels(plan, info.sample_aspect))


def _with_square_pixels(plan: Plan, sample_aspect: Fraction) -> Plan:
    """The plan with one side enlarged so that pixels of this aspect become square."""
    if sample_aspect > 1:
        return replace(plan, width=round(plan.width * sample_aspect))
    return replace(plan, height=round(plan.height / sample_aspect))


def check_codecs(jobs: Iterable[Job], options: VideoOptions) -> None:
    """Check, before any work starts, that the targets' containers and their encoders support the options.

    Raises:
        UsageError: Names the containers that support the codec, or the option that it does not support; of
            several videos, the one that it is about.
    """
    videos = [job for job in jobs if job.is_encoded]
    first = {job.target.suffix.lower(): job for job in reversed(videos)}
    for suffix, job in sorted(first.items()):
        try:
            encoders.choose(suffix, options)
            if options.audio_codec:
                stream_plan.check_audio_codec(suffix, options.audio_codec)
        except UsageError as error:
            if len(first) == 1:
                raise
            hint = f"{error.hint}; or upscale {suffix} files by themselves".removeprefix("; or ")
            raise UsageError(f"'{job.source}': {error.message}", hint) from error
