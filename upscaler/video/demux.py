"""Open media files, find the main video stream, and demux packets."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
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

from upscaler import image_sequences
from upscaler.errors import MediaError
from upscaler.images.formats import IMAGE_SUFFIXES
from upscaler.video.description import programs_of, stream_count
from upscaler.video.formats import HEAD_BYTES, INPUT_OPTIONS, demuxer_of

# Transport and program streams, in which recordings are joined by appending the files.
MPEG_FORMATS = ("mpegts", "mpeg")
# How files begin that FFmpeg reads as a video if they are animated -> its demuxer.
_ANIMATIONS = {b"GIF8": "gif", b"\x89PNG": "apng"}
_UNLIMITED_US, _UNLIMITED_FRAMES = 10**14, 10**9
# What av raises: most of FFmpeg's errors are also built-in ones.
MEDIA_ERRORS = (av.error.FFmpegError, OSError, ValueError, EOFError)


@dataclass(frozen=True)
class Source:
    """A file, and which of its streams are found and used.

    Attributes:
        path: The file.
        video_stream: Index of the video stream; ``None``: the default one.
        program: Number of the program, for files that have several; ``None``: the first with video.
        rate: Frames per second of numbered images, which have no times of their own.
        probe_bytes: How much of a transport or program stream is searched for streams on opening; 0: as much
            as FFmpeg does.
    """

    path: Path
    video_stream: int | None = None
    program: int | None = None
    rate: Fraction = Fraction(25)
    probe_bytes: int = 0


def ffmpeg_path(path: Path) -> str:
    """The absolute path of a file: in a relative one, FFmpeg takes text before a colon for a protocol."""
    return os.path.abspath(path)


def open_source(source: Source, hardware: HWAccel | None = None) -> av.container.InputContainer:
    """Open a media file for demuxing, with the timestamps that the file contains.

    Args:
        source: The file.
        hardware: Hardware to decode video with; ``None``: software.

    Raises:
        MediaError: The file cannot be opened.
    """
    path = source.path
    try:
        if image_sequences.is_pattern(path):
            return _open_numbered(path, source.rate)
        container = _open(path, hardware)
        if container.format.name in MPEG_FORMATS:
            container.close()
            container = _open(path, hardware, _mpeg_options(source.probe_bytes))
    except MEDIA_ERRORS as error:
        if isinstance(error, FileNotFoundError):
            raise MediaError(f"'{path}' does not exist (any more)") from error
        if path.is_file() and path.stat().st_size == 0:
            raise MediaError(f"'{path}' is empty (0 bytes)") from error
        if isinstance(error, PermissionError):
            raise MediaError(f"'{path}' cannot be read: permission denied") from error
        if isinstance(error, av.error.ArgumentError):  # what FFmpeg says where the demuxer is not on the list
            hint = "playlists and lists of files are not opened"
            raise MediaError(f"'{path}' is not in a supported container", hint) from error
        raise MediaError(f"'{path}' is not a readable video") from error
    # Generated PTS are out of order for H.264 in AVI.
    container.flags &= ~int(Flags.gen_pts.value)  # type: ignore[call-overload]
    return container


def open_with_hidden_samples(source: Source) -> av.container.InputContainer:
    """``open_source`` for an mp4 of which samples are needed that an edit hides in part: FFmpeg drops them.

    Raises:
        MediaError: The file cannot be opened.
    """
    try:
        return _open(source.path, None, {"advanced_editlist": "0"})
    except MEDIA_ERRORS as error:
        raise MediaError(f"'{source.path}' is not a readable video") from error


def open_input(path: Path) -> av.container.InputContainer:
    """``open_source`` for a file of which every stream is found at its start."""
    return open_source(Source(path))


def _mpeg_options(probe_bytes: int) -> dict[str, str]:
    # FFmpeg takes a joint where times jump back for an overflow, and adds 26 hours; see `timeline`.
    options = {"correct_ts_overflow": "0"}
    if probe_bytes:
        # FFmpeg stops as soon as it knows all streams so far, except while it estimates the frame rate.
        options |= {
            "probesize": str(probe_bytes),
            "analyzeduration": str(_UNLIMITED_US),
            "fpsprobesize": str(_UNLIMITED_FRAMES),
        }
    return options


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


def _open_numbered(pattern: Path, rate: Fraction) -> av.container.InputContainer:
    options = {
        "pattern_type": "sequence",
        "start_number": str(image_sequences.find(pattern).first),
        "framerate": str(rate),
        "format_whitelist": "image2",
        "protocol_whitelist": "file",
    }
    return av.open(image_sequences.escaped(pattern), "r", format="image2", options=options)


def _demuxer_of(path: Path) -> str | None:
    """The demuxer to name: FFmpeg takes every file with an image's suffix for one that it is not sure of."""
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        return None
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    animation = next((name for start, name in _ANIMATIONS.items() if head.startswith(start)), None)
    return animation or demuxer_of(head)


def main_video_stream(container: av.container.InputContainer, source: Source) -> VideoStream:
    """The requested video stream; else the default one, or the first if none is. Cover art does not count.

    Raises:
        MediaError: There is none, or no decoder for it.
    """
    path = source.path
    videos = [each for each in container.streams.video if not Disposition.attached_pic & each.disposition]
    if not videos:
        but_covers = " except cover art" if container.streams.video else ""
        raise MediaError(f"'{path}' has no video stream{but_covers}")
    programs = programs_of(container)
    if source.program is not None:
        if source.program not in programs:
            raise MediaError(f"'{path}' has no program {source.program}", _there_are("programs", programs))
        videos = [each for each in videos if each.index in programs[source.program]]
        if not videos:
            raise MediaError(f"program {source.program} of '{path}' has no video")
    if source.video_stream is not None:
        found = [each for each in videos if each.index == source.video_stream]
        if not found:
            hint = _there_are("video streams", [each.index for each in videos])
            raise MediaError(f"'{path}' has no video stream {source.video_stream}", hint)
        videos = found
    in_order = [index for indices in programs.values() for index in indices]
    videos.sort(key=lambda each: in_order.index(each.index) if each.index in in_order else len(in_order))
    stream = next((each for each in videos if Disposition.default & each.disposition), videos[0])
    if stream.codec_context is None:
        raise MediaError(f"there is no decoder for the video of '{path}'")
    return stream


def other_program_of(container: av.container.InputContainer, stream: Stream, main: VideoStream) -> int | None:
    """The number of the program that a stream belongs to, if the main video does not."""
    numbers = [number for number, indices in programs_of(container).items() if stream.index in indices]
    if not numbers or any(main.index in programs_of(container)[number] for number in numbers):
        return None
    return numbers[0]


def _there_are(what: str, numbers: Iterable[int]) -> str:
    listed = ", ".join(map(str, numbers))
    return f"its {what}: {listed}" if listed else f"it has no {what}"


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
    """Whether a stream appeared after the part of the file that was searched on opening, which av ignores."""
    return stream_count(container) > len(container.streams)


def has_alpha_packets(stream: Stream) -> bool:
    """Whether packets carry an alpha channel as side data, as VP8 and VP9 in Matroska do."""
    return "1" in (stream.metadata.get("alpha_mode"), stream.metadata.get("ALPHA_MODE"))


def start_offset(container: av.container.InputContainer, time_base: Fraction | None) -> int:
    """The file's start time in units of ``time_base``; subtract it from PTS so that the file starts at 0."""
    if not container.start_time or not time_base:
        return 0
    return round(Fraction(container.start_time, 1_000_000) / time_base)
