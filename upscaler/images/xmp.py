"""XMP, kept as it is written except for size and orientation.

(ISO 16684-1; CIPA DC-010 names the properties taken from EXIF.)
"""

import re

_MAX_BYTES_IN_JPEG = 65_504  # what Pillow puts into a segment
# Entries that describe data behind a phone's image, which is not kept: gain maps, videos, depth maps.
_APPENDED_DATA = {
    b"hdrgm:": "HDR gain map",
    b"MicroVideo": "video of the motion photo",
    b"MotionPhoto": "video of the motion photo",
    b"GDepth:": "depth map",
    b"GImage:": "second image",
}
_ABOUT_APPENDED_DATA = (*_APPENDED_DATA, b"Container:Directory")


def appended_data(packet: bytes) -> tuple[str, ...]:
    """What is stored behind a phone's image according to its XMP packet, in words."""
    return tuple(dict.fromkeys(name for key, name in _APPENDED_DATA.items() if key in packet))


def updated(packet: bytes, format_name: str, height: int, width: int) -> bytes | None:
    """The XMP packet for the upscaled, upright image.

    Args:
        packet: Of the source.
        format_name: Pillow's name of the format to write.
        height: Of the image to write.
        width: Likewise.

    Returns:
        The packet, or ``None`` if it is too long for JPEG or describes data that is not kept.
    """
    if any(name in packet for name in _ABOUT_APPENDED_DATA):
        return None
    values = {
        "tiff:Orientation": 1,
        "tiff:ImageWidth": width,
        "tiff:ImageLength": height,
        "exif:PixelXDimension": width,
        "exif:PixelYDimension": height,
    }
    for name, value in values.items():  # written as an attribute or as an element
        packet = re.sub(rb"(\b%b\s*(?:=\s*[\"']|>\s*))\d+" % name.encode(), rb"\g<1>%d" % value, packet)
    return None if format_name == "JPEG" and len(packet) > _MAX_BYTES_IN_JPEG else packet
