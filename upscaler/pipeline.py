"""MAIN FLOW: a frame's way from file to file. ``upscale_still`` for pictures, ``upscale_video`` for video.

Video: a thread demuxes and decodes, this one runs the network (``enlarge.py``), a third encodes into closed
segments; the queues between them are short and hold planes as decoded (``threads.py``). The segments stand in
the job folder beside the target (``jobfolder.py``), where a later run finds them if this one is cut off. At
the end they are put together with the source's other streams (``video/mux.py``), and the file is read again
before it gets its name (``video/verify.py``).
"""

import math
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path

from upscaler.errors import DeviceError, MediaError
from upscaler.images import animation, stills, transparency
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress, StreamPlan, VideoFacts
from upscaler.resume.fingerprint import fingerprint, has_changed
from upscaler.resume.job_folder import JobFolder, Manifest
from upscaler.video import codecs, encoders, hdr, mux, segment_writer, segments, stream_plan, trim, yuv
from upscaler.video.info import VideoInfo, Window
from upscaler.video.reader import VideoReader
from upscaler.video.threads import Ahead, Behind
from upscaler.video.verify import Verified, verify
from upscaler.video_frames import enlarged, plan_frames


@dataclass(frozen=True)
class _Work:
    """What is decided before the first frame; the first line says sizes and encoder."""

    plan: Plan
    settings: encoders.EncodeSettings
    segment_frames: int
    lines: list[str]


@dataclass(frozen=True)
class _Encoded:
    frames_in: int
    frames_resumed: int
    window: Window
    segments: list[segments.Segment]
    stages_s: dict[str, float]


def upscale_still(
    job: Job,
    engine: Upscaler,
    on_progress: OnProgress,
    on_message: OnMessage,
) -> Done:
    """Enlarge one picture, or every frame of an animated one.

    Args:
        job: Source and target.
        engine: Does the enlarging.
        on_progress: Called after every batch of tiles.
        on_message: Called with what the user should know.

    Raises:
        MediaError: The source cannot be read or the target not written; the target is then not there.
    """
    if animation.is_animated(job.source):
        return _upscale_animation(job, engine, on_progress, on_message)
    still = stills.read(job.source)
    height, width = still.pixels.shape[:2]
    plan = engine.plan(height, width)
    stills.check_target(job.target, plan.height, plan.width)
    on_message(Message("info", describe(plan, height, width)))
    alpha, seen = still.alpha, still.pixels

    def report(done: int, total: int) -> None:
        on_progress(Progress(done, total, "tiles", source_px=(height, width), factor=plan.factor))

    with engine.messages_to(on_message):
        if alpha is not None:
            seen = transparency.bleed_colors(seen, alpha)
            alpha = transparency.upscale_alpha(alpha, plan.height, plan.width, engine.image)
        report(0, 0)  # reading and transparency are done: what follows is the work that tiles measure
        pixels = engine.image(seen, report)
    make_folder(job.target.parent)
    stills.write(job.target, replace(still, pixels=pixels, alpha=alpha))
    animation.warn_if_truncated(job.source, on_message)
    return Done(1)


def _upscale_animation(job: Job, engine: Upscaler, on_progress: OnProgress, on_message: OnMessage) -> Done:
    with animation.opened(job.source) as moving, engine.messages_to(on_message):
        height, width, count = moving.height, moving.width, moving.count
        plan = engine.plan(height, width)
        image_format = animation.check_target(job.target, plan.height, plan.width)
        size = animation.describe_size(image_format, count, plan.height, plan.width)
        on_message(Message("info", describe(plan, height, width) + size))
        make_folder(job.target.parent)
        animation.write(
            job.target,
            animation.upscale_frames(moving.frames(), engine.frames),
            moving.plays,
            moving.metadata,
            lambda done: on_progress(
                Progress(
                    done, count, "frames", source_px=(height, width), factor=plan.factor, rate=moving.rate
                )
            ),
        )
    animation.warn_if_truncated(job.source, on_message)
    return Done(count)


