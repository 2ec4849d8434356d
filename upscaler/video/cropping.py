"""Cropping: what the container declares (Matroska's PixelCrop, the clean aperture of mp4), and ``--crop``."""

import re
from dataclasses import dataclass, replace
from typing import Literal, Self

from av.video.stream import VideoStream
from torch import Tensor

from upscaler.errors import UsageError
from upscaler.video.description import description_of
from upscaler.video.yuv import Layout

Rectangle = tuple[int, int, int, int]  # width, height, first column and first row to keep, pixels
_DECLARED_BY = ("matroska", "mov")


@dataclass(frozen=True)
class Cropping:
    """Pixels to remove at each edge of the coded picture, before any rotation."""

    left: int = 0
    right: int = 0
    top: int = 0
    bottom: int = 0

    def apply(self, planes: list[Tensor], layout: Layout) -> list[Tensor]:
        """Crop the planes of a frame, without a copy.

        At the left and the top, one pixel more is kept where chroma would otherwise have to move.

        Args:
            planes: ``(h, w)`` each, any dtype and range.
            layout: Of the planes.

        Returns:
            ``(h, w)`` each, smaller by the cropping.
        """
        if self == Cropping():
            return planes
        height, width = planes[0].shape
        even, cropped = self.without_moving_chroma(layout), []
        for index, plane in enumerate(planes):
            subsampled = layout.kind == "yuv" and index in (1, 2)
            rows, columns = (layout.vertical, layout.horizontal) if subsampled else (1, 1)
            bottom, right = -(-(height - self.bottom) // rows), -(-(width - self.right) // columns)
            cropped.append(plane[even.top // rows : bottom, even.left // columns : right])
        return cropped

    def without_moving_chroma(self, layout: Layout) -> Self:
        """The same, with a pixel more kept at the left or the top where chroma would otherwise move."""
        if layout.kind != "yuv":
            return self
        left, top = self.left - self.left % layout.horizontal, self.top - self.top % layout.vertical
        return replace(self, left=left, top=top)

    def __add__(self, inner: "Cropping") -> "Cropping":
        """First this, then ``inner``."""
        return Cropping(
            left=self.left + inner.left,
            right=self.right + inner.right,
            top=self.top + inner.top,
            bottom=self.bottom + inner.bottom,
        )

    def __sub__(self, outer: "Cropping") -> "Cropping":
        """What remains to be cropped after ``outer``."""
        return Cropping(
            left=self.left - outer.left,
            right=self.right - outer.right,
            top=self.top - outer.top,
            bottom=self.bottom - outer.bottom,
        )

    def widened_to(self, other: "Cropping") -> "Cropping":
        """What this or ``other`` removes."""
        return Cropping(
            left=max(self.left, other.left),
            right=max(self.right, other.right),
            top=max(self.top, other.top),
            bottom=max(self.bottom, other.bottom),
        )

    def displayed(self, rotation: int, *, mirrored: bool) -> "Cropping":
        """The edges of the displayed picture that those of the coded one become.

        Args:
            rotation: Degrees counter-clockwise by which the picture is rotated for display.
            mirrored: Whether it is mirrored left to right after that.
        """
        turned = self
        for _ in range(rotation // 90):
            turned = Cropping(left=turned.top, right=turned.bottom, top=turned.right, bottom=turned.left)
        return turned._mirrored() if mirrored else turned

    def coded(self, rotation: int, *, mirrored: bool) -> "Cropping":
        """The inverse of ``displayed``."""
        turned = self._mirrored() if mirrored else self
        for _ in range(rotation // 90):
            turned = Cropping(left=turned.bottom, right=turned.top, top=turned.left, bottom=turned.right)
        return turned

    def _mirrored(self) -> "Cropping":
        return replace(self, left=self.right, right=self.left)


@dataclass(frozen=True)
class Picture:
    """Size of a coded picture in pixels, and how it is turned for display.

    Attributes:
        width: Of the coded picture.
        height: Likewise.
        rotation: Degrees counter-clockwise by which it is rotated.
        mirrored: Whether it is mirrored left to right after that.
    """

    width: int
    height: int
    rotation: int
    mirrored: bool

    def displayed_px(self) -> tuple[int, int]:
        """Width and height as displayed; pixels keep their aspect."""
        return (self.width, self.height) if self.rotation % 180 == 0 else (self.height, self.width)

    def cropped(self, cropping: Cropping) -> "Picture":
        """What cropping leaves of it."""
        return replace(
            self,
            width=self.width - cropping.left - cropping.right,
            height=self.height - cropping.top - cropping.bottom,
        )


def requested_cropping(
    requested: Rectangle | Literal["auto"],
    picture: Picture,
    declared: Cropping,
    bars: Cropping,
    layout: Layout,
) -> tuple[Cropping, str]:
    """What ``--crop`` removes, together with what the container declares.

    Args:
        requested: The rectangle of the displayed picture to keep; ``auto``: all but black bars.
        picture: As coded.
        declared: From ``declared_cropping``; what it leaves is displayed.
        bars: Of the coded picture.
        layout: Of its planes.

    Returns:
        The cropping, and a line about it, in the numbers that ``--crop`` takes.

    Raises:
        UsageError: The rectangle is not inside the picture.
    """
    inner = picture.cropped(declared)
    if requested == "auto":
        cropping = declared.widened_to(bars)
    else:
        edges = _edges(requested, *inner.displayed_px())
        cropping = declared + edges.coded(picture.rotation, mirrored=picture.mirrored)
        cropping = cropping.without_moving_chroma(layout)
    removed = cropping - declared
    if removed == Cropping():
        nothing = "there are no black bars to crop" if requested == "auto" else "--crop keeps everything"
        return cropping, nothing
    edges = removed.displayed(picture.rotation, mirrored=picture.mirrored)
    kept = (*inner.cropped(removed).displayed_px(), edges.left, edges.top)
    text = ":".join(map(str, kept))
    if requested == "auto":
        return cropping, f"cropping black bars: --crop {text}"
    widened = "" if kept == requested else "; at an odd edge, the pixel that shares its chroma is kept"
    return cropping, f"cropping to {text}{widened}"


def _edges(rectangle: Rectangle, width: int, height: int) -> Cropping:
    """The cropping that leaves a rectangle of a picture of this size."""
    columns, rows, left, top = rectangle
    if left + columns > width or top + rows > height:
        text = ":".join(map(str, rectangle))
        raise UsageError(f"--crop {text} is not inside the picture of {width}x{height} pixels")
    return Cropping(left=left, right=width - left - columns, top=top, bottom=height - top - rows)


def declared_cropping(stream: VideoStream) -> Cropping:
    """The cropping that players apply to a stream."""
    if not stream.container.format.name.startswith(_DECLARED_BY):
        return Cropping()
    found = re.search(r"Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)", description_of(stream))
    if not found:
        return Cropping()
    cropping = Cropping(*map(int, found.groups()))
    inside = cropping.left + cropping.right < stream.width and cropping.top + cropping.bottom < stream.height
    return cropping if inside else Cropping()
