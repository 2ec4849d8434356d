"""The canvas that positions of DVD subtitles refer to.

DVDs do not store it, because there it is the picture. Players take the picture for it, too, so beside an
enlarged one the subtitles would be small and in a corner. The canvas is written as a line of the stream's
header, which is where players find it that use FFmpeg, and in mp4 also as the size of the track, where others
do: FFmpeg 8.1 writes 720x480 there, whatever the header says.
"""

import re
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import BinaryIO

from av.stream import Stream
from av.video.stream import VideoStream

_CODEC = "dvd_subtitle"
_CONTAINER_BOXES = (b"moov", b"trak")
_SIZE_FROM_END = 8  # of a track header: width and height, 16.16 bits each


def keep_canvas(
    source: Stream, target: Stream, video: VideoStream, *, is_mp4: bool
) -> tuple[int, int] | None:
    """Write the canvas into the header of a copied stream, if it has DVD subtitles.

    Args:
        source: The stream that is copied.
        target: Its copy, before the file's header is written.
        video: The source's, whose pictures the subtitles were made for.
        is_mp4: Whether the target is mp4 or mov.

    Returns:
        Width and height, pixels, that ``write_track_sizes`` has to write into a finished mp4.
    """
    context = target.codec_context
    if source.codec_context is None or context is None or source.codec_context.codec.canonical_name != _CODEC:
        return None
    header = header_with_canvas(context.extradata or b"", video.width, video.height)
    context.extradata = header
    if not is_mp4:
        return None
    found = re.search(rb"^size: *(\d+)x(\d+)", header, re.MULTILINE)
    assert found, "header_with_canvas writes it"
    return int(found.group(1)), int(found.group(2))


def header_with_canvas(header: bytes, width: int, height: int) -> bytes:
    """The header of DVD subtitles, lines of text as in VobSub's .idx files, with the size of the canvas.

    Args:
        header: May have a size, which is kept unless it is 0.
        width: Of the canvas, pixels.
        height: Likewise.
    """
    if re.search(rb"^size: *[1-9]\d*x[1-9]", header, re.MULTILINE):
        return header
    rest = re.sub(rb"^size:.*\n?", b"", header, flags=re.MULTILINE)
    return f"size: {width}x{height}\n".encode() + rest


def write_track_sizes(path: Path, sizes_px: Mapping[int, tuple[int, int]]) -> None:
    """Change the size of tracks in a finished mp4.

    Args:
        path: The file.
        sizes_px: (width, height) by number of the track, from 0 on.

    Raises:
        OSError: The file cannot be read or written.
    """
    with path.open("r+b") as file:
        ends = [end for kind, end in _boxes(file, 0, path.stat().st_size) if kind == b"tkhd"]
        for track, (width, height) in sizes_px.items():
            file.seek(ends[track] - _SIZE_FROM_END)
            file.write(struct.pack(">II", width << 16, height << 16))


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int]]:
    """Type and end of every box between two positions, and of those inside movie and track."""
    while start + 8 <= end:
        file.seek(start)
        size, kind = struct.unpack(">I4s", file.read(8))
        header = 8
        if size == 1:
            (size,), header = struct.unpack(">Q", file.read(8)), 16
        box_end = start + size if size >= header else end
        yield kind, box_end
        if kind in _CONTAINER_BOXES:
            yield from _boxes(file, start + header, box_end)
        start = box_end
