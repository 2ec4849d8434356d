"""Cropping that the container declares: Matroska's PixelCrop elements and the clean aperture of mp4."""

import re
from dataclasses import dataclass

from av.video.stream import VideoStream
from torch import Tensor

from upscaler.video.description import description_of
from upscaler.video.yuv import Layout

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
        top, left = self.top - self.top % layout.vertical, self.left - self.left % layout.horizontal
        cropped = []
        for index, plane in enumerate(planes):
            subsampled = layout.kind == "yuv" and index in (1, 2)
            rows, columns = (layout.vertical, layout.horizontal) if subsampled else (1, 1)
            bottom, right = -(-(height - self.bottom) // rows), -(-(width - self.right) // columns)
            cropped.append(plane[top // rows : bottom, left // columns : right])
        return cropped


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