def upscale_video(
    job: Job,
    engine: Upscaler,
    options: VideoOptions,
    on_progress: OnProgress,
    on_message: OnMessage,
) -> Done:
    """Enlarge one video: every frame at its own time, every audio stream copied.

    When it is cut off, the segments that are closed stay in the job folder beside the target, and the next
    call with the same arguments goes on after them.

    Args:
        job: Source and target.
        engine: Does the enlarging.
        options: How video is encoded.
        on_progress: Called after every frame.
        on_message: Called with what the user should know.

    Raises:
        MediaError: Reading, encoding or merging failed, or the finished file does not hold every frame at its
            time; the target is then as it was before.
    """
    plans = stream_plan.plan(
        job.source,
        job.target,
        audio=options.audio,
        subtitles=options.subtitles,
        audio_codec=options.audio_codec,
    )
    before = job.source.stat()
    with (
        VideoReader(job.source, options.deinterlace, options.decoder, on_message) as reader,
        engine.messages_to(on_message),
        ExitStack() as execution,
    ):
        work = _decide(reader, job, engine, options)
        for line in (*work.lines, *stream_plan.table(plans, reader.info.chapters)):
            on_message(Message("info", line))
        with JobFolder(job.target, on_message) as folder:
            closed = _begun(folder, job, engine, reader.info, work, options, execution, on_message)
            writer = segments.SegmentedVideoWriter(folder.path, work.settings, work.segment_frames, closed)
            made = _encode(reader, engine, work.plan, writer, options, on_progress)
            found = _put_together(
                made, reader.info, job, folder, plans, trims=options.trims, on_message=on_message
            )
        reader.report(whole=not options.trims)
        settings = {**engine.execution(work.plan), "video": work.lines[0]}
    if has_changed(job.source, before):
        text = "the file changed while it was read: sound and subtitles may not match the pictures"
        on_message(Message("warning", text))
    seconds_in = float(made.window.stop_s - made.window.start_s)
    facts = VideoFacts(
        made.frames_in, made.frames_resumed, seconds_in, found.seconds, plans, settings, made.stages_s
    )
    return Done(found.frames, facts)


def _decide(reader: VideoReader, job: Job, engine: Upscaler, options: VideoOptions) -> _Work:
    """Sizes, encoder and segments for a video, and what to tell of it."""
    info, suffix = reader.info, job.target.suffix.lower()
    choice = encoders.choose(suffix, options, info.layout)
    asked = plan_frames(engine, info, info.height, info.width)
    square = info.sample_aspect != 1 and not codecs.stores_pixel_aspect(suffix, choice.codec)
    asked = _squared(asked, info.sample_aspect) if square else asked
    plan = _even(asked, choice.layout)
    even = "" if plan == asked else f" (rounded to even from {asked.width}x{asked.height})"
    lines = [
        f"{describe(plan, info.height, info.width)}{even}, {choice.describe()}",
        *choice.notes,
    ]
    if square:
        lines.append(f"pixels are made square: {choice.codec} in {suffix} cannot say {info.sample_aspect}")
    if reader.interlaced_frames and options.deinterlace != "off":
        lines.append("interlaced: made whole by bwdif, as many frames as before")
    for name in hdr.lost_metadata(info.hdr, choice.encoder.name) if info.hdr else ():
        lines.append(f"{name} metadata is lost: {choice.encoder.name} does not write it")
    settings = segment_writer.settings_for(info, choice, plan.height, plan.width, square=square)
    frames = segments.frames_per_segment(engine.macs(plan, info.height, info.width), engine.device.type)
    return _Work(plan, settings, frames, lines)


def _begun(
    folder: JobFolder,
    job: Job,
    engine: Upscaler,
    info: VideoInfo,
    work: _Work,
    options: VideoOptions,
    execution: ExitStack,
    on_message: OnMessage,
) -> list[segments.Segment]:
    """The closed segments of an earlier run, or none and a fresh manifest.

    With those of an earlier run the engine runs as it did then, until ``execution`` closes.
    """
    prints = fingerprint(
        job.source, engine.weights_of(work.plan), engine.options, options, work.settings, work.segment_frames
    )
    earlier = folder.manifest() if options.resume else None
    closed = segments.closed_segments(folder.path)
    if earlier and closed:
        try:
            reason = earlier.difference(prints)
            if not reason:
                execution.enter_context(engine.restored_execution(earlier.execution, work.plan))
        except DeviceError as error:
            reason = str(error)
        if not reason:
            frames = sum(segment.frames for segment in closed)
            on_message(Message("info", f"resuming after {frames} frames of an earlier run"))
            return closed
        text = f"restarting: the earlier partial result cannot be reused, because {reason}"
        on_message(Message("info", text))
    engine.prepare(info.height, info.width, info.frames)
    folder.begin(Manifest(prints, engine.execution(work.plan)))
    return []


