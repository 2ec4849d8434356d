"""ICC profiles: which pixels a profile describes, which files can embed it, and conversion to sRGB."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
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


def gray_to_srgb(gray: NDArray[np.uint16], profile: bytes | None) -> NDArray[np.uint16]:
    """Convert 16-bit grayscale to the gray of sRGB by a grayscale profile.

    Pillow converts 8 bits only, so light between its 256 values is interpolated; the result is accurate to
    about one 8-bit level.

    Args:
        gray: ``(H, W)`` uint16 codes.
        profile: One that describes ``L``.

    Returns:
        ``(H, W)`` uint16.
    """
    codes = np.arange(256, dtype=np.uint8)
    srgb = np.asarray(to_srgb(Image.fromarray(codes[None]), profile))[0, :, 1] / 255
    # IEC 61966-2-1; without this detour through light, dark values of linear profiles would be far off.
    light_of_codes = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    light = np.interp(gray, codes * 257.0, light_of_codes)
    encoded: NDArray[np.float64] = np.where(
        light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055
    )
    return np.rint(encoded * 65_535).astype(np.uint16)


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
