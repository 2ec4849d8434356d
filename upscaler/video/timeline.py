"""One continuous timeline for files joined from several recordings, as ``cat a.ts b.ts`` does.

Also where 33-bit timestamps overflow, after 26.5 hours.
"""

from fractions import Fraction
from itertools import pairwise
from typing import cast

import av.container
from av.format import Flags as FormatFlags
from av.packet import Packet
from av.stream import Stream

from upscaler.video.demux import MPEG_FORMATS
from upscaler.video.timestamps import NOTABLE_S

_LEAP_S = Fraction(1)  # longer than a frame or an audio packet
_GAP_S = Fraction(10)  # longer than a break in a recording; FFmpeg's program takes such gaps for joints, too
_OVERFLOW_S = Fraction(2**33, 90_000)  # of timestamps in MPEG streams


class Timeline:
    """Closes the discontinuities of one file.

    Where the DTS of a stream jump back, a new part of the file begins: all streams continue where they were,
    each from its own jump on and all shifted by the same time, so that audio stays in sync. In MPEG transport
    and program streams this also holds where all streams jump ahead. Two readers that pass every packet of a
    file through their timelines get the same times. Containers that do not allow discontinuities are left
    unchanged, and a single wrong timestamp does not count as a jump.

    Attributes:
        needs_every_packet: Every packet of the file must be passed to ``shift``; otherwise ``shift`` never
            changes one.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        self.needs_every_packet = bool(container.format.flags & cast(int, FormatFlags.ts_discont.value))
        self._closes_gaps = container.format.name in MPEG_FORMATS
        self._offsets_s = [Fraction(0)]  # of each part of the file
        self._positions: dict[int, _Position] = {}  # of audio and video, by stream index

    @property
    def joints(self) -> int:
        """How many recordings were joined to the first so far; an overflow does not count."""
        steps_s = [after - before for before, after in pairwise(self._offsets_s)]
        return sum(step_s != _OVERFLOW_S for step_s in steps_s)

    @property
    def is_shifted(self) -> bool:
        """Whether packets have another time than the file says."""
        return any(self._offsets_s)

    @property
    def _last_part(self) -> int:
        return len(self._offsets_s) - 1

    def shift(self, packet: "Packet[Stream]") -> None:
        """Move a packet to its time on the timeline; call it with every packet of the file, in order."""
        stamp = packet.pts if packet.dts is None else packet.dts
        if not self.needs_every_packet or stamp is None or not packet.time_base:
            return
        time_s, duration_s = stamp * packet.time_base, (packet.duration or 0) * packet.time_base
        if packet.stream.type in ("audio", "video"):
            position = self._positions.setdefault(packet.stream.index, _Position(time_s, self._last_part))
            self._choose_part(position, time_s)
            offset_s = self._offsets_s[position.part]
            position.advance(time_s + offset_s, duration_s)
        else:  # subtitles are sparse, but stored near what is shown with them
            offset_s = min(self._offsets_s, key=lambda offset_s: abs(time_s + offset_s - self._end_s()))
        offset = round(offset_s / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + offset
        packet.dts = None if packet.dts is None else packet.dts + offset

    def _end_s(self) -> Fraction:
        return max((position.end_s for position in self._positions.values()), default=Fraction(0))

    def _choose_part(self, position: "_Position", time_s: Fraction) -> None:
        """Find the part of the file that a packet belongs to; begin a new one where none fits."""
        if position.left_s is not None:  # the previous packet jumped: was it the only one?
            back_s = time_s + self._offsets_s[position.part - 1] - position.left_s
            alone = sum(other.part == position.part for other in self._positions.values()) == 1
            if position.part == self._last_part and alone and -NOTABLE_S < back_s < _LEAP_S:
                self._offsets_s.pop()
                position.part -= 1
                position.last_s = position.previous_s = position.left_s
            position.left_s = None
        if not self._jumps(position, time_s + self._offsets_s[position.part]):
            return
        if position.part == self._last_part:
            self._offsets_s.append(self._offset_of_new_part_s(position, time_s))
            position.left_s = position.last_s
        later, end_s = range(position.part + 1, len(self._offsets_s)), self._end_s()
        position.part = min(later, key=lambda part: abs(time_s + self._offsets_s[part] - end_s))

    def _jumps(self, position: "_Position", time_s: Fraction) -> bool:
        """Whether a packet that would be at ``time_s`` belongs to another part of the file."""
        if time_s < min(position.last_s, position.previous_s) - NOTABLE_S:
            return True
        # A pause in one stream is not a joint: the others continue.
        return self._closes_gaps and position.has_packets and time_s > self._end_s() + _GAP_S

    def _offset_of_new_part_s(self, position: "_Position", time_s: Fraction) -> Fraction:
        """The offset with which no stream of a new part begins before the previous part ends.

        Args:
            position: Of the stream that enters the part first.
            time_s: Where it begins; the others are assumed to begin relative to it as in the first part.
        """
        offset_s = max(
            other.end_s - (time_s + other.first_s - position.first_s) for other in self._positions.values()
        )
        overflowed_s = self._offsets_s[-1] + _OVERFLOW_S
        return overflowed_s if abs(offset_s - overflowed_s) < _LEAP_S else offset_s


class _Position:
    """How far a stream has been read. Times are DTS on the timeline, except ``first_s``.

    Attributes:
        first_s: Of the first packet, as the file has it.
        part: The part of the file that the stream is in.
        last_s: Of the last packet.
        previous_s: Of the packet before it, which reveals a single timestamp that is too late.
        end_s: Where the last packet ends.
        left_s: Of the last packet before a jump, directly after the jump.
        has_packets: Whether any packet was recorded.
    """

    def __init__(self, first_s: Fraction, part: int) -> None:
        self.first_s = first_s
        self.part = part
        self.last_s = self.previous_s = self.end_s = first_s - 10**9  # before everything
        self.left_s: Fraction | None = None
        self.has_packets = False

    def advance(self, time_s: Fraction, duration_s: Fraction) -> None:
        """Record a packet."""
        self.previous_s, self.last_s, self.end_s = self.last_s, time_s, time_s + duration_s
        self.has_packets = True
