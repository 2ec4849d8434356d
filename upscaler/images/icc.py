"""ICC profiles: which pixels a profile describes, which files can embed it, and conversion to sRGB."""

import io
from typing import Any

from PIL import Image, ImageCms

from upscaler.images.formats import ImageFormat

# Pillow's mode -> the colour space in bytes 16 to 19 of a profile (ICC.1:2022, 7.2.6).
_COLOR_SPACES = {"L": b"GRAY", "RGB": b"RGB ", "CMYK": b"CMYK", "LAB": b"Lab "}
_MAX_BYTES_IN_PNG = 1 << 20  # Pillow does not read longer ones


def describes(profile: bytes | None, mode: str) -> bool:
    """Whether a profile is made for pixels of this mode (Pillow's ``L``, ``RGB``, ``CMYK``, ``LAB``)."""
    return profile is not None and profile[16:20] == _COLOR_SPACES.get(mode)


def can_embed(profile: bytes | None, image_format: ImageFormat, mode: str) -> bool:
    """Whether a file of this format with pixels of this mode can hold the profile."""
    too_long = image_format.name == "PNG" and len(profile or b"") > _MAX_BYTES_IN_PNG
    return describes(profile, mode) and image_format.metadata and not too_long


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert an image without alpha to sRGB, mode ``RGB``.

    Relative colorimetric with black point compensation. Lab needs no profile. Without a profile, or with a
    damaged one, other modes are converted as Pillow does; CMYK is then the complement of RGB.
    """
    source: Any = None
    if describes(profile, image.mode):
        source = io.BytesIO(profile or b"")
    elif image.mode == "LAB":
        source = ImageCms.createProfile("LAB")
    flags = ImageCms.Flags.BLACKPOINTCOMPENSATION
    if image.mode == "L":  # optimised, dark values by a linear grayscale profile are 9 levels too dark
        flags |= ImageCms.Flags.NOOPTIMIZE
    if source is not None:
        try:
            converted = ImageCms.profileToProfile(
                image,
                source,
                ImageCms.createProfile("sRGB"),
                ImageCms.Intent.RELATIVE_COLORIMETRIC,
                "RGB",
                flags=flags,
            )
            if converted is not None:
                return converted
        except (ImageCms.PyCMSError, OSError, ValueError):  # a damaged profile costs the conversion only
            pass
    return image.convert("RGB")
