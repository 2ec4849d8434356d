"""What of a source its target cannot store, in one line for the user."""

import numpy as np

from upscaler.images import exif, icc
from upscaler.images.formats import ImageFormat
from upscaler.images.metadata import Metadata, updated_xmp
from upscaler.images.png_chunks import TEXT_TYPES
from upscaler.images.still import Still


def describe_still(still: Still, image_format: ImageFormat) -> str:
    """What is not kept of an image in a target, as one line; empty if everything is."""
    return describe(
        still.metadata,
        image_format,
        gray=still.gray,
        sixteen_bit=still.pixels.dtype == np.uint16,
        transparent=still.alpha is not None and bool((still.alpha < np.iinfo(still.alpha.dtype).max).any()),
    )


def describe(
    source: Metadata,
    image_format: ImageFormat,
    *,
    gray: bool = False,
    sixteen_bit: bool = False,
    transparent: bool = False,
) -> str:
    """What is not kept in a target, as one line; empty if everything is.

    Args:
        source: Metadata of the source.
        image_format: Of the target.
        gray: Whether the source is grayscale.
        sixteen_bit: Whether the source has 16 bits per sample.
        transparent: Whether the source has alpha.
    """
    lost = list(source.dropped)
    if sixteen_bit and not image_format.sixteen_bit:
        lost.append("16 bits per sample (rounded to 8)")
    if transparent and not image_format.alpha:
        lost.append("transparency (black instead)")
    keeps_gray = image_format.gray_alpha if transparent and image_format.alpha else image_format.gray
    mode = "L" if gray and keeps_gray else "RGB"
    if source.profile and not icc.can_embed(source.profile, image_format, mode):
        lost.append("colour profile (converted to sRGB)")
    lost += _lost_metadata(source, image_format, sixteen_bit and image_format.sixteen_bit)
    return f"not kept in {image_format.suffixes[0]}: {', '.join(lost)}" if lost else ""


def _lost_metadata(source: Metadata, image_format: ImageFormat, writes_sixteen_bit: bool) -> list[str]:
    name, lost = image_format.name, []
    if name != "JPEG":
        lost += ["HDR gain map"] if source.appended.gain_map else []
        lost += ["video of the motion photo"] if source.appended.video else []
    if source.exif:
        is_written = image_format.metadata and not (name == "TIFF" and writes_sixteen_bit)
        if not is_written or exif.updated(source.exif, name, 1, 1) is None:
            lost.append("EXIF")
        elif name == "TIFF" and exif.has_subdirectories(source.exif):
            lost.append("EXIF of the exposure and GPS")
    is_xmp_kept = image_format.metadata and updated_xmp(source, name, 1, 1)
    if source.xmp and not is_xmp_kept:
        lost.append("XMP")
    if source.iptc and name != "JPEG":
        lost.append("IPTC")
    if name != "PNG" and any(kind in TEXT_TYPES for kind, _ in source.chunks):
        lost.append("texts of the PNG")
    if source.dpi and not image_format.resolution:
        lost.append("resolution in pixels per inch")
    return lost
