"""Closed captions inside the video (CEA-608 and CEA-708): from decoded frames into encoded ones.

They are written as in broadcasts, after ATSC A/53 part 4 (H.264) and SCTE 128: a message of supplemental
enhancement information (SEI) in each access unit. The encoders behind av write none, because av cannot attach
side data to a frame.
"""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from av.packet import Packet
from av.stream import Stream
from av.video.frame import VideoFrame

if TYPE_CHECKING:  # they load torch, which the helper process of `probe` does without
    from upscaler.scenes import InContext
    from upscaler.video.info import Frame

CODECS = ("h264", "hevc")  # whose packets take captions
# Codecs of which FFmpeg decodes captions.
_SOURCES = ("mpeg2video", "h264", "hevc", "av1")
_USER_DATA_OF_ATSC = b"\xb5\x00\x31GA94\x03"  # country, provider, kind of user data: cc_data
_USER_DATA_REGISTERED = 4  # type of SEI message
_BYTES_PER_CONSTRUCT, _CONSTRUCTS_MAX = 3, 31
_IS_VALID = 4  # bit in a construct's first byte; without it, the construct only fills the rate
_START_CODE = b"\0\0\1"
# Header of a NAL unit that contains SEI before the picture.
_SEI_HEADER = {"h264": b"\x06", "hevc": b"\x4e\x01"}


def captions_of(frame: VideoFrame, codec: str) -> bytes:
    """The captions of a frame: constructs of 3 bytes (``cc_data_pkt`` of CEA-708); empty if it has none.

    Args:
        frame: As decoded.
        codec: FFmpeg's name of its codec.
    """
    if codec not in _SOURCES:
        return b""
    try:
        data = frame.side_data.get("A53_CC")
    except ValueError:  # av 18.1: the frame also has side data of a type unknown to it
        return b""
    return bytes(memoryview(data)) if data is not None else b""  # type: ignore[arg-type]


class WaitingCaptions:
    """Captions of decoded frames, until a frame that is upscaled takes them.

    Deinterlacing doubles some frames and leaves out others: their captions come once, with the next frame.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[int, bytes]] = deque()
        self._rest = b""

    def add(self, pts: int, captions: bytes) -> None:
        """Add those of a decoded frame."""
        if captions:
            self._waiting.append((pts, captions))

    def take(self, pts: int) -> bytes:
        """Those of all frames up to a PTS, as many as a frame can carry."""
        found = [self._rest] if self._rest else []
        while self._waiting and self._waiting[0][0] <= pts:
            found.append(self._waiting.popleft()[1])
        captions = b"".join(found if len(found) < 2 else map(_without_padding, found))
        most = _BYTES_PER_CONSTRUCT * _CONSTRUCTS_MAX
        self._rest = captions[most:]
        return captions[:most]


def _without_padding(captions: bytes) -> bytes:
    constructs = (
        captions[at : at + _BYTES_PER_CONSTRUCT] for at in range(0, len(captions), _BYTES_PER_CONSTRUCT)
    )
    return b"".join(each for each in constructs if each[0] & _IS_VALID)


def with_noted_captions(
    frames: "Iterable[InContext[Frame]]", captions: dict[int, bytes]
) -> "Iterator[InContext[Frame]]":
    """The same frames, whose captions are added to a mapping from PTS."""
    for seen in frames:
        if seen.frame.captions:
            captions[seen.frame.pts] = seen.frame.captions
        yield seen


def with_captions(packet: "Packet[Stream]", captions: bytes, codec: str) -> "Packet[Stream]":
    """The packet with captions before its first slice.

    Args:
        packet: From an encoder, with start codes.
        captions: From ``captions_of``.
        codec: One of ``CODECS``.
    """
    content = bytes(packet)
    at = _first_slice(content, codec)
    message = b"\0" + _START_CODE + _sei(captions, codec)
    changed: Packet[Stream] = Packet(content[:at] + message + content[at:])
    changed.pts, changed.dts, changed.duration = packet.pts, packet.dts, packet.duration
    changed.time_base, changed.stream = packet.time_base, packet.stream
    changed.is_keyframe = packet.is_keyframe
    return changed


def _first_slice(content: bytes, codec: str) -> int:
    """Where the start code of the first slice begins."""
    for found in re.finditer(rb"\x00?\x00\x00\x01", content):
        header = content[found.end()]
        is_slice = header & 0x1F in (1, 2, 5) if codec == "h264" else header >> 1 & 0x3F < 32
        if is_slice:
            return found.start()
    return 0


def _sei(captions: bytes, codec: str) -> bytes:
    """A NAL unit with captions, without its start code."""
    constructs = min(len(captions) // _BYTES_PER_CONSTRUCT, _CONSTRUCTS_MAX)
    payload = _USER_DATA_OF_ATSC + bytes([0xC0 | constructs, 0xFF])
    payload += captions[: constructs * _BYTES_PER_CONSTRUCT] + b"\xff"
    unit = bytes([_USER_DATA_REGISTERED, len(payload)]) + payload + b"\x80"
    # Nothing inside a NAL unit may look like a start code.
    return _SEI_HEADER[codec] + re.sub(rb"\x00\x00(?=[\x00-\x03])", b"\0\0\3", unit)
