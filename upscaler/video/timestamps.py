"""Increasing timestamps for each stream: of decoded frames, and of packets to be muxed."""

import math
from fractions import Fraction

from av.packet import Packet
from av.stream import Stream

# Decoders reorder frames with missing or wrong timestamps by fewer frames than this.
_REORDERED_FRAMES = 5
MAX_REORDERED_FRAMES = 64  # no encoder moves a frame past more than this
NOTABLE_S = Fraction(1, 10)  # where streams were cut and joined, audio packets overlap by one or two


class BestEffortTimestamps:
    """Strictly increasing PTS by FFmpeg's best-effort rule.

    DTS replace PTS where those are missing or more often out of order.

    Args:
        step: Ticks between frames where a timestamp has to be made up.
        first: PTS of the first frame if it has none.

    Attributes:
        moved: Frames so far that were moved directly after their predecessor, because their timestamps were
            far behind it.
    """

    def __init__(self, step: int, first: int = 0) -> None:
        self.moved = 0
        self._step = step
        self._first = first
        self._last: int | None = None
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._faulty_pts = 0
        self._faulty_dts = 0

    def next(self, pts: int | None, dts: int | None) -> int:
        """The PTS of the next frame, from what the decoder reports for it."""
        if dts is not None:
            self._faulty_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        if pts is not None:
            self._faulty_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        chosen = pts if dts is None or (pts is not None and self._faulty_pts <= self._faulty_dts) else dts
        if chosen is None:
            chosen = self._first if self._last is None else self._last + self._step
        if self._last is not None and chosen <= self._last:
            self.moved += chosen < self._last - _REORDERED_FRAMES * self._step
            chosen = self._last + 1
        self._last = chosen
        return chosen


class MonotonicDts:
    """DTS of one stream that never decrease, as muxers require; late packets are moved.

    Args:
        strict: DTS must not be equal either.

    Attributes:
        moved: Packets so far that were moved by more than ``NOTABLE_S``.
    """

    def __init__(self, *, strict: bool) -> None:
        self.moved = 0
        self._gap_s = Fraction(strict, 8000)  # longer than a tick of audio in mp4
        self._last_s: Fraction | None = None

    def enforce(self, packet: "Packet[Stream]") -> "Packet[Stream]":
        """The packet, moved after the previous one if necessary."""
        assert packet.dts is not None and packet.pts is not None, "a shifted packet has both timestamps"
        original_s = packet.dts * packet.time_base
        if self._last_s is not None:
            packet.dts = max(packet.dts, math.ceil((self._last_s + self._gap_s) / packet.time_base))
            packet.pts = max(packet.pts, packet.dts)
        self._last_s = packet.dts * packet.time_base
        self.moved += self._last_s > original_s + NOTABLE_S
        return packet
