"""A video, from file to file: planned, encoded in segments, merged and verified; see ``pipeline``."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from upscaler.errors import MediaError
from upscaler.frames.film_frames import frames_before
from upscaler.frames.video_plan import VideoPlan, first_lines, plan_streams, plan_video
from upscaler.frames.video_range import Encoded, SegmentRange, encode_range
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress, StreamPlan, VideoFacts
from upscaler.resume.begin import resume_or_start
from upscaler.resume.fingerprint import fingerprint_of, has_changed, state_of
from upscaler.resume.job_folder import JobFolder, folder_of
from upscaler.system.threads import RaiseIfStopped, never_stopped
from upscaler.video import matroska_projection, mux
from upscaler.video.cuts import CannotCutError, Cut, cut_before
from upscaler.video.formats import container_of
from upscaler.video.info import Window
from upscaler.video.projections import write_boxes
from upscaler.video.reader import VideoReader
from upscaler.video.segments import Segment, first_missing
from upscaler.video.survey import Survey, survey
from upscaler.video.trim import encoded_window, expected_frames
from upscaler.video.verify import Verified, verify

# Share of the picture from which on it is worth a line that it was reused.
_REUSED_SHARE_MIN = 0.01


def upscale_video(
    job: Job,
    engine: Upscaler,
    options: VideoOptions,
    on_progress: OnProgress,
    on_message: OnMessage,
    surveyed: Survey | None = None,
    deliver: Callable[[], None] = lambda: None,
) -> Done:
    """Upscale a video: every frame at its own time, every audio stream copied.

    If it is interrupted, the complete segments stay in the job folder next to the target, and the next call
    with the same arguments continues after them.

    Args:
        job: Source and target.
        engine: Runs the networks.
        options: How video is encoded.
        on_progress: Called after every frame.
        on_message: Called with every message as it arises.
        surveyed: Of the source, if that was done already.
        deliver: Called when the target has its name, to send it on; if that fails, the segments stay.

    Raises:
        MediaError: Reading, encoding or merging failed, or the finished file does not contain every frame at
            its time; an existing target stays.
        UsageError: The target's container does not support the options.
    """
    with begun_video(job, engine, options, on_message, surveyed) as video:
        reader, plan = video.reader, video.plan
        for line in video.first_lines():
            on_message(Message("info", line))
        with (
            JobFolder(job.target, on_message) as folder,
            engine.leaving_to_others(plan.encoder_bytes),
            resume_or_start(
                folder,
                video.fingerprint,
                engine,
                plan.upscaling,
                reader.info,
                video.opened.expected_frames(),
                on_message,
                resume=options.resume,
            ) as earlier,
        ):
            rest = _encode_rest(video, engine, folder.path, earlier, on_progress, on_message)
            resumed = sum(segment.frames for segment in earlier.values())
            encoded = VideoSegments.of(earlier | rest.made, resumed, rest)
            made = HowMade(plan.upscaling.factor, plan.summary, engine.execution(plan.upscaling))
            done = finish_video(video.opened, encoded, made, folder, on_message, deliver)
        reader.report(whole=not options.trims)
    video.opened.check_unchanged(on_message)
    return done


@dataclass(frozen=True)
class OpenVideo:
    """A video that is open, before it is planned.

    Attributes:
        job: Source and target.
        options: How video is encoded.
        surveyed: Of the source.
        streams: What becomes of the other streams.
        reader: Of the source.
        state: Of the source, before it was opened.
    """

    job: Job
    options: VideoOptions
    surveyed: Survey
    streams: list[StreamPlan]
    reader: VideoReader
    state: tuple[int, int]

    def expected_frames(self) -> int:
        """An estimate of the number of selected frames; 0 when unknown."""
        return expected_frames(self.reader.info, self.options)

    def progress(self, factor: float, resumed: int) -> Progress:
        """How far the video is before the first frame."""
        info = self.reader.info
        return Progress(
            done=0,
            total=self.expected_frames(),
            unit="frames",
            resumed=resumed,
            source_px=(info.height, info.width),
            factor=factor,
            rate=float(info.rate),
        )

    def cut(self, length: int, before: int, first: int, stop: int | None = None) -> Cut:
        """Where to begin to decode for the segments from a number on; see ``cuts.cut_before``.

        Args:
            length: Of a segment, in frames.
            before: How many frames before them are needed, at least 1.
            first: Number of the first segment.
            stop: Number of the segment after the last; ``None``: any frames may come.

        Raises:
            CannotCutError: The video cannot be cut there.
        """
        return cut_before(
            self.surveyed.index,
            self.options,
            self.reader.info.time_base,
            first * length,
            None if stop is None else stop * length,
            before,
        )

    def check_unchanged(self, on_message: OnMessage) -> None:
        """Send a message if the source was changed since it was opened."""
        if has_changed(self.job.source, self.state):
            text = "the file changed while it was read: audio and subtitles may not match the video"
            on_message(Message("warning", text))


@contextmanager
def opened_video(
    job: Job, options: VideoOptions, on_message: OnMessage, surveyed: Survey | None = None
) -> Iterator[OpenVideo]:
    """Open a video, which is closed when the context ends; arguments as for ``upscale_video``."""
    surveyed = surveyed or survey(job.source, options)
    streams = plan_streams(job, options, surveyed)
    before = state_of(job.source)
    with VideoReader.with_options(job.source, options, on_message, surveyed) as reader:
        yield OpenVideo(job, options, surveyed, streams, reader, before)


@dataclass(frozen=True)
class BegunVideo:
    """A video that is open, and planned.

    Attributes:
        opened: The video.
        plan: Sizes, encoder and segments.
        fingerprint: What the bytes of the segments depend on.
        frames_before: How many frames before some segments are needed for them.
    """

    opened: OpenVideo
    plan: VideoPlan
    fingerprint: dict[str, str]
    frames_before: int

    @property
    def reader(self) -> VideoReader:
        """Of the source."""
        return self.opened.reader

    def first_lines(self) -> list[str]:
        """What the user is told before the first frame."""
        video = self.opened
        return first_lines(self.plan, self.reader.info, video.surveyed, video.streams, video.options)

    def progress(self, resumed: int) -> Progress:
        """How far the video is before the first frame."""
        return self.opened.progress(self.plan.upscaling.factor, resumed)


@contextmanager
def begun_video(
    job: Job, engine: Upscaler, options: VideoOptions, on_message: OnMessage, surveyed: Survey | None = None
) -> Iterator[BegunVideo]:
    """Open and plan a video, which is closed when the context ends; arguments as for ``upscale_video``."""
    with opened_video(job, options, on_message, surveyed) as video, engine.messages_to(on_message):
        plan = plan_video(video.reader, job, engine, options)
        fingerprint = fingerprint_of(
            job.source,
            engine.weights_of(plan.upscaling),
            engine.options,
            options,
            plan.encoding,
            plan.segment_frames,
            video.reader.cropping,
        )
        yield BegunVideo(video, plan, fingerprint, frames_before(engine.context(plan.upscaling)))


def _encode_rest(
    video: BegunVideo,
    engine: Upscaler,
    folder: Path,
    earlier: dict[int, Segment],
    on_progress: OnProgress,
    on_message: OnMessage,
) -> Encoded:
    """Encode what is in no segment yet, decoding from a key frame before it where the video can be cut.

    Raises:
        MediaError: No frame is selected, or encoding failed.
    """
    resumed = sum(segment.frames for segment in earlier.values())
    progress = video.progress(resumed)

    def on_frame(made: int) -> None:
        done = resumed + made
        on_progress(replace(progress, done=done, total=max(progress.total, done)))

    first = first_missing(earlier)
    cut = _cut_after(video, first, earlier, on_message) if first else None
    encode = partial(encode_range, video.reader, engine, video.plan, video.opened.options, folder)
    try:
        encoded = encode(SegmentRange(first, None, cut), earlier, on_frame)
    except CannotCutError as error:
        _say_from_start(str(error), on_message)
        video.reader.restart()
        encoded = encode(SegmentRange(first), earlier, on_frame)
    if not (earlier or encoded.made):
        raise MediaError(f"'{video.reader.path}' has no frame between the requested start and end")
    return encoded


def _cut_after(
    video: BegunVideo, first: int, earlier: dict[int, Segment], on_message: OnMessage
) -> Cut | None:
    """Move the reader to before the first missing segment; ``None`` if it is decoded from its start."""
    try:
        cut = video.opened.cut(video.plan.segment_frames, video.frames_before, first)
        if not all(segment.is_intact for segment in earlier.values()):
            raise CannotCutError("the part before is damaged or unusual")
        if cut.dts is None:
            raise CannotCutError("no key frame lies between")
        cut.move(video.reader)
        return cut
    except CannotCutError as error:
        _say_from_start(str(error), on_message)
        video.reader.restart()
        return None


def _say_from_start(reason: str, on_message: OnMessage) -> None:
    on_message(Message("info", f"decoding from the start: {reason}"))


@dataclass(frozen=True)
class VideoSegments:
    """All segments of a video, and how they came to be.

    Attributes:
        segments: In order.
        frames_resumed: Frames of an earlier run.
        frames_decoded: Frames that were decoded in this one.
        reused_share: Share of the picture, of the frames of this run, that was taken from the frame before.
        shown_until: See ``VideoReader``, after the last frame.
        stages_s: Busy seconds by stage; the stages after encoding add theirs.
    """

    segments: list[Segment]
    frames_resumed: int
    frames_decoded: int
    reused_share: float
    shown_until: int
    stages_s: dict[str, float]

    @classmethod
    def of(cls, segments: dict[int, Segment], resumed: int, encoded: Encoded) -> "VideoSegments":
        """Those of a video whose rest was encoded in this process."""
        return cls(
            [segments[number] for number in sorted(segments)],
            resumed,
            encoded.frames_decoded,
            encoded.tally.reused_share,
            encoded.shown_until,
            encoded.stages_s,
        )

    @property
    def frames(self) -> int:
        """Of all segments."""
        return sum(segment.frames for segment in self.segments)


@dataclass(frozen=True)
class HowMade:
    """How the segments of a video were made.

    Attributes:
        factor: By how much the picture is upscaled.
        summary: Sizes and encoder in one line.
        execution: How the networks ran; see ``Upscaler.execution``.
    """

    factor: float
    summary: str
    execution: Mapping[str, str | int]


def finish_video(
    video: OpenVideo,
    encoded: VideoSegments,
    made: HowMade,
    folder: JobFolder,
    on_message: OnMessage,
    deliver: Callable[[], None] = lambda: None,
    raise_if_stopped: RaiseIfStopped = never_stopped,
) -> Done:
    """Merge the segments with the other streams, read the file again, and give it its name.

    Args:
        video: The source may be closed.
        encoded: Its segments.
        made: How they were made.
        folder: They are in.
        on_message: Called with every message as it arises.
        deliver: See ``upscale_video``.
        raise_if_stopped: Called before each packet: what it raises ends the merge.

    Raises:
        MediaError: A stream cannot be merged, or the merged file does not contain every frame at its time.
    """
    job, options = video.job, video.options
    if encoded.reused_share >= _REUSED_SHARE_MIN:
        text = f"{encoded.reused_share:.0%} of the picture did not change from frame to frame"
        on_message(Message("info", f"{text}, and was not computed again"))
    window = encoded_window(encoded.segments, video.reader.info, encoded.shown_until, options)
    merged, streams = _merge(video, encoded, made.factor, window, folder, on_message, raise_if_stopped)
    verified = _verify(merged, encoded, window, job, options, raise_if_stopped)
    raise_if_stopped()
    folder.publish(merged, replaces=job.replaces, is_skippable=job.is_skippable, deliver=deliver)
    return Done(
        verified.frames,
        VideoFacts(
            frames_in=encoded.frames,
            frames_resumed=encoded.frames_resumed,
            frames_decoded=encoded.frames_decoded,
            reused_share=encoded.reused_share,
            seconds_in=float(window.stop_s - window.start_s),
            seconds_out=verified.seconds,
            streams=streams,
            settings={**made.execution, "video": made.summary},
            stages_s=encoded.stages_s,
        ),
    )


def tidy_after_crash(job: Job, error: MediaError, on_message: OnMessage) -> None:
    """Do what ``upscale_video`` does after an error, for a process that could not: it crashed.

    Args:
        job: Whose folder is tidied, if there is one.
        error: Says what happened.
        on_message: Called if segments are kept.
    """
    with suppress(MediaError):
        if folder_of(job.target).is_dir():
            with JobFolder(job.target, on_message):
                raise error


def _merge(
    video: OpenVideo,
    encoded: VideoSegments,
    factor: float,
    window: Window,
    folder: JobFolder,
    on_message: OnMessage,
    raise_if_stopped: RaiseIfStopped,
) -> tuple[Path, list[StreamPlan]]:
    """Merge the segments with the source's other streams into a file in the job folder.

    Returns:
        The file, and what became of each stream.
    """
    info, options, suffix = video.reader.info, video.options, video.job.target.suffix.lower()
    merged = folder.path / f"merged{suffix}"
    start = time.monotonic()
    is_cropped = options.crop is not None
    projection = info.projection.element(factor, is_cropped=is_cropped)
    streams = mux.merge(
        encoded.segments,
        video.reader.source,
        merged,
        video.streams,
        view=mux.View(info.rotation, info.mirrored, info.projection.stereo_mode, bool(projection)),
        window=window,
        cut=options.trims,
        on_message=on_message,
        raise_if_stopped=raise_if_stopped,
    )
    if not container_of(suffix).is_mp4:
        if projection:
            matroska_projection.write(merged, projection)
    elif boxes := info.projection.boxes(factor, is_cropped=is_cropped):
        write_boxes(merged, boxes)
    encoded.stages_s["merge"] = time.monotonic() - start
    return merged, streams


def _verify(
    merged: Path,
    encoded: VideoSegments,
    window: Window,
    job: Job,
    options: VideoOptions,
    raise_if_stopped: RaiseIfStopped,
) -> Verified:
    """Read the merged file again.

    Raises:
        MediaError: A frame is missing or at another time; the file is then kept under another name.
    """
    start = time.monotonic()
    try:
        verified = verify(
            merged, encoded.segments, window.output_start_s(cut=options.trims), raise_if_stopped
        )
    except MediaError as error:
        if not merged.exists():
            raise
        kept = merged.replace(merged.with_stem("incomplete"))
        raise MediaError(f"'{job.target}' is not written: {error}", f"it is kept as '{kept}'") from error
    encoded.stages_s["verify"] = time.monotonic() - start
    return verified
