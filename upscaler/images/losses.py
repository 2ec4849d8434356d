"""What of a source its target cannot store, in one line for the user."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import chain

import numpy as np

from upscaler.images import exif, gif, icc, tiff_tags
from upscaler.images.animation import Animation
from upscaler.images.formats import ImageFormat
from upscaler.images.metadata import COMMENTED, Metadata, keeps_iptc, updated_xmp
from upscaler.images.png_chunks import TEXT_TYPES, states_other_colors
from upscaler.images.still import SampleRange, Still


def describe_still(still: Still, image_format: ImageFormat) -> str:
    """What is not kept of an image in a target, as one line; empty if everything is."""
    return line(of_still(still, image_format), image_format)


def line(lost: Sequence[str], image_format: ImageFormat) -> str:
    """What is lost as one line; empty if that is nothing."""
    return f"not kept in {image_format.suffixes[0]}: {', '.join(lost)}" if lost else ""


def of_still(still: Still, image_format: ImageFormat) -> list[str]:
    """What is not kept of an image in a target, in words."""
    source = still.metadata
    lost = _lost_samples(still.sample_range, image_format) if still.sample_range else []
    if still.sample_range and source.profile and image_format.name == "EXR":
        source = replace(source, profile=None)  # such samples are not converted
        lost.append("colour profile")
    if image_format.name == "GIF":
        lost += gif.losses_of(still.pixels, still.alpha)
    return _lost(
        replace(source, dropped=(*lost, *source.dropped)),
        image_format,
        gray=still.gray,
        sixteen_bit=still.pixels.dtype == np.uint16,
        transparent=still.alpha is not None
        and still.sample_range is None
        and bool((still.alpha < np.iinfo(still.alpha.dtype).max).any()),
    )


def describe_animation(moving: Animation, image_format: ImageFormat) -> str:
    """What is not kept of an animation in a target, as one line; empty if everything is.

    Args:
        moving: The animation; decoded once more for GIF, which keeps only some colours of a frame.
        image_format: Of the target, one that stores transparency.

    Raises:
        MediaError: A frame is damaged.
    """
    lost = _lost(moving.metadata, image_format, gray=False, sixteen_bit=moving.sixteen_bit, transparent=False)
    if image_format.name == "GIF":
        each = (gif.losses_of(frame.pixels, frame.alpha) for frame in moving.frames())
        lost += dict.fromkeys(chain.from_iterable(each))
    if moving.plays and image_format.name == "AVIF":
        lost.append("number of plays")
    return line(lost, image_format)


def _lost(
    source: Metadata, image_format: ImageFormat, *, gray: bool, sixteen_bit: bool, transparent: bool
) -> list[str]:
    lost = list(source.dropped)
    converts_8_bits = not image_format.sixteen_bit or (image_format.name == "EXR" and source.profile)
    if sixteen_bit and converts_8_bits:
        lost.append("16 bits per sample (rounded to 8)")
    if transparent and not image_format.alpha:
        lost.append("transparency (black instead)")
    keeps_gray = image_format.gray_alpha if transparent and image_format.alpha else image_format.gray
    mode = "L" if gray and keeps_gray else "RGB"
    if source.profile and not icc.can_embed(source.profile, image_format, mode):
        lost.append("colour profile (converted to sRGB)")
    if source.codes and source.codes.wide_gamut and image_format.name != "PNG":
        lost.append(f"{source.codes.wide_gamut} colours (converted to sRGB)")
    if image_format.name != "PNG" and not source.profile and states_other_colors(source.chunks):
        lost.append("gamma or primaries of the PNG")
    return lost + _lost_metadata(source, image_format)


def _lost_samples(sample_range: SampleRange, image_format: ImageFormat) -> list[str]:
    if image_format.name not in ("TIFF", "EXR"):
        low, high = sample_range.ends
        if sample_range.is_light:
            return [f"{sample_range.dtype} samples" + (" (light above white is white)" if high > 1 else "")]
        ends = f"{low:g} to {high:g}"
        return [f"{sample_range.dtype} samples ({ends} became black to white)"]
    return [] if sample_range.is_exact else [f"precision of {sample_range.dtype} samples beyond 16 bits"]


def _lost_metadata(source: Metadata, image_format: ImageFormat) -> list[str]:
    name, lost = image_format.name, _lost_of_phones(source, image_format)
    if source.exif:
        if not image_format.metadata or exif.updated(source.exif, name, 1, 1) is None:
            lost.append("EXIF")
        elif exif.loses_maker_notes(source.exif, name):
            lost.append("maker notes")
    is_xmp_kept = image_format.metadata and updated_xmp(source, name, 1, 1)
    if source.xmp and not is_xmp_kept:
        lost.append("XMP")
    if source.iptc and not keeps_iptc(source.iptc, name):
        lost.append("IPTC")
    if source.comment and name not in COMMENTED:
        lost.append("comment")
    if name != "TIFF" and source.tiff_tags:
        lost += tiff_tags.names(source.tiff_tags)
    if name != "PNG" and any(kind in TEXT_TYPES for kind, _ in source.chunks):
        lost.append("texts of the PNG")
    if source.dpi and not image_format.resolution:
        lost.append("resolution in pixels per inch")
    return lost + (["EXR attributes"] if name != "EXR" and source.exr_attributes else [])


def _lost_of_phones(source: Metadata, image_format: ImageFormat) -> list[str]:
    if image_format.name == "JPEG":
        return []
    lost = ["HDR gain map"] if source.appended.gain_map else []
    return lost + (["video of the motion photo"] if source.appended.video else [])
