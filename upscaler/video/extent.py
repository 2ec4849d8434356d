"""How far the packets of a file reach, against what its header promises."""

from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

# Containers whose header states a duration; for others FFmpeg takes it from the end that is there.
_PROMISING = ("mov", "matroska", "avi", "flv", "asf")
_SHORT_S = Fraction(1, 2)  # headers of whole files were up to 0.05 s off


class Extent:
    """Counts the packets of a file as they are read.

    Args:
        container: That they come from.
        film: The stream that is upscaled.
    """

    def __init__(self, container: InputContainer, film: VideoStream) -> None:
        self._container = container
        self._film = film
        self._packets = 0  # of the film
        self._end_s = Fraction(0)

    def note(self, packet: "Packet[Stream]") -> None:
        """Take a packet of any stream into account."""
        self._packets += packet.stream.index == self._film.index and packet.size > 0
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is not None and packet.size and packet.time_base and not packet.is_discard:
            self._end_s = max(self._end_s, (stamp + (packet.duration or 0)) * packet.time_base)

    def missing(self) -> str:
        """What is there of what the header promises, where that is less; else empty. For files read whole."""
        name = self._container.format.name
        # Of the frames that an mp4 holds, its index has those that its edit list makes use of.
        frames = len(self._film.index_entries) if name.startswith("mov") else 0
        found_s = self._end_s - Fraction(self._container.start_time or 0, 1_000_000)
        promised_s = Fraction(self._container.duration or 0, 1_000_000)
        fewer = self._packets < frames
        if not fewer and not (name.startswith(_PROMISING) and found_s < promised_s - _SHORT_S):
            return ""
        text = f"{float(found_s):.2f} of {float(promised_s):.2f} s are there"
        return f"{text}, {self._packets} of {frames} frames" if fewer else text
