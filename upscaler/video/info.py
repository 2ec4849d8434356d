"""What is known of a video, of a decoded frame, and of the part of the video that is upscaled."""

from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from upscaler.video.geometry import Shape
from upscaler.video.hdr import Hdr
from upscaler.video.projections import FLAT, Projection
from upscaler.video.yuv import Layout


@dataclass(frozen=True)
class ColorTags:
    """The colour description of a file, as H.273 codes; 2 means unspecified.

    ``matrix`` and ``full_range`` are never unspecified: for an untagged file they are the usual guess, and
    the output is tagged with what was used.
    """

    matrix: int
    primaries: int
    transfer: int
    full_range: bool


@dataclass(frozen=True)
class Frame:
    """One decoded frame.

    Attributes:
        planes: ``(h, w)`` each, ``layout.dtype``, full code range; see ``yuv.Layout`` for their order.
        pts: In units of the video's time base, counted from the start of the file.
        layout: How the planes encode colour.
        sample_aspect: Width of a pixel over its height.
        captions: Closed captions; see ``captions.captions_of``.
    """

    planes: list[Tensor]
    pts: int
    layout: Layout
    sample_aspect: Fraction = Fraction(1)
    captions: bytes = b""

    @property
    def shape(self) -> Shape:
        """Size and pixel aspect."""
        height, width = self.planes[0].shape
        return Shape(width, height, self.sample_aspect)


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video before its second frame is upscaled.

    Attributes:
        width: Of the picture after cropping and before any rotation, pixels. If it changes in mid-video, of
            the shape that the video is planned for; likewise ``sample_aspect``.
        height: Likewise.
        time_base: Unit of every PTS, seconds.
        rate: Frames per second, for rate control and headers only; never used to compute times.
        frames: The count that the file declares, or an estimate from its duration; 0 when unknown.
        sample_aspect: Width of a pixel over its height.
        rotation: Degrees counter-clockwise by which the picture is rotated for display: 0, 90, 180 or 270.
        mirrored: Whether it is mirrored left to right after that.
        layout: How the first frame's planes encode colour.
        chapters: Number of chapters.
        colors: Tags to write into the output.
        hdr: HDR metadata, where the transfer function is an HDR one.
        projection: How pixels are meant to be seen: 360 degrees, 3D.
    """

    width: int
    height: int
    time_base: Fraction
    rate: Fraction
    frames: int
    sample_aspect: Fraction
    rotation: int
    mirrored: bool
    layout: Layout
    chapters: int
    colors: ColorTags
    hdr: Hdr | None
    projection: Projection = FLAT

    @property
    def shape(self) -> Shape:
        """Size and pixel aspect."""
        return Shape(self.width, self.height, self.sample_aspect)


@dataclass(frozen=True)
class Window:
    """The part of the source that is upscaled, seconds from the start of the file.

    Attributes:
        start_s: Time of the first frame.
        stop_s: End of the last frame.
    """

    start_s: Fraction
    stop_s: Fraction

    def output_start_s(self, *, cut: bool) -> Fraction:
        """Time in the source at which the output begins.

        Args:
            cut: Whether the output contains this part only. Otherwise it begins where the source does, or at
                the first frame, which may be earlier: a stream that was cut at a key frame may start with
                frames that are shown before it.
        """
        return self.start_s if cut else min(Fraction(0), self.start_s)
