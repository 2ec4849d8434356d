"""Open media files, find the film in them, and put its time stamps in order."""

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import av.container
import av.error
from av.codec.hwaccel import HWAccel
from av.container import Flags
from av.format import Flags as FormatFlags
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from upscaler.errors import MediaError

# What av raises: FFmpeg's errors are built-in ones too.
MEDIA_ERRORS = (av.error.FFmpegError, OSError, ValueError, EOFError)
_JUMP_S = Fraction(1, 10)  # where streams were cut and joined, sounds overlap by a packet or two
_SQUEEZED_STEPS = 5  # more than decoders reorder frames whose stamps are missing or wrong
_LEAP_S = Fraction(1)  # longer than a frame or a packet of sound


def address(path: Path) -> str:
    """What av is to open for a file: absolute, for FFmpeg takes what stands before a colon for a protocol."""
    return os.path.abspath(path)


def open_input(path: Path, hardware: HWAccel | None = None) -> av.container.InputContainer:
    """Open a media file for demuxing, with its own time stamps.

    Args:
        path: The file.
        hardware: To decode video with.

    Raises:
        MediaError: It cannot be opened.
    """
    try:
        container = av.open(address(path), "r", metadata_errors="ignore", hwaccel=hardware)
    except MEDIA_ERRORS as error:
        if isinstance(error, FileNotFoundError):
            raise MediaError(f"'{path}' is not there (any more)") from error
        if path.is_file() and path.stat().st_size == 0:
            raise MediaError(f"'{path}' is empty (0 bytes)") from error
        if isinstance(error, PermissionError):
            raise MediaError(f"'{path}' cannot be read: permission denied") from error
        raise MediaError(f"'{path}' is not a video that can be read") from error
    container.flags &= ~int(Flags.gen_pts.value)  # type: ignore[call-overload]  # makes up stamps that are out of order for H.264 in AVI
    return container


