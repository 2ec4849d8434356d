"""Cropping that the container declares: Matroska's PixelCrop elements and the clean aperture of mp4."""

import re
from dataclasses import dataclass

import av.container
import av.logging
from av.video.stream import VideoStream
from torch import Tensor

from upscaler.video.ffmpeg_log import captured_log
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
            planes: ``(h, w)`` each, any dtype.
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


def declared_cropping(container: av.container.InputContainer, stream: VideoStream) -> Cropping:
    """The cropping that players apply to a stream.

    av 18.1 has no attribute for it, but FFmpeg's description of the file contains it.
    """
    if not container.format.name.startswith(_DECLARED_BY):
        return Cropping()
    with captured_log(av.logging.INFO):
        described = container.dumps_format()  # type: ignore[attr-defined]  # not in av's stub
    streams = re.split(r"^  Stream #0:", described, flags=re.MULTILINE)[1:]
    text = next((text for text in streams if re.match(rf"{stream.index}\b", text)), "")
    found = re.search(r"Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)", text)
    if not found:
        return Cropping()
    cropping = Cropping(*map(int, found.groups()))
    inside = cropping.left + cropping.right < stream.width and cropping.top + cropping.bottom < stream.height
    return cropping if inside else Cropping()
