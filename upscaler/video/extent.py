"""Whether a file is as long as its header declares."""

from fractions import Fraction

from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.stream import VideoStream

# Containers whose header declares a duration; for others FFmpeg derives it from the packets that are there.
_DECLARE_DURATION = ("mov", "matroska", "avi", "flv", "asf")
# Of these, the ones that store no duration of frames: the last one lasts until the declared end.
_WITHOUT_FRAME_DURATION = ("avi", "flv", "asf")
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
        # In ticks of each stream, by its index: fractions for every packet took a third of a survey's time.
        self._time_bases: dict[int, Fraction] = {}
        self._ends: dict[int, int] = {}
        self._last_video: int | None = None
        self._longest_interval = 0  # between two video packets

    def record(self, packet: "Packet[Stream]") -> None:
        """Take a packet of any stream into account."""
        index = packet.stream.index
        is_video = index == self._video.index
        self._video_packets += is_video and packet.size > 0
        stamp = packet.dts if packet.pts is None else packet.pts
        if stamp is None or not packet.size or packet.is_discard:
            return
        if index not in self._time_bases:
            if not packet.time_base:
                return
            self._time_bases[index], self._ends[index] = packet.time_base, 0
        self._ends[index] = max(self._ends[index], stamp + (packet.duration or 0))
        if is_video:
            self._record_video(stamp)

    def missing(self) -> str:
        """How much of what the header declares is present, if not all; else empty.

        Only meaningful after the file was read to its end.
        """
        name = self._container.format.name
        # The index of an mp4 lists the frames that its edit list uses.
        frames = len(self._video.index_entries) if name.startswith("mov") else 0
        found_s, declared_s = self._found_s(), self._declared_s()
        too_few = self._video_packets < frames
        too_short = name.startswith(_DECLARE_DURATION) and found_s < declared_s - _TOLERANCE_S
        too_short = too_short and not self.last_frame_s()
        if not too_few and not too_short:
            return ""
        text = f"{float(found_s):.2f} of {float(declared_s):.2f} s are present"
        return f"{text}, {self._video_packets} of {frames} frames" if too_few else text

    def last_frame_s(self) -> Fraction:
        """Duration of the last frame, seconds, where the container does not store it; 0 if it does.

        It lasts until the declared end if others lasted as long (slides); otherwise the end is missing.
        """
        if self._last_video is None or not self._container.format.name.startswith(_WITHOUT_FRAME_DURATION):
            return Fraction(0)
        rest_s = self._declared_s() - self._found_s()
        time_base = self._time_bases[self._video.index]
        is_rest = _TOLERANCE_S < rest_s <= self._longest_interval * time_base
        return self._end_s() + rest_s - self._last_video * time_base if is_rest else Fraction(0)

    def _record_video(self, stamp: int) -> None:
        if self._last_video is not None:
            self._longest_interval = max(self._longest_interval, stamp - self._last_video)
        self._last_video = stamp if self._last_video is None else max(self._last_video, stamp)

    def _end_s(self) -> Fraction:
        return max((end * self._time_bases[index] for index, end in self._ends.items()), default=Fraction(0))

    def _found_s(self) -> Fraction:
        # Some muxers count the time before the first packet, too; only an earlier end is certain.
        return self._end_s() - min(Fraction(0), Fraction(self._container.start_time or 0, 1_000_000))

    def _declared_s(self) -> Fraction:
        return Fraction(self._container.duration or 0, 1_000_000)
