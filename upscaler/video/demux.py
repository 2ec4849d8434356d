"""Open media files, find the main video stream, and demux packets."""

import io
import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import av.container
import av.error
from av.codec.hwaccel import HWAccel
from av.container import Flags
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from upscaler.errors import MediaError
from upscaler.images.formats import IMAGE_SUFFIXES
from upscaler.video.formats import HEAD_BYTES, INPUT_OPTIONS, demuxer_of

# Transport and program streams, in which recordings are joined by appending the files.
MPEG_FORMATS = ("mpegts", "mpeg")
# What av raises: most of FFmpeg's errors are also built-in ones.
MEDIA_ERRORS = (av.error.FFmpegError, OSError, ValueError, EOFError)


def ffmpeg_path(path: Path) -> str:
    """The absolute path of a file: in a relative one, FFmpeg takes text before a colon for a protocol."""
    return os.path.abspath(path)


def open_input(path: Path, hardware: HWAccel | None = None) -> av.container.InputContainer:
    """Open a media file for demuxing, with the timestamps that the file contains.

    Args:
        path: The file.
        hardware: Hardware to decode video with; ``None``: software.

    Raises:
        MediaError: The file cannot be opened.
    """
    try:
        container = _open(path, hardware)
        if container.format.name in MPEG_FORMATS:
            container.close()
            # FFmpeg takes a joint where times jump back for an overflow, and adds 26 hours; see `timeline`.
            container = _open(path, hardware, {"correct_ts_overflow": "0"})
    except MEDIA_ERRORS as error:
        if isinstance(error, FileNotFoundError):
            raise MediaError(f"'{path}' does not exist (any more)") from error
        if path.is_file() and path.stat().st_size == 0:
            raise MediaError(f"'{path}' is empty (0 bytes)") from error
        if isinstance(error, PermissionError):
            raise MediaError(f"'{path}' cannot be read: permission denied") from error
        if isinstance(error, av.error.ArgumentError):  # what FFmpeg says where the demuxer is not on the list
            hint = "playlists, lists of files and image sequences are not opened"
            raise MediaError(f"'{path}' is not in a supported container", hint) from error
        raise MediaError(f"'{path}' is not a readable video") from error
    # Generated PTS are out of order for H.264 in AVI.
    container.flags &= ~int(Flags.gen_pts.value)  # type: ignore[call-overload]
    return container


def _open(
    path: Path, hardware: HWAccel | None, options: dict[str, str] | None = None
) -> av.container.InputContainer:
    return av.open(
        ffmpeg_path(path),
        "r",
        format=_demuxer_of(path),
        metadata_errors="ignore",
        hwaccel=hardware,
        options=INPUT_OPTIONS | (options or {}),
    )


def _demuxer_of(path: Path) -> str | None:
    """The demuxer to name: FFmpeg takes every file with an image's suffix for one that it is not sure of."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    with path.open("rb") as file:
        return demuxer_of(file.read(HEAD_BYTES))


def main_video_stream(container: av.container.InputContainer, path: Path) -> VideoStream:
    """The default video stream, or the first if none is; cover art does not count.

    Raises:
        MediaError: There is none, or no decoder for it.
    """
    videos = [each for each in container.streams.video if not Disposition.attached_pic & each.disposition]
    if not videos:
        but_covers = " except cover art" if container.streams.video else ""
        raise MediaError(f"'{path}' has no video stream{but_covers}")
    stream = next((each for each in videos if Disposition.default & each.disposition), videos[0])
    if stream.codec_context is None:
        raise MediaError(f"there is no decoder for the video of '{path}'")
    return stream


def frame_rate(stream: VideoStream) -> Fraction:
    """Frames per second that the file declares or FFmpeg guesses, else 25; never used to compute times."""
    rate = stream.guessed_rate or stream.average_rate
    return rate if rate and 1 <= rate <= 1000 else Fraction(25)


def demux(
    container: av.container.InputContainer, streams: list[Stream] | None = None
) -> Iterator["Packet[Stream]"]:
    """Packets in file order, then an empty packet per stream to flush its decoder.

    Args:
        container: The open file.
        streams: The streams to demux; ``None``: all.

    Raises:
        OSError: Reading failed; likewise for each of ``MEDIA_ERRORS``.
    """
    try:
        yield from container.demux(streams) if streams else container.demux()
    except IndexError:
        return  # av 18.1, after the last packet: it has no flush packet for a stream found after opening


def has_undetected_stream(container: av.container.InputContainer) -> bool:
    """Whether a stream appeared after the part of the file that FFmpeg probes on opening.

    av does not list such streams. But it refuses to demux a stream whose index is too high for the file, even
    one of another container.

    Args:
        container: Demuxed to its end; otherwise the rest is read here.
    """
    with av.open(io.BytesIO(), "w", format="matroska") as other:
        streams = [other.add_stream("pcm_s16le") for _ in range(len(container.streams) + 1)]
        try:
            next(container.demux(streams[-1]), None)
        except (IndexError, av.error.FFmpegError):
            return True  # the index exists; what was read is irrelevant
        except ValueError:
            return False
    return True


def has_alpha_packets(stream: Stream) -> bool:
    """Whether packets carry an alpha channel as side data, as VP8 and VP9 in Matroska do."""
    return "1" in (stream.metadata.get("alpha_mode"), stream.metadata.get("ALPHA_MODE"))


def start_offset(container: av.container.InputContainer, time_base: Fraction | None) -> int:
    """The file's start time in units of ``time_base``; subtract it from PTS so that the file starts at 0."""
    if not container.start_time or not time_base:
        return 0
    return round(Fraction(container.start_time, 1_000_000) / time_base)
