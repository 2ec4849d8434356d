"""The finished file read again: every frame that was encoded must stand in it, at its own time."""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from upscaler.errors import MediaError
from upscaler.video.demux import MEDIA_ERRORS, main_video_stream, open_input
from upscaler.video.segments import REORDERED_MOST, Segment

_TICK_S = Fraction(1, 1000)  # Matroska and WebM count in these


@dataclass(frozen=True)
class Found:
    """What stands in a file.

    Attributes:
        frames: Of the video.
        seconds: From the first frame's time to the end of the last one.
    """

    frames: int
    seconds: float


def verify(path: Path, segments: list[Segment], begin_s: Fraction) -> Found:
    """Read a finished file again, packet by packet, and compare its frames with those that were encoded.

    In mp4 and mov every time must be exact. Matroska and WebM round to 1 ms, and may shift everything alike
    where a sound begins before time 0.

    Args:
        path: The finished file.
        segments: What it must hold.
        begin_s: Time of the source at which the file begins.

    Raises:
        MediaError: A frame is missing, too many, or at another time.
    """
    wanted = (pts * segment.time_base - begin_s for segment in segments for pts in segment.pts())
    total = sum(segment.frames for segment in segments)
    exact = path.suffix.lower() not in (".mkv", ".webm")
    tolerance_s = Fraction(0) if exact else _TICK_S
    count = 0
    faults: list[str] = []
    shift_s = first_s = last_s = Fraction(0)
    for time_s, stop_s in _shown(path):
        due_s = next(wanted, time_s)  # one frame too many is found by counting
        if count == 0:
            first_s, shift_s = time_s, Fraction(0) if exact else time_s - due_s
        if abs(time_s - due_s - shift_s) > tolerance_s and not faults:
            faults = [f"frame {count} is off by {float(time_s - due_s) * 1000:.3f} ms"]
        count += 1
        last_s = stop_s
    if count != total:
        faults.insert(0, f"it holds {count} of {total} frames")
    if faults:
        raise MediaError(f"the finished file, read again, is not right: {'; '.join(faults)}")
    return Found(count, float(last_s - first_s))


def _shown(path: Path) -> Iterator[tuple[Fraction, Fraction]]:
    """Begin and end of every frame in the order of being shown, seconds."""
    try:
        with open_input(path) as container:
            stream = main_video_stream(container, path)
            yield from _in_order(
                (packet.pts * packet.time_base, ((packet.pts + (packet.duration or 0)) * packet.time_base))
                for packet in container.demux(stream)
                if packet.size and not packet.is_discard and packet.pts is not None and packet.time_base
            )
    except MEDIA_ERRORS as error:
        raise MediaError(f"the finished file cannot be read again: {error}") from error


def _in_order(times: Iterable[tuple[Fraction, Fraction]]) -> Iterator[tuple[Fraction, Fraction]]:
    """Sort what is almost sorted, with little memory."""
    waiting: list[tuple[Fraction, Fraction]] = []
    for time in times:
        heapq.heappush(waiting, time)
        if len(waiting) > REORDERED_MOST:
            yield heapq.heappop(waiting)
    while waiting:
        yield heapq.heappop(waiting)