def main_video_stream(container: av.container.InputContainer, path: Path) -> VideoStream:
    """The first video stream that is not cover art.

    Raises:
        MediaError: There is none, or nothing here decodes it.
    """
    for stream in container.streams.video:
        if not Disposition.attached_pic & stream.disposition:
            if stream.codec_context is None:
                raise MediaError(f"'{path}' has video of a codec that cannot be decoded")
            return stream
    besides = " but cover art" if container.streams.video else ""
    raise MediaError(f"'{path}' holds no video stream{besides}")


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames per second as the file has it or FFmpeg guesses it, 25 where it cannot be; not for time."""
    rate = stream.guessed_rate or stream.average_rate
    return rate if rate and 1 <= rate <= 1000 else Fraction(25)


def demuxed(
    container: av.container.InputContainer, streams: list[Stream] | None = None
) -> Iterator["Packet[Stream]"]:
    """Packets of some streams, or of all, in the order of the file; at the end an empty one of each.

    Raises:
        OSError: The file cannot be read further; so for every one of ``MEDIA_ERRORS``.
    """
    try:
        yield from container.demux(streams) if streams else container.demux()
    except IndexError:
        return  # av 18.1, after the last packet: of a stream found after opening it cannot give an empty one


def found_late(container: av.container.InputContainer) -> bool:
    """Whether a stream began after what is looked at on opening, so that nothing here knows of it.

    av does not list it. But it refuses to demux a stream whose index is too high for the file, whosesoever.

    Args:
        container: Demuxed to its end, or the rest is read now.
    """
    with av.open(io.BytesIO(), "w", format="matroska") as other:
        streams = [other.add_stream("pcm_s16le") for _ in range(len(container.streams) + 1)]
        try:
            next(container.demux(streams[-1]), None)
        except (IndexError, av.error.FFmpegError):
            return True  # the index was taken; what was read then does not matter
        except ValueError:
            return False
    return True


class Timeline:
    """One time for a file that was joined from several, as transport streams are by ``cat``.

    Where the stamps of a stream jump back, all streams go on from where they were, each from its own jump on
    and all by the same time, so that sound stays with the picture. Two readers of one file that give every
    packet to their timelines get the same times. Containers that allow no such jumps stay as they are, and a
    single wrong stamp is no jump.

    Attributes:
        needs_all: Every packet of the file has to be placed; else nothing will ever be moved.
    """

    def __init__(self, container: av.container.InputContainer) -> None:
        self.needs_all = bool(container.format.flags & cast(int, FormatFlags.ts_discont.value))
        self._offsets_s = [Fraction(0)]  # of each part of the file
        self._ways: dict[int, _Way] = {}  # of sounds and pictures, by the index of the stream

    @property
    def jumps(self) -> int:
        """How many so far."""
        return len(self._offsets_s) - 1

    def place(self, packet: "Packet[Stream]") -> None:
        """Move a packet to its time; to be called with every packet of the file."""
        stamp = packet.pts if packet.dts is None else packet.dts
        if not self.needs_all or stamp is None or not packet.time_base:
            return
        time_s, length_s = stamp * packet.time_base, (packet.duration or 0) * packet.time_base
        if packet.stream.type in ("audio", "video"):
            way = self._ways.setdefault(packet.stream.index, _Way(time_s, self.jumps))
            self._choose_part(way, time_s)
            offset_s = self._offsets_s[way.part]
            way.go_on(time_s + offset_s, length_s)
        else:  # subtitles come when they like, but near what is shown with them
            offset_s = min(self._offsets_s, key=lambda offset_s: abs(time_s + offset_s - self._here_s()))
        by = round(offset_s / packet.time_base)
        packet.pts = None if packet.pts is None else packet.pts + by
        packet.dts = None if packet.dts is None else packet.dts + by

    def _here_s(self) -> Fraction:
        return max((way.end_s for way in self._ways.values()), default=Fraction(0))

    def _choose_part(self, way: "_Way", time_s: Fraction) -> None:
        """Decide which part of the file a packet is from, and begin a new one where it is from none."""
        if way.left_s is not None:  # the packet before jumped: alone?
            back_s = time_s + self._offsets_s[way.part - 1] - way.left_s
            alone = sum(other.part == way.part for other in self._ways.values()) == 1
            if way.part == self.jumps and alone and -_JUMP_S < back_s < _LEAP_S:
                self._offsets_s.pop()
                way.part -= 1
                way.last_s = way.before_s = way.left_s
            way.left_s = None
        if time_s + self._offsets_s[way.part] >= min(way.last_s, way.before_s) - _JUMP_S:
            return
        if way.part == self.jumps:
            self._offsets_s.append(self._continued_s(way, time_s))
            way.left_s = way.last_s
        later, here_s = range(way.part + 1, len(self._offsets_s)), self._here_s()
        way.part = min(later, key=lambda part: abs(time_s + self._offsets_s[part] - here_s))

    def _continued_s(self, way: "_Way", time_s: Fraction) -> Fraction:
        """By how much to move a new part so that none of its streams begins before the part before ends.

        Args:
            way: Of the stream that the part begins with.
            time_s: Where it begins; the others as much before or after as they did in the first part.
        """
        return max(other.end_s - (time_s + other.first_s - way.first_s) for other in self._ways.values())


class _Way:
    """How far a stream is; all times are decoding times, as placed but for the first.

    Attributes:
        first_s: Of its first packet, as the file has it.
        part: Of the file, where it is now.
        last_s: Of the last packet.
        before_s: Of the one before, by which a stamp that is too late is told.
        end_s: Where the last packet ends.
        left_s: Of the last packet before a jump, right after it.
    """

    def __init__(self, first_s: Fraction, part: int) -> None:
        self.first_s, self.part = first_s, part
        self.last_s = self.before_s = self.end_s = first_s - 10**9  # nothing is behind that
        self.left_s: Fraction | None = None

    def go_on(self, time_s: Fraction, length_s: Fraction) -> None:
        """Take note of a packet."""
        self.before_s, self.last_s, self.end_s = self.last_s, time_s, time_s + length_s


def has_alpha_packets(stream: Stream) -> bool:
    """Whether packets carry an alpha channel beside the picture, as Matroska has it for VP8 and VP9."""
    return "1" in (stream.metadata.get("alpha_mode"), stream.metadata.get("ALPHA_MODE"))


def start_offset(container: av.container.InputContainer, time_base: Fraction | None) -> int:
    """The file's start time in units of ``time_base``; subtracting it lets every stream begin near 0."""
    if not container.start_time or not time_base:
        return 0
    return round(Fraction(container.start_time, 1_000_000) / time_base)


class Stamps:
    """Best-effort time stamps by FFmpeg's rule, always increasing.

    Decoding stamps stand in where presentation stamps are missing or are more often out of order.

    Args:
        step: Ticks between frames where a stamp has to be made up.

    Attributes:
        squeezed: Frames so far whose stamps lie so far back that they follow the one before at once.
    """

    def __init__(self, step: int) -> None:
        self.squeezed = 0
        self._step = step
        self._last: int | None = None
        self._last_pts: int | None = None
        self._last_dts: int | None = None
        self._faulty_pts = 0
        self._faulty_dts = 0

    def next(self, pts: int | None, dts: int | None) -> int:
        """The stamp of the next frame, given what its packet said."""
        if dts is not None:
            self._faulty_dts += self._last_dts is not None and dts <= self._last_dts
            self._last_dts = dts
        if pts is not None:
            self._faulty_pts += self._last_pts is not None and pts <= self._last_pts
            self._last_pts = pts
        stamp = pts if dts is None or (pts is not None and self._faulty_pts <= self._faulty_dts) else dts
        if stamp is None:
            stamp = 0 if self._last is None else self._last + self._step
        if self._last is not None and stamp <= self._last:
            self.squeezed += stamp < self._last - _SQUEEZED_STEPS * self._step
            stamp = self._last + 1
        self._last = stamp
        return stamp