def _put_together(
    made: _Encoded,
    info: VideoInfo,
    job: Job,
    folder: JobFolder,
    plans: list[StreamPlan],
    *,
    trims: bool,
    on_message: OnMessage,
) -> Verified:
    """Merge, read again, and only then give the file its name; what stands in it.

    Raises:
        MediaError: A frame is missing or at another time. What was made is then kept in the job folder.
    """
    begun = time.monotonic()
    merged = folder.path / f"merged{job.target.suffix.lower()}"
    mux.merge(
        made.segments,
        job.source,
        merged,
        plans,
        orientation=(info.rotation, info.mirrored),
        window=made.window,
        cut=trims,
        on_message=on_message,
    )
    made.stages_s["merge"] = time.monotonic() - begun
    try:
        found = verify(merged, made.segments, made.window.start_s if trims else Fraction(0))
    except MediaError as error:
        if not merged.exists():
            raise
        kept = merged.replace(merged.with_stem("incomplete"))
        raise MediaError(f"'{job.target}' is not written: {error}", f"it is kept as '{kept}'") from error
    made.stages_s["verify"] = time.monotonic() - begun - made.stages_s["merge"]
    folder.publish(merged)
    return found


def check_codecs(jobs: Iterable[Job], options: VideoOptions) -> None:
    """Refuse, before any work starts, what a target's container or its encoder does not take.

    Raises:
        UsageError: Names the containers that can, or what the codec does not take.
    """
    for suffix in sorted({job.target.suffix.lower() for job in jobs if job.kind == "video"}):
        encoders.choose(suffix, options)
        if options.audio_codec:
            stream_plan.check_audio_codec(suffix, options.audio_codec)


def describe(plan: Plan, height: int, width: int) -> str:
    """The plan in one line."""
    networks = " then ".join(f"x{scale}" for scale in plan.scales) or "no network"
    reached = math.prod(plan.scales)
    resized = "" if (height * reached, width * reached) == (plan.height, plan.width) else ", then resized"
    passes = f", {plan.passes} passes" if plan.scales and plan.passes > 1 else ""
    return f"{width}x{height} -> {plan.width}x{plan.height} ({networks}{passes}{resized})"


def _squared(plan: Plan, sample_aspect: Fraction) -> Plan:
    """The plan with the larger side that makes pixels of this shape square."""
    if sample_aspect > 1:
        return replace(plan, width=round(plan.width * sample_aspect))
    return replace(plan, height=round(plan.height / sample_aspect))


def _even(plan: Plan, layout: yuv.Layout) -> Plan:
    """The plan with a size that the encoder takes."""
    height, width = yuv.even_sized(layout, plan.height, plan.width)
    return replace(plan, height=height, width=width)


def make_folder(folder: Path) -> None:
    """Make the folder of a target, and those above it.

    Raises:
        MediaError: It cannot be made, or is a file.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MediaError(f"the folder '{folder}' cannot be made: {error.strerror}") from error


def _encode(
    reader: VideoReader,
    engine: Upscaler,
    plan: Plan,
    writer: segments.SegmentedVideoWriter,
    options: VideoOptions,
    on_progress: OnProgress,
) -> _Encoded:
    """Decode, enlarge and encode all frames that are wanted and not encoded yet.

    Raises:
        MediaError: No frame lies between the start and the end that were asked for, or frames got lost.
    """
    resumed = done = sum(segment.frames for segment in writer.segments)
    total = trim.expected_frames(reader.info, options)
    source_px, rate = (reader.info.height, reader.info.width), float(reader.info.rate)
    begun = time.monotonic()
    with (
        writer,
        Ahead(trim.after(writer.segments, trim.wanted(reader, options))) as frames,
        Behind(writer.write) as encoder,
    ):
        for part in segments.chunks(iter(frames), writer.length):  # no batch may cross a segment's border
            for planes, pts in enlarged(part, engine, plan, reader.info, writer.settings.layout):
                encoder.put(planes, pts)
                done += 1
                on_progress(Progress(done, max(total, done), "frames", resumed, source_px, plan.factor, rate))
        network_s = time.monotonic() - begun - frames.waited_s - encoder.waited_s
        if done == 0:
            raise MediaError(f"'{reader.path}' has no frame between the start and the end asked for")
        encoder.finish()
        writer.finish()
    if (encoded := sum(segment.frames for segment in writer.segments)) != done:
        raise MediaError(f"{done} frames of '{reader.path}' came in, but {encoded} were encoded")
    stages_s = {"decode": frames.busy_s, "network": network_s, "encode": encoder.busy_s}
    window = trim.window(writer.segments, reader, options)
    return _Encoded(done, resumed, window, writer.segments, stages_s)
