"""What phones append to a JPEG: the gain map of an HDR image, the video of a motion photo.

Both are kept from JPEG to JPEG. Other images behind the first one (a second view, a depth map, a preview) are
not; their names are returned, for the user. (Motion Photo Format 1.0; Ultra HDR Image Format 1.1.)
"""

from dataclasses import dataclass
from pathlib import Path

from upscaler.images import gain_map, mpf
from upscaler.images.gain_map import GainMap
from upscaler.images.jpeg_file import (
    Segment,
    end_of_application_segments,
    end_of_image,
    images_behind,
    segments,
)

_VIDEO = b"ftyp"  # the first box of an MP4 (ISO/IEC 14496-12)
_DEPTH = (b"depth", b"Depth", b"disparity", b"GImage:")
_EXTENDED_XMP_PREFIX = b"http://ns.adobe.com/xmp/extension/\0"


@dataclass(frozen=True)
class Appended:
    """What follows an image in its file.

    Attributes:
        gain_map: Upright, or ``None``.
        video: The video, byte for byte, with whatever its maker put around it; empty if there is none. XMP
            states its place as a distance from the end of the file, which stays the same.
        dropped: What else there is, in words.
    """

    gain_map: GainMap | None = None
    video: bytes = b""
    dropped: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return self.gain_map is not None or bool(self.video)


def read(path: Path, orientation: int) -> Appended:
    """What is behind the first image of a JPEG.

    Args:
        path: Its file.
        orientation: Of the first image, which holds for its gain map too.
    """
    try:
        content = path.read_bytes()
    except OSError:  # removed since it was read
        return Appended()
    end = end_of_image(content)
    if end is None:
        return Appended()
    first = segments(content)
    images, rest = images_behind(content, end, mpf.starts(content[:end]))
    found = gain_map.find(images, first)
    video = rest if _VIDEO in rest else b""
    return Appended(
        gain_map=found.upright(orientation) if found else None,
        video=video,
        dropped=_dropped(images, b"" if video else rest, first, has_gain_map=found is not None),
    )


def _dropped(
    images: list[bytes], rest: bytes, first: list[Segment], *, has_gain_map: bool
) -> tuple[str, ...]:
    names = []
    for image in images:
        described = segments(image)
        if any(gain_map.describes(segment) for segment in described):
            names += [] if has_gain_map else ["HDR gain map"]
        else:
            is_depth = any(word in segment.data for segment in described for word in _DEPTH)
            names.append("depth map" if is_depth else "further images")
    if any(segment.data.startswith(_EXTENDED_XMP_PREFIX) for segment in first):
        names.append("extended XMP")
    if rest.strip(b"\0"):
        names.append("data behind the image")
    return tuple(dict.fromkeys(names))


def joined(jpeg: bytes, appended: Appended, gain_map_jpeg: bytes) -> bytes:
    """The upscaled image followed by its gain map and video, indexed so that viewers find the map.

    Args:
        jpeg: The upscaled image.
        appended: Of the source.
        gain_map_jpeg: Its gain map, as from ``GainMap.encoded``; empty if it has none.
    """
    if appended.gain_map:
        declaration = b"".join(segment.packed() for segment in appended.gain_map.declaration)
        at = end_of_application_segments(jpeg)
        jpeg = mpf.with_index(jpeg[:at] + declaration + jpeg[at:], [gain_map_jpeg])
    return jpeg + appended.video
