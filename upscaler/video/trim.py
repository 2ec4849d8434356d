"""Which frames of a video are upscaled: those of the requested part that are in no segment yet."""

from collections.abc import Iterator, Sequence

from upscaler.errors import MediaError
from upscaler.options import VideoOptions
from upscaler.scenes import InContext
from upscaler.video.info import Frame, VideoInfo, Window
from upscaler.video.reader import VideoReader
from upscaler.video.segments import Segment


def selected_frames(reader: VideoReader, options: VideoOptions) -> Iterator[Frame]:
    """The frames from ``start_s`` to before ``end_s``, at most ``frames`` of them."""
    time_base = reader.info.time_base
    count = 0
    for frame in reader.frames():
        time_s = frame.pts * time_base
        if options.until_s is not None and time_s >= options.until_s:
            return
        # Without a start, frames before the file's start time count: some streams begin with them.
        if options.from_s == 0 or time_s >= options.from_s:
            yield frame
            count += 1
            if count == options.frames:
                return


def skip_encoded(
    frames: Iterator[InContext[Frame]], segments: Sequence[Segment]
) -> Iterator[InContext[Frame]]:
    """The frames that follow those in segments.

    The frames before are decoded, too: seeking is not exact in every format.

    Raises:
        MediaError: The source does not have the frames that the segments contain.
    """
    for segment in list(segments):  # a copy: the caller adds segments while frames are taken
        for pts in segment.pts():
            frame = next(frames, None)
            if frame is None or frame.frame.pts != pts:
                raise MediaError("the source's frames are not those of an earlier run", "use --no-resume")
    yield from frames


def expected_frames(info: VideoInfo, options: VideoOptions) -> int:
    """An estimate of the number of selected frames, for the progress; 0 when unknown."""
    total = max(0, info.frames - round(options.from_s * info.rate))
    if options.until_s is not None:
        total = min(total, round((options.until_s - options.from_s) * info.rate))
    return total if options.frames is None else min(total or options.frames, options.frames)


def encoded_window(segments: Sequence[Segment], reader: VideoReader, options: VideoOptions) -> Window:
    """The part of the source that segments cover.

    It lasts until the frame after the last one starts, or until ``end_s`` if that is earlier, but its last
    frame lasts at least ``1 / rate``.
    """
    time_base = reader.info.time_base
    stop_s = reader.shown_until * time_base
    if options.until_s is not None:
        stop_s = min(stop_s, options.until_s)
    shortest_s = segments[-1].last_pts * time_base + 1 / reader.info.rate
    return Window(segments[0].first_pts * time_base, max(stop_s, shortest_s))
