"""Subtitles as DVDs have them: pictures of a few colours at a place of the film's canvas."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.video.frame import VideoFrame

_PACK = 2048  # bytes


def subtitle_picture(left: int, top: int, width: int, height: int) -> bytes:
    """A filled rectangle as a subpicture unit, shown until the next one.

    Args:
        left: Of the canvas, pixels.
        top: Likewise.
        width: Pixels.
        height: Pixels, even.
    """
    line = b"\x00\x01"  # colour 1 up to the end of the line
    field = line * (height // 2)
    right, bottom = left + width - 1, top + height - 1
    place = (left << 36 | right << 24 | top << 12 | bottom).to_bytes(6, "big")
    offsets = (4).to_bytes(2, "big") + (4 + len(field)).to_bytes(2, "big")
    control_at = 4 + 2 * len(field)
    control = b"\x00\x00" + control_at.to_bytes(2, "big")  # at once; the last sequence refers to itself
    control += b"\x03\x32\x10" + b"\x04\xff\xf0" + b"\x05" + place + b"\x06" + offsets + b"\x01\xff"
    content = control_at.to_bytes(2, "big") + 2 * field + control
    return (len(content) + 2).to_bytes(2, "big") + content


def dvd_film(
    path: Path, subtitles_s: list[float], *, begin_s: int = 0, width: int = 720, height: int = 576
) -> bytes:
    """A second of film at 25 frames/s with subtitles of 40x8 in the lower half, in a program stream.

    Args:
        path: File to write.
        subtitles_s: When they appear, seconds after the first frame.
        begin_s: Time of the first frame, seconds.
        width: Of the film, pixels.
        height: Likewise.

    Returns:
        The content of the file.
    """
    with av.open(str(path), "w", format="vob") as output:
        video = output.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        for index in range(25):
            plain = np.full((height * 3 // 2, width), 60 + index, np.uint8)
            frame = VideoFrame.from_ndarray(plain, format="yuv420p")
            frame.pts, frame.time_base = begin_s * 25 + index, Fraction(1, 25)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    content = path.read_bytes()
    packs = [content[first : first + _PACK] for first in range(0, len(content), _PACK)]
    with av.open(str(path)) as film:  # whose muxer adds half a second
        start_s = film.start_time / 1_000_000
    last = len(packs) - 2
    for time_s in reversed(subtitles_s):  # FFmpeg's muxer would put all into one packet, with one timestamp
        picture = subtitle_picture(width // 4, height // 2, 40, 8)
        packs.insert(1 + round(time_s * last), _packet(picture, start_s + time_s))
    path.write_bytes(b"".join(packs))
    return path.read_bytes()


def _packet(picture: bytes, time_s: float) -> bytes:
    """A packet of the first subtitle stream in a program stream."""
    ticks = round(time_s * 90_000)
    stamp = 0x2100010001 | (ticks & 0x1C0000000) << 3 | (ticks & 0x3FFF8000) << 2 | (ticks & 0x7FFF) << 1
    payload = b"\x81\x80\x05" + stamp.to_bytes(5, "big") + b"\x20" + picture
    return b"\0\0\1\xbd" + len(payload).to_bytes(2, "big") + payload
