"""The frames of a video as its packets announce them: so a part can be decoded without the parts before.

Not every video has one. Where times are missing or wrong, where files were joined or are damaged, or where a
frame depends on all before it, only decoding from the start shows which frames there are.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby, pairwise, repeat
from typing import Any, Self

import av.container
from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from upscaler.video.demux import start_offset
from upscaler.video.extent import Extent
from upscaler.video.timeline import Timeline

# Codecs some of whose packets show no frame, and pictures whose frames only change the one before.
_WITH_HIDDEN_FRAMES = ("vp8",)
_WITHOUT_KEY_FRAMES = ("gif", "apng")


@dataclass(frozen=True)
class KeyFrame:
    """A frame from which on the video can be decoded.

    Attributes:
        position: Among all frames, in the order of presentation, from 0.
        dts: By which it is sought, in units of the time base; its PTS where it has no DTS.
    """

    position: int
    dts: int


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video.

    Attributes:
        pts: Of every frame in order of presentation, in units of ``time_base``, counted from the start of the
            file. Of a requested part, those up to its end at least.
        keys: The key frames among them, in order.
        time_base: Of the stream, seconds.
        obstacle: Why parts cannot be decoded by themselves, as the rest of a sentence; empty: they can.
    """

    pts: Sequence[int]
    keys: Sequence[KeyFrame]
    time_base: Fraction
    obstacle: str = ""

    def to_json(self) -> dict[str, Any]:
        """As JSON; equal intervals are counted, not repeated."""
        steps = [after - before for before, after in pairwise(self.pts)]
        return {
            "first": self.pts[0] if self.pts else None,
            "steps": [[step, sum(1 for _ in same)] for step, same in groupby(steps)],
            "keys": [[key.position, key.dts] for key in self.keys],
            "time_base": str(self.time_base),
            "obstacle": self.obstacle,
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> Self:
        """From ``to_json``; raises ``LookupError``, ``TypeError`` or ``ValueError`` for anything else."""
        first = content["first"]
        steps = (step for step, count in content["steps"] for step in repeat(int(step), int(count)))
        return cls(
            [] if first is None else list(_sums(int(first), steps)),
            [KeyFrame(int(position), int(dts)) for position, dts in content["keys"]],
            Fraction(content["time_base"]),
            str(content["obstacle"]),
        )


def _sums(value: int, steps: Iterable[int]) -> Iterator[int]:
    yield value
    for step in steps:
        value += step
        yield value


class IndexRecorder:
    """Makes the index of a video from its packets, all of which must be given to it in the order of the file.

    Args:
        container: The file, of which no packet was read yet.
        video: The stream that is upscaled.
        whole: Whether the packets go up to the end of the file.
    """

    def __init__(self, container: av.container.InputContainer, video: VideoStream, *, whole: bool) -> None:
        self._video = video
        self._time_base = video.time_base or Fraction(1, 90000)
        self._offset = start_offset(container, video.time_base)
        self._timeline = Timeline(container)
        self._extent, self._is_whole = Extent(container, video), whole
        self._pts: list[int] = []
        self._keys: list[tuple[int, int]] = []  # PTS and DTS
        self._obstacle = ""
        codec = video.codec_context.codec.canonical_name
        if codec in _WITH_HIDDEN_FRAMES:
            self.hinder(f"some packets of {codec.upper()} show no frame")
        if codec in _WITHOUT_KEY_FRAMES:
            self.hinder(f"{codec.upper()} has no key frames")

    def hinder(self, obstacle: str) -> None:
        """Note why the video cannot be cut; the first reason counts."""
        self._obstacle = self._obstacle or obstacle

    def record(self, packet: "Packet[Stream]") -> None:
        """Take a packet of any stream into account; changes its times as ``Timeline.shift`` does."""
        self._timeline.shift(packet)
        if self._timeline.is_shifted:
            self.hinder("its recordings were joined")
        self._extent.record(packet)
        if packet.stream.index == self._video.index and packet.size:
            self._record_frame(packet)

    def _record_frame(self, packet: "Packet[Stream]") -> None:
        if packet.is_corrupt:
            self.hinder("it is damaged")
        if packet.has_sidedata("encryption_info"):
            self.hinder("it is encrypted")
        if packet.pts is None:
            self.hinder("not every frame has a time")
            return
        if packet.is_discard:  # decoded, but not shown
            return
        self._pts.append(packet.pts)
        if packet.is_keyframe:
            self._keys.append((packet.pts, packet.pts if packet.dts is None else packet.dts))

    def sample(self, frame: VideoFrame) -> None:
        """Take one of the decoded frames into account."""
        if frame.interlaced_frame:
            self.hinder("it is interlaced")

    def index(self) -> FrameIndex:
        """What was recorded, after the last packet."""
        if self._is_whole and self._extent.missing():
            self.hinder("it ends early")
        if self._extent.last_frame_s():
            self.hinder("how long its last frame lasts depends on all others")
        in_order = sorted(self._pts)
        if any(before == after for before, after in pairwise(in_order)):
            self.hinder("several frames have the same time")
        places = {pts: place for place, pts in enumerate(in_order)}
        keys = sorted((places[pts], dts) for pts, dts in self._keys)
        if not self._obstacle and len(keys) < 2:
            self.hinder("it has one key frame only")
        if self._obstacle:
            return FrameIndex([], [], self._time_base, self._obstacle)
        return FrameIndex(
            [pts - self._offset for pts in in_order],
            [KeyFrame(*key) for key in keys],
            self._time_base,
        )
