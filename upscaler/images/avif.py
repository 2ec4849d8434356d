"""Colours and bit depth of an AVIF: Pillow decodes every file to 8 bits and ignores its colour codes.

(ISO/IEC 23008-12 and 14496-12 for the boxes, H.273 for the codes, AV1-ISOBMFF 2.3 for the bit depth.)
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from upscaler.color_matrices import Matrix, luma_weights
from upscaler.images.cicp import CodePoints
from upscaler.images.metadata import Metadata

_MAX_HEADER_BYTES = 1 << 20
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # box -> bytes before its first child
_TONE_MAP = b"tmap"  # a brand: the file has a gain map
_FULL_RANGE = 2  # FFmpeg's code
_RGB_MATRIX = 0  # MatrixCoefficients of H.273: the planes are G, B and R
# MatrixCoefficients of H.273; others are taken for BT.601, AVIF's default.
_MATRICES: dict[int, Matrix] = {1: "bt709", 9: "bt2020"}


@dataclass(frozen=True)
class AvifColor:
    """What an AVIF says about its samples.

    Attributes:
        codes: Primaries and transfer.
        bits: Per sample.
        has_gain_map: Whether there is a second rendition for HDR screens.
    """

    codes: CodePoints = field(default_factory=CodePoints)
    bits: int = 8
    has_gain_map: bool = False

    def added_to(self, metadata: Metadata) -> Metadata:
        """The metadata with the codes, and with what is lost when the image is decoded to 8 bits."""
        lost = [f"{self.bits} bits per sample (decoded to 8)"] if self.bits > 8 else []
        lost += ["HDR gain map"] if self.has_gain_map else []
        is_srgb = not self.codes.wide_gamut and not self.codes.hdr
        codes = None if is_srgb or metadata.profile else self.codes
        return replace(metadata, codes=codes, dropped=(*lost, *metadata.dropped))


def read_color(path: Path) -> AvifColor:
    """The colours of a file's image; unspecified where the file says nothing or cannot be parsed."""
    color = AvifColor()
    try:
        with path.open("rb") as file:
            header = file.read(_MAX_HEADER_BYTES)
        for kind, content in _boxes(header):
            if kind == b"ftyp":
                color = replace(color, has_gain_map=_TONE_MAP in content)
            elif kind == b"colr" and content[:4] == b"nclx" and color.codes == CodePoints():
                color = replace(color, codes=CodePoints(*struct.unpack_from(">HH", content, 4)))
            elif kind == b"av1C":
                high, twelve = content[2] & 0x40, content[2] & 0x20
                color = replace(color, bits=max(color.bits, 12 if high and twelve else 10 if high else 8))
    except (OSError, struct.error, IndexError):
        pass
    return color


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All boxes in file order, those within containers included."""
    offset = 0
    while offset + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, offset)
        if size < 8:  # to the end of the file, or a 64-bit size: image data
            return
        box = content[offset + 8 : offset + size]
        yield kind, box
        if kind in _CONTAINERS:
            yield from _boxes(box[_CONTAINERS[kind] :])
        offset += size


def decode_deep(
    path: Path, height: int, width: int
) -> tuple[NDArray[np.uint16], NDArray[np.uint16] | None] | None:
    """Decode a still with 10 or 12 bits by FFmpeg.

    Args:
        path: Its file.
        height: Of the image as Pillow decodes it.
        width: Likewise.

    Returns:
        RGB ``(H, W, 3)`` and alpha ``(H, W)`` or ``None``, uint16 over the full range, as stored: orientation
        is still to be applied. ``None`` for what FFmpeg decodes otherwise than Pillow.
    """
    try:
        with path.open("rb") as file, av.open(file, format="mov") as container:
            assert isinstance(container, InputContainer), "opened for reading"
            frames = _first_frames(container)
    except (av.error.FFmpegError, OSError):
        return None
    if not 1 <= len(frames) <= 2 or any((frame.height, frame.width) != (height, width) for frame in frames):
        return None
    rgb = _rgb(frames[0])
    if rgb is None:
        return None
    return rgb, _codes(_planes(frames[1])[0]) if len(frames) == 2 else None


def _first_frames(container: InputContainer) -> list[VideoFrame]:
    """One of each stream: the colours, and alpha if there is any."""
    frames: dict[int, VideoFrame] = {}
    for packet in container.demux(container.streams.video):
        for frame in packet.decode():
            assert isinstance(frame, VideoFrame), "of a video stream"
            frames.setdefault(packet.stream.index, frame)
    return [frames[index] for index in sorted(frames)]


def _rgb(frame: VideoFrame) -> NDArray[np.uint16] | None:
    """``(H, W, 3)``; ``None`` for an unknown layout."""
    planes = _planes(frame)
    if len(planes) == 1:
        return np.repeat(_codes(planes[0])[:, :, None], 3, axis=2)
    if len(planes) != 3:
        return None
    if frame.colorspace == _RGB_MATRIX:
        green, blue, red = planes  # the order of FFmpeg's gbrp too
        return _codes(np.dstack([red, green, blue]))
    height, width = planes[0].shape
    # Chroma is sited in the middle of its luma samples, as `resize` takes it: AVIF mostly leaves it unknown.
    blue_difference, red_difference = (
        cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR) - np.float32(0.5)
        for plane in planes[1:]
    )
    weight_of_red, weight_of_green, weight_of_blue = luma_weights(_MATRICES.get(frame.colorspace, "bt601"))
    red = planes[0] + 2 * (1 - weight_of_red) * red_difference
    blue = planes[0] + 2 * (1 - weight_of_blue) * blue_difference
    green = (planes[0] - weight_of_red * red - weight_of_blue * blue) / weight_of_green
    return _codes(np.dstack([red, green, blue]))


def _planes(frame: VideoFrame) -> list[NDArray[np.float32]]:
    """The planes as floats: luma in [0, 1], chroma around 0.5."""
    bits = max(component.bits for component in frame.format.components)
    peak = 2**bits - 1
    found = []
    for number, plane in enumerate(frame.planes):
        rows: Any = np.frombuffer(memoryview(plane), np.uint16 if bits > 8 else np.uint8)
        rows = rows.reshape(plane.height, -1)[:, : plane.width].astype(np.float32)
        is_chroma = number > 0 and frame.colorspace != _RGB_MATRIX
        if frame.color_range == _FULL_RANGE:
            offset, span = (2 ** (bits - 1) - peak / 2, peak) if is_chroma else (0, peak)
        else:
            offset, span = (16 * 2 ** (bits - 8), (224 if is_chroma else 219) * 2 ** (bits - 8))
        found.append((rows - offset) / span)
    return found


def _codes(values: NDArray[np.float32]) -> NDArray[np.uint16]:
    codes: NDArray[np.uint16] = np.rint(values.clip(0, 1) * 65_535).astype(np.uint16)
    return codes
