"""XMP goes along as it was written, but for what would no longer be true.

(ISO 16684-1; CIPA DC-010 has the names of what EXIF says.)
"""

import re

_LONGEST_IN_JPEG = 65_504  # bytes that Pillow puts into a segment
# What lies behind a phone's picture, and is left there: gain maps, short films, depth.
_OF_OTHER_PARTS = (b"hdrgm:", b"Container:Directory", b"MicroVideo", b"MotionPhoto", b"GDepth:", b"GImage:")


def for_picture(packet: bytes, form: str, height: int, width: int) -> bytes | None:
    """The XMP for an upright picture of this size, in this format (Pillow's name of it).

    ``None`` where it is too long for JPEG, or says where other parts of the source's file are.
    """
    if any(name in packet for name in _OF_OTHER_PARTS):
        return None
    values = {
        "tiff:Orientation": 1,
        "tiff:ImageWidth": width,
        "tiff:ImageLength": height,
        "exif:PixelXDimension": width,
        "exif:PixelYDimension": height,
    }
    for name, value in values.items():  # as an attribute, or as an element
        packet = re.sub(rb"(\b%b\s*(?:=\s*[\"']|>\s*))\d+" % name.encode(), rb"\g<1>%d" % value, packet)
    return None if form == "JPEG" and len(packet) > _LONGEST_IN_JPEG else packet
