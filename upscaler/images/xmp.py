"""XMP, kept as it is written except for what the upscaled image makes wrong.

Packets are edited as text: parsing and writing them again would lose what their authors rely on (order,
prefixes, padding), and fail for those that are not well-formed. (ISO 16684-1; CIPA DC-010 for what is taken
from EXIF, Photo Sphere XMP Metadata for panoramas, MWG guidelines 2.0 for marked regions.)
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

_MAX_BYTES_IN_JPEG = 65_504  # what Pillow puts into a segment
_ACROSS = (
    "GPano:FullPanoWidthPixels",
    "GPano:CroppedAreaImageWidthPixels",
    "GPano:CroppedAreaLeftPixels",
    "GPano:LargestValidInteriorRectLeft",
    "GPano:LargestValidInteriorRectWidth",
    "stDim:w",
)
_DOWN = (
    "GPano:FullPanoHeightPixels",
    "GPano:CroppedAreaImageHeightPixels",
    "GPano:CroppedAreaTopPixels",
    "GPano:LargestValidInteriorRectTop",
    "GPano:LargestValidInteriorRectHeight",
    "stDim:h",
)
_REGION_ACROSS = ("Iptc4xmpExt:rbX", "Iptc4xmpExt:rbW", "Iptc4xmpExt:rbRx")  # IPTC Photo Metadata 2023.1
_REGION_DOWN = ("Iptc4xmpExt:rbY", "Iptc4xmpExt:rbH")
_REGION_IN_PIXELS = re.compile(rb"Iptc4xmpExt:rbUnit\s*(?:=\s*[\"']|>\s*)pixel")
_GAIN_MAP = rb"hdrgm:\w+"
_VIDEO = rb"\w+:(?:MotionPhoto|MicroVideo)\w*"
# Depth maps: in the packet, and of Dynamic Depth 1.0. A reference to a second packet, which is not kept.
_DEPTH = rb"(?:GDepth|GImage):\w+|Device:\w+|xmpNote:HasExtendedXMP"
_HAS_DEPTH = re.compile(rb"<(?:GDepth|Device):\w|\sGDepth:\w+\s*=")
_PADDING = re.compile(rb"(?<!\s)\s{64,}(?=<\?xpacket\s+end)")


@dataclass(frozen=True)
class Change:
    """How the image of a packet changes.

    Attributes:
        height: Of the image to write.
        width: Likewise.
        source: Height and width of the upright source; ``None`` if they are unknown: other sizes then stay.
        gain_map_bytes: Length of the gain map that is written behind the image; 0 for none.
        video_bytes: Length of what is written behind both; 0 for none.
    """

    height: int
    width: int
    source: tuple[int, int] | None = None
    gain_map_bytes: int = 0
    video_bytes: int = 0


def has_depth_map(packet: bytes) -> bool:
    """Whether a packet holds a depth map, or describes one that is behind the image."""
    return _HAS_DEPTH.search(packet) is not None


def updated(packet: bytes, format_name: str, change: Change) -> bytes | None:
    """The packet for the upscaled, upright image.

    Sizes in pixels are multiplied. What describes data that is not kept is removed: depth maps, and gain map
    and video, if they are not written.

    Args:
        packet: Of the source.
        format_name: Pillow's name of the format to write.
        change: To the image.

    Returns:
        The packet, or ``None`` if it is too long for JPEG.
    """
    packet = _with_sizes(packet, change)
    packet = _without(packet, _DEPTH)
    if not change.gain_map_bytes:
        packet = _without(packet, _GAIN_MAP)
    if not change.video_bytes:
        packet = _without(packet, _VIDEO)
    packet = _with_directory(packet, change)
    if format_name == "JPEG" and len(packet) > _MAX_BYTES_IN_JPEG:
        packet = _PADDING.sub(b"\n", packet)
    return None if format_name == "JPEG" and len(packet) > _MAX_BYTES_IN_JPEG else packet


def _with_sizes(packet: bytes, change: Change) -> bytes:
    known = {
        "tiff:Orientation": 1,
        "tiff:ImageWidth": change.width,
        "tiff:ImageLength": change.height,
        "exif:PixelXDimension": change.width,
        "exif:PixelYDimension": change.height,
    }
    for name, value in known.items():
        packet = _number_of(name).sub(rb"\g<1>%d" % value, packet)
    if change.source is None:
        return packet
    regions = _REGION_IN_PIXELS.search(packet)
    across = _ACROSS + _REGION_ACROSS if regions else _ACROSS
    down = _DOWN + _REGION_DOWN if regions else _DOWN
    for names, factor in (
        (across, change.width / change.source[1]),
        (down, change.height / change.source[0]),
    ):
        for name in names:
            packet = _multiplied(packet, name, factor)
    return packet


def _number_of(name: str) -> re.Pattern[bytes]:
    """Finds the value of a property, written as an attribute or as an element."""
    return re.compile(rb"(\b%b\s*(?:=\s*[\"']|>\s*))(\d+(?:\.\d+)?)" % name.encode())


def _multiplied(packet: bytes, name: str, factor: float) -> bytes:
    return _number_of(name).sub(lambda match: match[1] + b"%d" % round(float(match[2]) * factor), packet)


def _elements(packet: bytes, name: bytes) -> Iterator[tuple[int, int]]:
    """Start and end of the elements whose name matches; ends at the first one that is not closed."""
    opening, offset = re.compile(rb"<(%b)(?=[\s/>])[^>]*>" % name), 0
    while found := opening.search(packet, offset):
        offset = found.end()
        if not found[0].endswith(b"/>"):
            closing = re.compile(rb"</%b\s*>" % found[1]).search(packet, offset)
            if closing is None:
                return
            offset = closing.end()
        yield found.start(), offset


def _without(packet: bytes, name: bytes) -> bytes:
    """Remove properties: elements with their content, and attributes."""
    kept, offset = [], 0
    for start, end in _elements(packet, name):
        kept.append(packet[offset:start])
        offset = end
    packet = b"".join([*kept, packet[offset:]])
    return re.sub(rb"\s(?:%b)\s*=\s*(?:\"[^\"]*\"|'[^']*')" % name, b"", packet)


def _with_directory(packet: bytes, change: Change) -> bytes:
    """The packet with the items in its container directory that are written, in the order of the file."""
    for start, end in _elements(packet, rb"\w+:Directory"):
        return packet[:start] + _updated_directory(packet[start:end], change) + packet[end:]
    return packet


def _updated_directory(directory: bytes, change: Change) -> bytes:
    spans = list(_elements(directory, rb"rdf:li"))
    items = {_semantic(directory[start:end]): directory[start:end] for start, end in spans}
    primary, gain_map, video = (items.get(name) for name in (b"Primary", b"GainMap", b"MotionPhoto"))
    kept = []
    if change.gain_map_bytes and gain_map:
        kept.append(_with_length(gain_map, change.gain_map_bytes))
    if change.video_bytes and video:
        kept.append(video)  # of unchanged length, at the end of the file
    if not primary or not kept:
        return b""
    # Bytes between the first image and the next item (Motion Photo Format 1.0: only the first item has them).
    gap = 0 if change.gain_map_bytes else max(0, change.video_bytes - _length(video or b""))
    primary = re.sub(rb"(:Padding\s*(?:=\s*[\"']|>\s*))\d+", rb"\g<1>%d" % gap, primary)
    return directory[: spans[0][0]] + b"".join([primary, *kept]) + directory[spans[-1][1] :]


def _semantic(item: bytes) -> bytes:
    found = re.search(rb":Semantic\s*(?:=\s*[\"']|>\s*)(\w+)", item)
    return found[1] if found else b""


def _length(item: bytes) -> int:
    found = re.search(rb":Length\s*(?:=\s*[\"']|>\s*)(\d+)", item)
    return int(found[1]) if found else 0


def _with_length(item: bytes, length: int) -> bytes:
    changed, count = re.subn(rb"(:Length\s*(?:=\s*[\"']|>\s*))\d+", rb"\g<1>%d" % length, item)
    if count:
        return changed
    return re.sub(rb"(\s(\w+):Semantic\b)", rb' \g<2>:Length="%d"\g<1>' % length, item, count=1)
