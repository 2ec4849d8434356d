"""How a coded picture is shown: its pixels widened, then turned, then mirrored."""

import math
import struct
from fractions import Fraction
from typing import TYPE_CHECKING, cast

from av.video.frame import VideoFrame

if TYPE_CHECKING:
    from av.sidedata.sidedata import SideData

# Kinds of side data.
_VIEWS = {"SPHERICAL": "a 360 degree video", "STEREO3D": "of two views in a frame, for 3D"}
_ALMOST = 0.02  # turned by 1 degree more or less


def orientation(frame: VideoFrame) -> tuple[int, bool]:
    """How a frame is to be shown, by its display matrix.

    Returns:
        Degrees counter-clockwise (0, 90, 180 or 270), and whether it is mirrored left to right after that;
        (0, False) for matrices that do something else.
    """
    try:
        data = cast("SideData | None", frame.side_data.get("DISPLAYMATRIX"))
    except ValueError:  # av 18.1, at side data of another type that it does not know, as stereo has it
        return frame.rotation % 360 if frame.rotation % 90 == 0 else 0, False
    if data is None:
        return 0, False
    # (x, y) is shown at (a x + c y, b x + d y).
    a, b, _, c, d, *_ = struct.unpack("=9i", bytes(memoryview(data)))
    mirrored = a * d < b * c
    if mirrored:
        a, c = -a, -c
    straight, across = max(abs(a), abs(d)), max(abs(b), abs(c))
    if min(straight, across) >= _ALMOST * max(straight, across):
        return 0, False
    return round(math.degrees(math.atan2(-b, a)) / 90) * 90 % 360, mirrored


def views_lost(frame: VideoFrame) -> list[str]:
    """What a frame says of how it is to be looked at, and av cannot write; one line each."""
    try:
        data = {kind: cast("SideData | None", frame.side_data.get(kind)) for kind in _VIEWS}
    except ValueError:  # av 18.1, as above
        return []
    flat = bytes(4)  # the number of FFmpeg's AV_STEREO3D_2D
    found = [
        kind
        for kind, item in data.items()
        if item is not None and (kind != "STEREO3D" or bytes(memoryview(item))[:4] != flat)
    ]
    return [f"it is {_VIEWS[kind]}: the new file does not say so" for kind in found]


def coded_box(size_px: tuple[int, int], sample_aspect: Fraction, rotation: int) -> tuple[int, int]:
    """The box into which coded pictures must fit so that they fit into another as they are shown.

    Shown with square pixels, that is: the shorter sides of others stretched, none shrunk.

    Args:
        size_px: (width, height) of the box for what is shown.
        sample_aspect: Width of a pixel over its height.
        rotation: Degrees by which the picture is turned, a multiple of 90.

    Returns:
        (width, height), pixels as they are coded.
    """
    width, height = size_px if rotation % 180 == 0 else size_px[::-1]
    if sample_aspect > 1:
        return max(1, math.floor(width / sample_aspect)), height
    return width, max(1, math.floor(height * sample_aspect))
