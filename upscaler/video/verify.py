"""Read the finished file again: it must contain every encoded frame, at its own time."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from upscaler.errors import MediaError
from upscaler.system.threads import RaiseIfStopped, never_stopped
from upscaler.video.demux import MEDIA_ERRORS, Source, main_video_stream, open_input
from upscaler.video.formats import container_of
from upscaler.video.segments import Segment
from upscaler.video.timestamps import MAX_REORDERED_FRAMES

_TICK_S = Fraction(1, 1000)  # of Matroska and WebM


@dataclass(frozen=True)
class Verified:
    """What a file contains.

    Attributes:
        frames: Of the video.
        seconds: From the start of the first frame to the end of the last.
    """

    frames: int
    seconds: float


def verify(
    path: Path, segments: list[Segment], begin_s: Fraction, raise_if_stopped: RaiseIfStopped = never_stopped
) -> Verified:
    """Demux a finished file and compare its frames with those that were encoded.

    In mp4 and mov every time must be exact. Matroska and WebM round to 1 ms, and shift all times alike where
    audio begins before time 0.

    Args:
        path: The finished file.
        segments: What it must contain.
        begin_s: Time in the source at which the file begins, seconds.
        raise_if_stopped: Called before each frame.

    Raises:
        MediaError: A frame is missing, surplus, or at another time; or the file cannot be read.
    """
    expected = (pts * segment.time_base - begin_s for segment in segments for pts in segment.pts())
    total = sum(segment.frames for segment in segments)
    exact = container_of(path.suffix).exact_times
    tolerance_s = Fraction(0) if exact else _TICK_S
    count = 0
    faults: list[str] = []
    shift_s = first_s = last_s = Fraction(0)
    for time_s, stop_s in _frame_times(path):
        raise_if_stopped()
        expected_s = next(expected, time_s)  # a surplus frame is found by counting
        if count == 0:
            first_s, shift_s = time_s, Fraction(0) if exact else time_s - expected_s
        if abs(time_s - expected_s - shift_s) > tolerance_s and not faults:
            faults = [f"frame {count} is off by {float(time_s - expected_s) * 1000:.3f} ms"]
        count += 1
        last_s = stop_s
    if count != total:
        faults.insert(0, f"it contains {count} of {total} frames")
    if faults:
        raise MediaError(f"verification of the finished file failed: {'; '.join(faults)}")
    return Verified(count, float(last_s - first_s))


def _frame_times(path: Path) -> Iterator[tuple[Fraction, Fraction]]:
    """Start and end of every frame in presentation order, seconds."""
    try:
        with open_input(path) as container:
            stream = main_video_stream(container, Source(path))
            yield from _sorted(
                (packet.pts * packet.time_base, ((packet.pts + (packet.duration or 0)) * packet.time_base))
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard and packet.pts is not None and packet.time_base
            )
    except MEDIA_ERRORS as error:
        raise MediaError(f"the finished file cannot be verified: {error}") from error


def _sorted(times: Iterable[tuple[Fraction, Fraction]]) -> Iterator[tuple[Fraction, Fraction]]:
    """Sort times that are almost sorted, with little memory."""
    waiting: list[tuple[Fraction, Fraction]] = []
    for time in times:
        heapq.heappush(waiting, time)
        if len(waiting) > MAX_REORDERED_FRAMES:
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)
