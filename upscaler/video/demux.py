"""Open media files, find the film in them, and put its time stamps in order."""

import os
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
from av.codec.hwaccel import HWAccel
from av.container import Flags
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from upscaler.errors import MediaError

# What av raises: FFmpeg's errors are built-in ones too.
MEDIA_ERRORS = (av.error.FFmpegError, OSError, ValueError, EOFError)


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
    """

    def __init__(self, step: int) -> None:
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
            stamp = self._last + 1
        self._last = stamp
        return stamp
