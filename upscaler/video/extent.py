"""Whether a file is as long as its header declares."""

from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

# Containers whose header declares a duration; for others FFmpeg derives it from the packets that are there.
_DECLARE_DURATION = ("mov", "matroska", "avi", "flv", "asf")
_TOLERANCE_S = Fraction(1, 2)  # headers of complete files were up to 0.05 s off


class Extent:
    """Measures how far the packets of a file reach.

    Args:
        container: The file.
        video: The stream that is upscaled.
    """

    def __init__(self, container: InputContainer, video: VideoStream) -> None:
        self._container = container
        self._video = video
        self._video_packets = 0
        self._end_s = Fraction(0)

    def record(self, packet: "Packet[Stream]") -> None:
        """Take a packet of any stream into account."""
        self._video_packets += packet.stream.index == self._video.index and packet.size > 0
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is not None and packet.size and packet.time_base and not packet.is_discard:
            self._end_s = max(self._end_s, (stamp + (packet.duration or 0)) * packet.time_base)

    def missing(self) -> str:
        """How much of what the header declares is present, if not all; else empty.

        Only meaningful after the file was read to its end.
        """
        name = self._container.format.name
        # The index of an mp4 lists the frames that its edit list uses.
        frames = len(self._video.index_entries) if name.startswith("mov") else 0
        # Some muxers count the time before the first packet, too; only an earlier end is certain.
        found_s = self._end_s - min(Fraction(0), Fraction(self._container.start_time or 0, 1_000_000))
        declared_s = Fraction(self._container.duration or 0, 1_000_000)
        too_few = self._video_packets < frames
        too_short = name.startswith(_DECLARE_DURATION) and found_s < declared_s - _TOLERANCE_S
        if not too_few and not too_short:
            return ""
        text = f"{float(found_s):.2f} of {float(declared_s):.2f} s are present"
        return f"{text}, {self._video_packets} of {frames} frames" if too_few else text
