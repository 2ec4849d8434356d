"""HDR gain maps of JPEG: a small second image that says how much brighter each pixel is on an HDR screen.

Three kinds, told apart by segments of the second image: Ultra HDR (Android's Ultra HDR Image Format v1.1; XMP
with ``hdrgm``), ISO 21496-1 (an APP2 segment with its URN), and Apple's (XMP with the type of an auxiliary
image; the headroom is in the maker notes of the first image). The segments hold for the enlarged map too,
because none of them depends on its size.
"""

import io
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from PIL import Image

from upscaler.images.jpeg_file import APP1, APP2, Segment, segments
from upscaler.images.orientation import apply_orientation
from upscaler.pixels import Pixels

ISO_URN = b"urn:iso:std:iso:ts:21496:-1\0"
XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
_ULTRA_HDR = b"http://ns.adobe.com/hdr-gain-map/1.0/"
APPLE = b"urn:com:apple:photo:2020:aux:hdrgainmap"
_ICC_PREFIX = b"ICC_PROFILE\0"
_QUALITY = 95


@dataclass(frozen=True)
class GainMap:
    """A gain map, upright.

    Attributes:
        pixels: ``(H, W)`` or ``(H, W, 3)`` uint8 in 0..255: encoded logarithms of the gain, of all channels
            or in the order RGB.
        segments: How they are decoded and applied, byte for byte.
        declaration: The segment of the first image that says that there is a gain map as in ISO 21496-1, or
            none.
    """

    pixels: Pixels
    segments: tuple[Segment, ...]
    declaration: tuple[Segment, ...] = ()

    def encoded(self, vertical: float, horizontal: float) -> bytes:
        """The map enlarged by two factors, as a JPEG image; interpolated as viewers do it."""
        height, width = self.pixels.shape[:2]
        size = max(1, round(width * horizontal)), max(1, round(height * vertical))
        enlarged = Image.fromarray(self.pixels).resize(size, Image.Resampling.BILINEAR)
        extra = b"".join(segment.packed() for segment in self.segments)
        output = io.BytesIO()
        enlarged.save(output, "JPEG", quality=_QUALITY, subsampling=0, extra=extra)
        return output.getvalue()

    def upright(self, orientation: int) -> Self:
        """The map turned like the image that it belongs to (Ultra HDR 1.1, "Orientation")."""
        return replace(self, pixels=apply_orientation(self.pixels, orientation))


def find(images: list[bytes], first: list[Segment]) -> GainMap | None:
    """The gain map among the images behind the first one of a file.

    Args:
        images: JPEG images.
        first: The segments of the first image.

    Returns:
        As stored; ``None`` if there is none, or none that can be decoded.
    """
    for image in images:
        described = segments(image)
        if any(describes(segment) for segment in described):
            try:
                pixels = _decoded(image)
            except Exception:  # decoders raise whatever damage leads them to
                return None
            declaration = tuple(
                each for each in first if each.marker == APP2 and each.data.startswith(ISO_URN)
            )
            return GainMap(pixels, tuple(each for each in described if _is_kept(each)), declaration)
    return None


def describes(segment: Segment) -> bool:
    """Whether a segment of an image says that the image is a gain map."""
    data = segment.data
    if segment.marker == APP1 and data.startswith(XMP_PREFIX):
        return _ULTRA_HDR in data or APPLE in data
    return segment.marker == APP2 and data.startswith(ISO_URN)


def apple_segment() -> Segment:
    """The segment by which a JPEG image is known as a gain map of Apple's, version 1.0."""
    packet = (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" xmlns:apdi="http://ns.apple.com/pixeldatainfo/1.0/"'
        b' xmlns:HDRGainMap="http://ns.apple.com/HDRGainMap/1.0/" apdi:AuxiliaryImageType="' + APPLE + b'"'
        b' HDRGainMap:HDRGainMapVersion="65536"/></rdf:RDF></x:xmpmeta>'
    )
    return Segment(APP1, XMP_PREFIX + packet)


def _is_kept(segment: Segment) -> bool:
    kept = {APP1: (XMP_PREFIX,), APP2: (ISO_URN, _ICC_PREFIX)}
    return segment.data.startswith(kept.get(segment.marker, ()))


def _decoded(jpeg: bytes) -> Pixels:
    with Image.open(io.BytesIO(jpeg), formats=["JPEG"]) as image:
        pixels: Any = np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
    return pixels  # type: ignore[no-any-return]
