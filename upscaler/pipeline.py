"""START HERE: the path of a frame, from file to file, through ``upscale_still`` or ``upscale_video``.

Each reads from top to bottom in the order in which things happen. For a video:

1. ``video/survey.py`` looks through the film. ``video/stream_plan.py`` decides what becomes of audio,
   subtitles and the other streams, ``frames/video_plan.py`` sizes, encoder and segments.
2. ``resume/begin.py`` finds what an earlier run left in the job folder next to the target.
3. ``frames/film_range.py`` encodes the frames that are missing: one thread demuxes and decodes
   (``video/reader.py``), this one runs the network (``frames/video_frames.py``, or ``frames/film_frames.py``
   for a network that sees frames before), a third encodes into segments (``video/segments.py``). The queues
   between them (``video/threads.py``) are short and hold planes.
4. ``video/mux.py`` merges the segments with the other streams, and ``video/verify.py`` reads the file again
   before it gets its name.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from upscaler import large_stills, transparency
from upscaler.errors import MediaError, MemoryNeededError
from upscaler.frames.film_frames import frames_before
from upscaler.frames.film_range import Encoded, SegmentRange, encode_range
from upscaler.frames.video_plan import VideoPlan, first_lines, plan_streams, plan_video
from upscaler.images import animation, gif, losses, stills
from upscaler.images.encoding import Encoding
from upscaler.images.picture_rows import NotInRowsError
from upscaler.images.still import Still
from upscaler.images.strip import stripped
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.jobs import Job
from upscaler.options import ImageOptions, VideoOptions
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress, StreamPlan, VideoFacts
from upscaler.resume.begin import resume_or_start
from upscaler.resume.fingerprint import fingerprint_of, has_changed, state_of
from upscaler.resume.job_folder import JobFolder, folder_of
from upscaler.system import memory
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


def upscale_still(
    job: Job, engine: Upscaler, options: ImageOptions, on_progress: OnProgress, on_message: OnMessage
) -> Done:
    """Upscale an image; animations frame by frame, TIFFs page by page, what is too large for memory in rows.

    Args:
        job: Source and target.
        engine: Runs the networks.
        options: How images are written.
        on_progress: Called after every batch of tiles, or every frame of an animation.
        on_message: Called with every message as it arises.

    Raises:
        MediaError: The source cannot be read or the target cannot be written; an existing target stays.
        UsageError: The target's format cannot hold the result.
    """
    if animation.is_animated(job.source):
        return _upscale_animation(job, engine, options, on_progress, on_message)
    if (count := stills.page_count(job.source)) > 1:
        return _upscale_pages(job, count, engine, options, on_progress, on_message)
    why_whole = ""
    if large_stills.is_too_large(job.source, engine):
        try:
            rows = large_stills.opened(job, engine, options)
        except NotInRowsError as error:
            why_whole = error.message
        else:
            return large_stills.upscale(job, rows, engine, options, on_progress, on_message)
    try:
        return _upscale_whole(job, engine, options, on_progress, on_message)
    except MemoryNeededError as error:
        if not why_whole:
            raise
        hint = f"{error.hint}; it cannot go through memory in rows: {why_whole}"
        raise MemoryNeededError(error.message, hint) from error


def _upscale_whole(
    job: Job, engine: Upscaler, options: ImageOptions, on_progress: OnProgress, on_message: OnMessage
) -> Done:
    still = stills.read(job.source, tolerant=True)
    still, plan = begin_still(job, still, engine, options, on_message)
    report = still_reporter(still, plan, on_progress)
    with engine.messages_to(on_message):
        upscaled = _upscaled(still, engine, report, keep_hidden=options.keep_hidden)
    job.make_target_folder()
    stills.write(job.target, upscaled, encoding_of(options), replaces=job.replaces)
    return Done(1)


def _check_room(still: Still, plan: Plan) -> None:
    """Make sure before the work that a result can be computed and encoded (docs/images.md has the numbers).

    Raises:
        MemoryNeededError: Memory is too small for both.
    """
    channels = 3 if still.alpha is None else 4
    height, width = still.pixels.shape[:2]
    needed_bytes = large_stills.whole_bytes(plan, height, width, channels, still.pixels.itemsize)
    hint = "use a smaller --scale or --size"
    memory.check_room(needed_bytes, f"a picture of {plan.width}x{plan.height}", hint)


def encoding_of(options: ImageOptions) -> Encoding:
    """How images are encoded."""
    return Encoding(options.quality, options.lossless, options.keep_hidden)


def _without_metadata(still: Still, options: ImageOptions) -> Still:
    """The image, without metadata if that is asked for."""
    return replace(still, metadata=stripped(still.metadata)) if options.strip else still


def begin_still(
    job: Job, still: Still, engine: Upscaler, options: ImageOptions, on_message: OnMessage
) -> tuple[Still, Plan]:
    """Plan an image that was read, and say what becomes of it.

    Returns:
        The image with the metadata that are kept, and its plan.

    Raises:
        UsageError: The target's format cannot hold the result.
        MemoryNeededError: Memory cannot hold it.
    """
    still = _without_metadata(still, options)
    height, width = still.pixels.shape[:2]
    plan = engine.plan(height, width)
    image_format = stills.check_target(job.target, plan.height, plan.width, still.metadata.codes)
    on_message(Message("info", plan.describe(height, width)))
    if still.damage:
        on_message(Message("warning", still.damage))
    if lost := losses.describe_still(still, image_format):
        on_message(Message("info", lost, is_loss=True))
    _check_room(still, plan)
    return still, plan


def still_reporter(still: Still, plan: Plan, on_progress: OnProgress) -> Callable[[int, int], None]:
    """A function that reports finished tiles of an image, of all of them."""
    height, width = still.pixels.shape[:2]

    def report(done: int, total: int) -> None:
        on_progress(Progress(done, total, "tiles", source_px=(height, width), factor=plan.factor))

    return report


def upscale_together(
    sources: Sequence[Still],
    engine: Upscaler,
    options: ImageOptions,
    reports: Sequence[Callable[[int, int], None]],
) -> list[Still]:
    """Images through the network; several only if they are opaque, and of one size and dtype.

    Args:
        sources: The images.
        engine: Runs the networks.
        options: How images are written.
        reports: Of each image; called with its finished tiles and all of them.
    """
    if len(sources) == 1:
        return [_upscaled(sources[0], engine, reports[0], keep_hidden=options.keep_hidden)]
    finished = [-1] * len(sources)
    before = 0

    def report(done: int, total: int) -> None:
        nonlocal before
        each = total // len(sources)  # the tiles of one image come after those of the one before
        if done <= before:  # of the next network
            finished[:] = [-1] * len(sources)
        before = done
        for index, say in enumerate(reports):
            own = min(each, max(0, done - index * each))
            if own > max(0, finished[index]):
                if finished[index] < 0:
                    say(0, 0)
                finished[index] = own
                say(own, each)

    pictures = engine.images([source.pixels for source in sources], report)
    return [replace(source, pixels=pixels) for source, pixels in zip(sources, pictures, strict=True)]


def _upscaled(
    still: Still, engine: Upscaler, report: Callable[[int, int], None], *, keep_hidden: bool
) -> Still:
    """Pixels and alpha of an image through the network; ``report`` measures the tiles of the pixels."""
    pixels, alpha = still.pixels, still.alpha
    if alpha is not None:
        plan = engine.plan(*pixels.shape[:2])
        pixels = pixels if keep_hidden else transparency.bleed_colors(pixels, alpha)
        wraps = engine.options.tileable
        alpha = transparency.upscale_alpha(alpha, plan.height, plan.width, engine.image, wraps=wraps)
    report(0, 0)  # from here on, tiles measure the work
    return replace(still, pixels=engine.image(pixels, report), alpha=alpha)


def _upscale_pages(
    job: Job,
    count: int,
    engine: Upscaler,
    options: ImageOptions,
    on_progress: OnProgress,
    on_message: OnMessage,
) -> Done:
    image_format = stills.check_target(job.target)
    stills.check_pages(job.target, image_format, count)
    lost: list[str] = []  # each thing once, whatever pages lose it

    def pages() -> Iterator[Still]:
        for number in range(count):
            still = _without_metadata(stills.read(job.source, page=number), options)
            height, width = still.pixels.shape[:2]
            plan = engine.plan(height, width)
            _check_room(still, plan)
            factor = plan.factor
            lost.extend(each for each in losses.of_still(still, image_format) if each not in lost)
            on_progress(Progress(number, count, "pages", source_px=(height, width), factor=factor))
            yield _upscaled(still, engine, lambda done, total: None, keep_hidden=options.keep_hidden)
        on_progress(Progress(count, count, "pages", source_px=(height, width), factor=factor))

    first = stills.read(job.source, page=0)
    height, width = first.pixels.shape[:2]
    on_message(Message("info", f"{engine.plan(height, width).describe(height, width)}, {count} pages"))
    job.make_target_folder()
    with engine.messages_to(on_message):
        stills.write_pages(job.target, pages(), count, replaces=job.replaces)
    if lost:
        on_message(Message("info", losses.line(lost, image_format), is_loss=True))
    return Done(count)


def _upscale_animation(
    job: Job, engine: Upscaler, options: ImageOptions, on_progress: OnProgress, on_message: OnMessage
) -> Done:
    with animation.opened(job.source) as moving, engine.messages_to(on_message):
        if options.strip:
            moving = replace(moving, metadata=stripped(moving.metadata))
        height, width, count = moving.height, moving.width, moving.count
        plan = engine.plan(height, width)
        image_format = animation.check_target(job.target, plan.height, plan.width, moving.metadata.codes)
        size = animation.describe_size(image_format, count, plan.height, plan.width)
        on_message(Message("info", plan.describe(height, width) + size))
        animation.check_room(image_format, count, plan.height, plan.width)
        if moving.damage:
            on_message(Message("warning", moving.damage))
        if lost := losses.describe_animation(moving, image_format):
            on_message(Message("info", lost, is_loss=True))

        def report(done: int) -> None:
            on_progress(Progress(done, count, "frames", 0, (height, width), plan.factor, moving.rate))

        job.make_target_folder()
        frames = animation.upscale_frames(
            moving.frames(), engine.frames, keep_hidden=options.keep_hidden, wraps=engine.options.tileable
        )
        animation.write(
            job.target,
            frames,
            moving.plays,
            moving.metadata,
            report,
            encoding_of(options),
            replaces=job.replaces,
        )
    if gif.is_truncated(job.source):
        on_message(Message("warning", gif.TRUNCATED))
    return Done(count)


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
                video.expected_frames(),
                on_message,
                resume=options.resume,
            ) as earlier,
        ):
            encoded = _encode_rest(video, engine, folder.path, earlier, on_progress, on_message)
            resumed = sum(segment.frames for segment in earlier.values())
            film = FilmSegments.of(earlier | encoded.made, resumed, encoded)
            execution = engine.execution(plan.upscaling)
            done = finish_video(video, film, folder, execution, on_message, deliver)
        reader.report(whole=not options.trims)
    video.check_unchanged(on_message)
    return done


@dataclass(frozen=True)
class BegunVideo:
    """A video that is open, and planned.

    Attributes:
        job: Source and target.
        options: How video is encoded.
        surveyed: Of the source.
        streams: What becomes of the other streams.
        reader: Of the source.
        plan: Sizes, encoder and segments.
        fingerprint: What the bytes of the segments depend on.
        state: Of the source, before it was opened.
    """

    job: Job
    options: VideoOptions
    surveyed: Survey
    streams: list[StreamPlan]
    reader: VideoReader
    plan: VideoPlan
    fingerprint: dict[str, str]
    state: tuple[int, int]

    def first_lines(self) -> list[str]:
        """What the user is told before the first frame."""
        return first_lines(self.plan, self.reader.info, self.surveyed, self.streams, self.options)

    def expected_frames(self) -> int:
        """An estimate of the number of selected frames; 0 when unknown."""
        return expected_frames(self.reader.info, self.options)

    def progress(self, resumed: int) -> Progress:
        """How far the video is before the first frame."""
        info = self.reader.info
        return Progress(
            done=0,
            total=self.expected_frames(),
            unit="frames",
            resumed=resumed,
            source_px=(info.height, info.width),
            factor=self.plan.upscaling.factor,
            rate=float(info.rate),
        )

    def cut(self, engine: Upscaler, first: int, stop: int | None = None) -> Cut:
        """Where to begin to decode for the segments from a number on; see ``cuts.cut_before``.

        Raises:
            CannotCutError: The film cannot be cut there.
        """
        length = self.plan.segment_frames
        before = frames_before(engine.context(self.plan.upscaling))
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
def begun_video(
    job: Job, engine: Upscaler, options: VideoOptions, on_message: OnMessage, surveyed: Survey | None = None
) -> Iterator[BegunVideo]:
    """Open and plan a video, which is closed when the context ends; arguments as for ``upscale_video``."""
    surveyed = surveyed or survey(job.source, options)
    streams = plan_streams(job, options, surveyed)
    before = state_of(job.source)
    with (
        VideoReader.with_options(job.source, options, on_message, surveyed) as reader,
        engine.messages_to(on_message),
    ):
        plan = plan_video(reader, job, engine, options)
        fingerprint = fingerprint_of(
            job.source,
            engine.weights_of(plan.upscaling),
            engine.options,
            options,
            plan.encoding,
            plan.segment_frames,
            reader.cropping,
        )
        yield BegunVideo(job, options, surveyed, streams, reader, plan, fingerprint, before)


def _encode_rest(
    video: BegunVideo,
    engine: Upscaler,
    folder: Path,
    earlier: dict[int, Segment],
    on_progress: OnProgress,
    on_message: OnMessage,
) -> Encoded:
    """Encode what is in no segment yet, decoding from a key frame before it where the film can be cut.

    Raises:
        MediaError: No frame is selected, or encoding failed.
    """
    resumed = sum(segment.frames for segment in earlier.values())
    progress = video.progress(resumed)

    def on_frame(made: int) -> None:
        done = resumed + made
        on_progress(replace(progress, done=done, total=max(progress.total, done)))

    first = first_missing(earlier)
    cut = _cut_after(video, engine, first, earlier, on_message) if first else None
    encode = partial(encode_range, video.reader, engine, video.plan, video.options, folder)
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
    video: BegunVideo, engine: Upscaler, first: int, earlier: dict[int, Segment], on_message: OnMessage
) -> Cut | None:
    """Move the reader to before the first missing segment; ``None`` if the film is decoded from its start."""
    try:
        cut = video.cut(engine, first)
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
class FilmSegments:
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
    def of(cls, segments: dict[int, Segment], resumed: int, encoded: Encoded) -> "FilmSegments":
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


def finish_video(
    video: BegunVideo,
    film: FilmSegments,
    folder: JobFolder,
    execution: Mapping[str, str | int],
    on_message: OnMessage,
    deliver: Callable[[], None] = lambda: None,
) -> Done:
    """Merge the segments with the other streams, read the file again, and give it its name.

    Args:
        video: The source may be closed.
        film: Its segments.
        folder: They are in.
        execution: How the networks ran.
        on_message: Called with every message as it arises.
        deliver: See ``upscale_video``.

    Raises:
        MediaError: A stream cannot be merged, or the merged file does not contain every frame at its time.
    """
    job, options = video.job, video.options
    if film.reused_share >= _REUSED_SHARE_MIN:
        text = f"{film.reused_share:.0%} of the picture did not change from frame to frame"
        on_message(Message("info", f"{text}, and was not computed again"))
    window = encoded_window(film.segments, video.reader.info, film.shown_until, options)
    merged, streams = _merge(video, film, window, folder, on_message)
    verified = _verify(merged, film, window, job, options)
    folder.publish(merged, replaces=job.replaces, is_skippable=job.is_skippable, deliver=deliver)
    return Done(
        verified.frames,
        VideoFacts(
            frames_in=film.frames,
            frames_resumed=film.frames_resumed,
            frames_decoded=film.frames_decoded,
            reused_share=film.reused_share,
            seconds_in=float(window.stop_s - window.start_s),
            seconds_out=verified.seconds,
            streams=streams,
            settings={**execution, "video": video.plan.summary},
            stages_s=film.stages_s,
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
    video: BegunVideo, film: FilmSegments, window: Window, folder: JobFolder, on_message: OnMessage
) -> tuple[Path, list[StreamPlan]]:
    """Merge the segments with the source's other streams into a file in the job folder.

    Returns:
        The file, and what became of each stream.
    """
    info, options, suffix = video.reader.info, video.options, video.job.target.suffix.lower()
    merged = folder.path / f"merged{suffix}"
    start = time.monotonic()
    factor, is_cropped = video.plan.upscaling.factor, options.crop is not None
    projection = info.projection.element(factor, is_cropped=is_cropped)
    streams = mux.merge(
        film.segments,
        video.reader.source,
        merged,
        video.streams,
        view=mux.View(info.rotation, info.mirrored, info.projection.stereo_mode, bool(projection)),
        window=window,
        cut=options.trims,
        on_message=on_message,
    )
    if not container_of(suffix).is_mp4:
        if projection:
            matroska_projection.write(merged, projection)
    elif boxes := info.projection.boxes(factor, is_cropped=is_cropped):
        write_boxes(merged, boxes)
    film.stages_s["merge"] = time.monotonic() - start
    return merged, streams


def _verify(merged: Path, film: FilmSegments, window: Window, job: Job, options: VideoOptions) -> Verified:
    """Read the merged file again.

    Raises:
        MediaError: A frame is missing or at another time; the file is then kept under another name.
    """
    start = time.monotonic()
    try:
        verified = verify(merged, film.segments, window.output_start_s(cut=options.trims))
    except MediaError as error:
        if not merged.exists():
            raise
        kept = merged.replace(merged.with_stem("incomplete"))
        raise MediaError(f"'{job.target}' is not written: {error}", f"it is kept as '{kept}'") from error
    film.stages_s["verify"] = time.monotonic() - start
    return verified
