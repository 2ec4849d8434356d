"""Which frames of a source are to be made: of the part asked for, those that no closed segment holds."""

from collections.abc import Iterator

from upscaler.errors import MediaError
from upscaler.options import VideoOptions
from upscaler.video.info import Frame, VideoInfo, Window
from upscaler.video.reader import VideoReader
from upscaler.video.segments import Segment


def after(closed: list[Segment], frames: Iterator[Frame]) -> Iterator[Frame]:
    """The frames that follow those in closed segments, which are decoded all the same: seeking is not exact.

    Raises:
        MediaError: The source does not give the frames that the segments hold.
    """
    for segment in list(closed):
        for pts in segment.pts():
            frame = next(frames, None)
            if frame is None or frame.pts != pts:
                raise MediaError("the source's frames are not those of an earlier run", "use --no-resume")
    yield from frames


def wanted(reader: VideoReader, options: VideoOptions) -> Iterator[Frame]:
    """The frames between start and end, at most so many."""
    time_base = reader.info.time_base
    done = 0
    for frame in reader.frames():
        if options.end_s is not None and frame.pts * time_base >= options.end_s:
            return
        if frame.pts * time_base >= options.from_s:
            yield frame
            done += 1
            if done == options.frames:
                return


def expected_frames(info: VideoInfo, options: VideoOptions) -> int:
    """An estimate for the display; 0 when nothing is known."""
    total = max(0, info.frames - round(options.from_s * info.rate))
    if options.end_s is not None:
        total = min(total, round((options.end_s - options.from_s) * info.rate))
    return total if options.frames is None else min(total or options.frames, options.frames)


def window(made: list[Segment], reader: VideoReader, options: VideoOptions) -> Window:
    """From the first frame made to the end of the last: until the next one, or the end asked for."""
    time_base = reader.info.time_base
    stop_s = reader.shown_until * time_base
    if options.until_s is not None:
        stop_s = min(stop_s, options.until_s)
    least_s = made[-1].last_pts * time_base + 1 / reader.info.rate
    return Window(made[0].first_pts * time_base, max(stop_s, least_s))
