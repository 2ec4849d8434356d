"""JPEG files as phones make them: with a gain map, with a video behind the image, with a depth map."""

import io
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image
from support.pictures import photograph

XMP_PREFIX = b"http://ns.adobe.com/xap/1.0/\0"
ISO_URN = b"urn:iso:std:iso:ts:21496:-1\0"
# Of a gain map of one channel, and of three.
GAINS = {1: ([-0.5], [2.5], [1.0]), 3: ([-0.5, 0.0, 0.25], [2.5, 2.0, 1.5], [1.0, 0.8, 1.25])}
OFFSET = 1 / 64
VIDEO = struct.pack(">I8sI8s", 24, b"ftypmp42", 0, b"mp42isom") + bytes(range(256)) * 9
NAMESPACES = (
    b'xmlns:dc="http://purl.org/dc/elements/1.1/" '
    b'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/" '
    b'xmlns:Container="http://ns.google.com/photos/1.0/container/" '
    b'xmlns:Item="http://ns.google.com/photos/1.0/container/item/" '
    b'xmlns:GCamera="http://ns.google.com/photos/1.0/camera/" '
    b'xmlns:GDepth="http://ns.google.com/photos/1.0/depthmap/" '
    b'xmlns:GPano="http://ns.google.com/photos/1.0/panorama/" '
    b'xmlns:xmp="http://ns.adobe.com/xap/1.0/" '
)


def packet(attributes: bytes, elements: bytes = b"") -> bytes:
    """An XMP packet with properties."""
    return (
        b'<x:xmpmeta xmlns:x="adobe:ns:meta/">'
        b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        b'<rdf:Description rdf:about="" ' + NAMESPACES + attributes + b">" + elements + b"</rdf:Description>"
        b"</rdf:RDF></x:xmpmeta>"
    )


def segment(marker: int, data: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, 2 + len(data)) + data


def directory(*items: tuple[str, int]) -> bytes:
    """A container directory of items with semantic and length; the first is the image itself."""
    listed = b""
    for semantic, length in items:
        mime = b"video/mp4" if semantic == "MotionPhoto" else b"image/jpeg"
        size = b' Item:Length="%d"' % length if length else b' Item:Padding="0"'
        listed += (
            b'<rdf:li rdf:parseType="Resource"><Container:Item Item:Semantic="%b" Item:Mime="%b"%b/>'
            % (
                semantic.encode(),
                mime,
                size,
            )
        )
        listed += b"</rdf:li>"
    return b"<Container:Directory><rdf:Seq>" + listed + b"</rdf:Seq></Container:Directory>"


def jpeg(pixels: NDArray[Any], segments: bytes = b"", **arguments: object) -> bytes:
    output = io.BytesIO()
    Image.fromarray(pixels).save(output, "JPEG", quality=97, subsampling=0, extra=segments, **arguments)
    return output.getvalue()


def gain_pixels(height: int, width: int, channels: int) -> NDArray[np.uint8]:
    """A smooth gain map."""
    rows, columns = np.mgrid[0:height, 0:width]
    planes = [127 + 100 * np.sin(rows / 5 + columns / (4 + channel)) for channel in range(channels)]
    return np.dstack(planes).astype(np.uint8).squeeze()


def gain_map(height: int, width: int, channels: int) -> bytes:
    """A gain map with its metadata as XMP and as ISO 21496-1."""
    minimum, maximum, gamma = GAINS[channels]

    def values(name: str, numbers: Sequence[float]) -> bytes:
        listed = "".join(f"<rdf:li>{number}</rdf:li>" for number in numbers)
        return f"<hdrgm:{name}><rdf:Seq>{listed}</rdf:Seq></hdrgm:{name}>".encode()

    elements = values("GainMapMin", minimum) + values("GainMapMax", maximum) + values("Gamma", gamma)
    attributes = f'hdrgm:Version="1.0" hdrgm:OffsetSDR="{OFFSET}" hdrgm:OffsetHDR="{OFFSET}" '
    attributes += 'hdrgm:HDRCapacityMin="0" hdrgm:HDRCapacityMax="2.5" hdrgm:BaseRenditionIsHDR="False"'
    iso = struct.pack(">HHB4I", 0, 0, 0x80 if channels == 3 else 0, 0, 1, 25, 10)
    for number in range(channels):
        for value in (minimum[number], maximum[number], gamma[number], OFFSET, OFFSET):
            iso += struct.pack(">iI", round(value * 6400), 6400)
    segments = segment(0xE1, XMP_PREFIX + packet(attributes.encode(), elements))
    return jpeg(gain_pixels(height, width, channels), segments + segment(0xE2, ISO_URN + iso))


def indexed(first: bytes, at: int, second: bytes) -> bytes:
    """Two images with an index (MPF, big-endian) in the first one at an offset."""

    def index(first_bytes: int) -> bytes:
        entries = struct.pack(">IIIHH", 0x030000, first_bytes, 0, 0, 0)
        entries += struct.pack(">IIIHH", 0, len(second), first_bytes - at - 8, 0, 0)
        rows = struct.pack(">HHI4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHII", 0xB001, 4, 1, 2)
        rows += struct.pack(">HHII", 0xB002, 7, 32, 50)
        return segment(0xE2, b"MPF\0MM\0*" + struct.pack(">IH", 8, 3) + rows + bytes(4) + entries)

    return first[:at] + index(len(first) + len(index(len(first)))) + first[at:] + second


def ultra_hdr(
    height: int = 48,
    width: int = 64,
    channels: int = 1,
    video: bytes = b"",
    orientation: int = 1,
    attributes: bytes = b"",
    kinds: str = "xmp iso",
) -> bytes:
    """An image with a gain map of a quarter of its size per side, and a video behind both."""
    second = gain_map(height // 4, width // 4, channels)
    motion = b'GCamera:MotionPhoto="1" GCamera:MotionPhotoPresentationTimestampUs="500000" ' if video else b""
    items = [("Primary", 0), ("GainMap", len(second))] + ([("MotionPhoto", len(video))] if video else [])
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Maker"
    exif[ExifTags.Base.Orientation] = orientation
    described = packet(b'hdrgm:Version="1.0" ' + motion + attributes, directory(*items))
    segments = segment(0xE2, ISO_URN + bytes(4)) if "iso" in kinds else b""
    arguments = {"xmp": described} if "xmp" in kinds else {}
    first = jpeg(photograph(height, width), segments, exif=exif, **arguments)
    at = first.index(b"\xff\xdb")  # the first quantization table
    return indexed(first, at, second) + video
