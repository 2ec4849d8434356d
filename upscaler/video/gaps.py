"""Frames that a damaged file has lost, although neither the demuxer nor the decoder raised an error.

A demuxer jumps over bytes that it cannot read, and a decoder waits for a frame that it can begin with.
Both leave a gap in the timestamps, which a video with a variable frame rate may have as well. So a gap
counts only if packets of the video lie in it, which the decoder has swallowed, or if the file is damaged
there: bytes that belong to no packet, or packets that the demuxer marks as corrupt. In program streams, the
sound has the gap: of most frames of the video they store no time.
"""

import heapq
import statistics
from collections import deque
from dataclasses import dataclass

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

_GAP = 1.75  # times the usual interval, so that alternating intervals (3:2 pulldown) are none
_RECENT = 9  # intervals whose median is the usual one
_NEAR_S = 1.0  # between a gap and the damage that explains it, which is found in file order
# Bytes without a packet are a hole if they are more than these, and so many times more than the container
# usually has between packets.
_HOLE_BYTES, _HOLE_FACTOR = 64, 8
# Of the bytes that the time of a gap should have, at least this part is in holes.
_EXPLAINED = 0.25
# Containers without holes to look for: in mp4 an index names every packet, whatever the other bytes are; in
# transport and program streams there are bytes without packets everywhere.
_WITHOUT_HOLES = ("mov", "mpegts", "mpeg")
_PROGRAM_STREAM = "mpeg"
_SOUND_GAP_S = 0.2  # a few packets; DVDs have shorter ones between their parts
_AVI = "avi"  # stores no times: it counts frames, so lost ones leave no gap
_GAPS_MAX, _DAMAGE_MAX = 10_000, 1_000  # each is compared with each; of more, the last ones count
_HIDES_FRAMES = ("vp8",)  # in packets of their own, with a time of their own


@dataclass(frozen=True)
class _Gap:
    """An interval between two frames in which others would have been usual.

    Attributes:
        begin_s: Time of the frame before.
        end_s: Time of the frame after.
        frames: How many would have been usual.
        swallowed: Packets whose frames would have come.
    """

    begin_s: float
    end_s: float
    frames: int
    swallowed: int = 0

    def is_near(self, time_s: float) -> bool:
        """Whether something at this time may have to do with it."""
        return self.begin_s - _NEAR_S <= time_s <= self.end_s + _NEAR_S


class Gaps:
    """Compares the packets of a file with the frames that come out of the decoder.

    Args:
        container: The file.
        video: Its stream that is decoded.
    """

    def __init__(self, container: InputContainer, video: VideoStream) -> None:
        name = container.format.name
        self._video = video
        self._format = name
        self._may_have_holes = name != _PROGRAM_STREAM and not name.startswith(_WITHOUT_HOLES)
        self._sound_end_s: dict[int, float] = {}  # by stream index
        self._hides_frames = video.codec_context.codec.canonical_name in _HIDES_FRAMES
        self._bytes = self._packets = self._frames = self._unused_bytes = 0
        self._end_byte = 0
        self._waiting: list[float] = []  # times of the packets whose frames have not come yet
        self._last_s: float | None = None
        self._first_s: float | None = None
        self._intervals_s: deque[float] = deque(maxlen=_RECENT)
        self._gaps: deque[_Gap] = deque(maxlen=_GAPS_MAX)
        self._sound_gaps: list[_Gap] = []
        self._damage: deque[tuple[float, float]] = deque(maxlen=_DAMAGE_MAX)  # time, bytes
        self._joints_s: list[float] = []

    def packet(self, packet: "Packet[Stream]", *, is_joint: bool = False) -> None:
        """Take a packet of any stream into account, in the order of the file.

        Args:
            packet: With its time on the timeline.
            is_joint: Another recording begins with it.
        """
        stamp = packet.dts if packet.pts is None else packet.pts
        if not packet.size or stamp is None or not packet.time_base:
            return
        time_s = float(stamp * packet.time_base)
        if is_joint:
            self._joints_s.append(time_s)
        if packet.is_corrupt:
            self._damage.append((time_s, float("inf")))
        self._find_hole(packet, time_s)
        if self._format == _PROGRAM_STREAM and packet.stream.type == "audio":
            self._find_sound_gap(packet, time_s)
        self._bytes += packet.size
        self._packets += 1
        if packet.stream.index == self._video.index and not packet.is_discard:
            heapq.heappush(self._waiting, time_s)

    def _find_hole(self, packet: "Packet[Stream]", time_s: float) -> None:
        position = packet.pos
        if not self._may_have_holes or position is None or position < 0:
            return
        unused = max(0, position - self._end_byte)  # negative: out of order, or several packets of one block
        if self._packets and unused > max(_HOLE_BYTES, _HOLE_FACTOR * self._unused_bytes / self._packets):
            self._damage.append((time_s, unused))
        elif self._packets:
            self._unused_bytes += unused
        self._end_byte = max(self._end_byte, position) + packet.size

    def _find_sound_gap(self, packet: "Packet[Stream]", time_s: float) -> None:
        end_s = self._sound_end_s.get(packet.stream.index, time_s)
        if time_s > end_s + _SOUND_GAP_S and self._intervals_s:
            frames = round((time_s - end_s) / statistics.median(self._intervals_s))
            self._sound_gaps.append(_Gap(end_s, time_s, frames))
        self._sound_end_s[packet.stream.index] = time_s + float((packet.duration or 0) * packet.time_base)

    def frame(self, time_s: float) -> None:
        """Take a decoded frame into account, in the order of presentation."""
        swallowed = 0
        self._frames += 1
        while self._waiting and self._waiting[0] < time_s + 1e-6:
            swallowed += heapq.heappop(self._waiting) < time_s - 1e-6
        if self._last_s is None:
            self._first_s = time_s
        else:
            self._interval(time_s, swallowed)
        self._last_s = time_s

    def _interval(self, time_s: float, swallowed: int) -> None:
        assert self._last_s is not None, "set by `frame`"
        interval_s = time_s - self._last_s
        if len(self._intervals_s) == _RECENT:
            usual_s = statistics.median(self._intervals_s)
            if interval_s > _GAP * usual_s > 0:
                frames = round(interval_s / usual_s) - 1
                self._gaps.append(_Gap(self._last_s, time_s, frames, swallowed))
                return  # several gaps in a row do not become usual
        self._intervals_s.append(interval_s)

    def missing(self, *, whole: bool) -> int:
        """About how many frames are missing because of damage; another thread may be reading.

        Args:
            whole: The file was read to its end.
        """
        if whole and self._format == _AVI and self._damage:
            return max(0, self._video.frames - self._frames)
        if self._sound_gaps:
            return sum(gap.frames for gap in self._sound_gaps if not self._is_joint(gap))
        return sum(self._missing_in(gap) for gap in tuple(self._gaps))

    def _missing_in(self, gap: _Gap) -> int:
        if self._is_joint(gap):
            return 0
        lost = sum(size for time_s, size in tuple(self._damage) if gap.is_near(time_s))
        if lost and lost >= _EXPLAINED * self._bytes_per_s() * (gap.end_s - gap.begin_s):
            return gap.frames
        return 0 if self._hides_frames else min(gap.frames, gap.swallowed)

    def _is_joint(self, gap: _Gap) -> bool:
        return any(gap.is_near(time_s) for time_s in self._joints_s)

    def _bytes_per_s(self) -> float:
        assert self._last_s is not None and self._first_s is not None, "there is a gap"
        return self._bytes / max(1e-3, self._last_s - self._first_s)
