"""Colour profiles whose effect is known without a colour management system."""

import struct

from PIL import ImageCms

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def exchanged() -> bytes:
    """A profile whose red is sRGB's green, and the other way round."""
    return SRGB.replace(b"rXYZ", b"XXXX").replace(b"gXYZ", b"rXYZ").replace(b"XXXX", b"gXYZ")


def linear_gray() -> bytes:
    """A profile of gray whose codes are proportional to light (ICC.1:2022: 7.2, 10.6, 10.31)."""
    white = b"XYZ " + bytes(4) + struct.pack(">3i", 63190, 65536, 54061)  # D50
    curve = b"curv" + bytes(8)  # no entries: identity
    tags = struct.pack(">I4sII4sII", 2, b"wtpt", 156, len(white), b"kTRC", 156 + len(white), len(curve))
    header = bytearray(128)
    header[:4] = struct.pack(">I", 128 + len(tags) + len(white) + len(curve))
    header[8:12], header[12:24], header[36:40] = b"\x02\x10\0\0", b"mntrGRAYXYZ ", b"acsp"
    header[68:80] = white[8:]
    return bytes(header) + tags + white + curve
