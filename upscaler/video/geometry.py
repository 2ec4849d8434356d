"""From the coded to the displayed picture: pixel aspect, then rotation, then mirroring."""

import math
import struct
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from av.video.codeccontext import VideoCodecContext
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from upscaler.video.demux import MPEG_FORMATS

if TYPE_CHECKING:
    from av.sidedata.sidedata import SideData

# Formats in which the video stream declares the pixel aspect, and may change it; containers declare one.
_ASPECT_IN_STREAM = (*MPEG_FORMATS, "h264", "hevc", "mpegvideo")
_SAME_ASPECT = Fraction(1, 100)
_AXIS_TOLERANCE = 0.02  # a rotation by 1 degree more or less than a multiple of 90


@dataclass(frozen=True)
class Shape:
    """Size of a coded picture in pixels, and their aspect: width of a pixel over its height."""

    width: int
    height: int
    sample_aspect: Fraction

    def aspect(self) -> Fraction:
        """Width of the displayed picture over its height, before any rotation."""
        return self.width * self.sample_aspect / self.height

    def displayed_area(self) -> Fraction:
        """In square pixels, where the shorter side of a pixel is stretched."""
        return self.width * self.height * max(self.sample_aspect, 1 / self.sample_aspect)

    def has_aspect_of(self, other: "Shape") -> bool:
        """Whether both are displayed with the same aspect, to one percent."""
        return abs(self.aspect() / other.aspect() - 1) < _SAME_ASPECT


def aspect_of(stream: VideoStream, decoder: VideoCodecContext) -> Fraction:
    """The pixel aspect of the frame that a decoder has returned last."""
    in_stream = stream.container.format.name in _ASPECT_IN_STREAM
    return (decoder.sample_aspect_ratio if in_stream else stream.sample_aspect_ratio) or Fraction(1)


def fitted_size(shape: Shape, target: Shape, step_px: tuple[int, int]) -> tuple[int, int]:
    """The size of a picture inside another one of a different shape.

    It fills the other one if both are displayed with the same aspect, else as much as its own aspect allows.

    Args:
        shape: Of the picture.
        target: Of the one that it is put into.
        step_px: (width, height) of what cannot be divided, as chroma is subsampled.

    Returns:
        (width, height) in pixels.
    """
    if shape.has_aspect_of(target):
        return target.width, target.height
    ratio = shape.aspect() / target.aspect()
    width, height = target.width * min(ratio, Fraction(1)), target.height * min(1 / ratio, Fraction(1))
    columns, rows = step_px
    return (
        min(target.width, max(1, round(width / (2 * columns))) * 2 * columns),
        min(target.height, max(1, round(height / (2 * rows))) * 2 * rows),
    )


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """How a frame is rotated and mirrored for display, from its display matrix.

    Returns:
        Degrees counter-clockwise (0, 90, 180 or 270), and whether it is mirrored left to right after that;
        (0, False) for matrices that do something else.
    """
    try:
        data = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    except ValueError:  # av 18.1: the frame also has side data of a type unknown to it, as stereo has
        return frame.rotation % 360 if frame.rotation % 90 == 0 else 0, False
    if data is None:
        return 0, False
    # The matrix maps (x, y) to (a x + c y, b x + d y).
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(memoryview(data)))
    mirrored = a * d < b * c
    if mirrored:
        a, c = -a, -c
    diagonal, off_diagonal = max(abs(a), abs(d)), max(abs(b), abs(c))
    if min(diagonal, off_diagonal) >= _AXIS_TOLERANCE * max(diagonal, off_diagonal):
        return 0, False
    return round(math.degrees(math.atan2(-b, a)) / 90) * 90 % 360, mirrored


def coded_box(size_px: tuple[int, int], sample_aspect: Fraction, rotation: int) -> tuple[int, int]:
    """The box that coded pictures must fit into so that the displayed pictures fit into ``size_px``.

    Displayed means rotated and with square pixels, where the shorter side of a pixel is stretched.

    Args:
        size_px: (width, height) of the box for displayed pictures.
        sample_aspect: Width of a pixel over its height.
        rotation: Degrees by which the picture is rotated for display, a multiple of 90.

    Returns:
        (width, height) in coded pixels.
    """
    width, height = size_px if rotation % 180 == 0 else size_px[::-1]
    if sample_aspect > 1:
        return max(1, math.floor(width / sample_aspect)), height
    return width, max(1, math.floor(height * sample_aspect))
