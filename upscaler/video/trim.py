"""Which frames of a video are upscaled: those of the requested part."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from fractions import Fraction

from upscaler.options import VideoOptions
from upscaler.video.frame_index import FrameIndex
from upscaler.video.info import Frame, VideoInfo, Window
from upscaler.video.segments import Segment


def selected_frames(
    frames: Iterable[Frame], time_base: Fraction, options: VideoOptions, before: int = 0
) -> Iterator[Frame]:
    """The frames from ``start_s`` to before ``end_s``, at most ``frames`` of them.

    Args:
        frames: In order.
        time_base: Of their PTS.
        options: See there.
        before: How many of these come before the first one given.
    """
    count = before
    for frame in frames:
        time_s = frame.pts * time_base
        if options.until_s is not None and time_s >= options.until_s:
            return
        # Without a start, frames before the file's start time count: some streams begin with them.
        if options.from_s == 0 or time_s >= options.from_s:
            yield frame
            count += 1
            if count == options.frames:
                return


def selected_positions(index: FrameIndex, options: VideoOptions) -> range:
    """Where the frames that ``selected_frames`` gives are in the index of a video."""
    first, stop = 0, len(index.pts)
    if options.from_s > 0:
        first = bisect_left(index.pts, math.ceil(options.from_s / index.time_base))
    if options.until_s is not None:
        stop = bisect_left(index.pts, math.ceil(options.until_s / index.time_base))
    if options.frames is not None:
        stop = min(stop, first + options.frames)
    return range(first, max(first, stop))


def expected_frames(info: VideoInfo, options: VideoOptions) -> int:
    """An estimate of the number of selected frames, for the progress; 0 when unknown."""
    total = max(0, info.frames - round(options.from_s * info.rate))
    if options.until_s is not None:
        total = min(total, round((options.until_s - options.from_s) * info.rate))
    return total if options.frames is None else min(total or options.frames, options.frames)


def encoded_window(
    segments: Sequence[Segment], info: VideoInfo, shown_until: int, options: VideoOptions
) -> Window:
    """The part of the source that segments cover.

    It lasts until the frame after the last one starts, or until ``end_s`` if that is earlier, but its last
    frame lasts at least ``1 / rate``.

    Args:
        segments: All of a video, in order.
        info: Of the video.
        shown_until: See ``VideoReader``; after the last frame of the segments.
        options: Select frames.
    """
    time_base = info.time_base
    stop_s = shown_until * time_base
    if options.until_s is not None:
        stop_s = min(stop_s, options.until_s)
    shortest_s = segments[-1].last_pts * time_base + 1 / info.rate
    return Window(segments[0].first_pts * time_base, max(stop_s, shortest_s))
