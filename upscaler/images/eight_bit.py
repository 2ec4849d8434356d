"""Images with 8 bits per sample, read and written by Pillow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from upscaler.images import appended, gif, icc, metadata
from upscaler.images.encoding import Encoding
from upscaler.images.formats import ImageFormat
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still
from upscaler.pixels import mean_of_channels


def read(image: Image.Image) -> Still:
    """Decode an image that Pillow has opened.

    Returns:
        The image with uint8 samples, as stored: its orientation is still to be applied. CMYK and Lab become
        sRGB.
    """
    source = metadata.read(image)
    if image.mode == "La":  # premultiplied grayscale
        image = image.convert("LA")
    if image.has_transparency_data:
        gray = image.mode in ("1", "L", "LA")
        rgba = np.asarray(image.convert("RGBA"))
        alpha = rgba[:, :, 3]
        # Windows writes 32-bit BMP with an unused fourth sample and yet declares it as alpha.
        is_unused = image.format in ("BMP", "DIB") and not alpha.any()
        return Still(rgba[:, :, :3], None if is_unused else alpha, gray, source)
    if image.mode in ("CMYK", "LAB"):
        rgb = icc.to_srgb(image, source.profile)
        name = f"{'CMYK' if image.mode == 'CMYK' else 'Lab'} colours (converted to sRGB)"
        return Still(np.asarray(rgb), metadata=replace(source, profile=None, dropped=(*source.dropped, name)))
    gray = image.mode in ("1", "L")
    return Still(np.asarray(image.convert("RGB")), None, gray, source)


def write(path: Path, still: Still, image_format: ImageFormat, encoding: Encoding) -> None:
    """Encode an image.

    Args:
        path: The file to write.
        still: uint8; without alpha if the format has none.
        image_format: The format to write.
        encoding: What the user chose.

    Raises:
        OSError: The file cannot be written.
    """
    image, source = _storable(still, image_format)
    gain_map = _encoded_gain_map(source, image) if image_format.name == "JPEG" else b""
    arguments = encoding.arguments(image_format, source_is_lossless=source.lossless)
    arguments |= metadata.save_arguments(source, image_format, image.height, image.width, len(gain_map))
    try:
        image.save(path, image_format.name, **arguments)
        if image_format.name == "JPEG" and source.appended:
            path.write_bytes(appended.joined(path.read_bytes(), source.appended, gain_map))
    except (ValueError, RuntimeError) as error:  # for example a side above 65535 in JPEG; from libtiff
        raise OSError(str(error)) from error


def _encoded_gain_map(source: Metadata, image: Image.Image) -> bytes:
    """The gain map of the source, enlarged like the image to write; empty if it has none."""
    if source.appended.gain_map is None:
        return b""
    height, width = source.size or (image.height, image.width)
    return source.appended.gain_map.encoded(image.height / height, image.width / width)


def _storable(still: Still, image_format: ImageFormat) -> tuple[Image.Image, Metadata]:
    """The image in a mode that the format stores, and its metadata with the profile of that mode."""
    stores_gray = image_format.gray if still.alpha is None else image_format.gray_alpha
    store_gray = still.gray and stores_gray
    image, profile = encoded_colors(still, image_format, "L" if store_gray else "RGB")
    if still.alpha is not None:
        image.putalpha(Image.fromarray(still.alpha))
    if image_format.name == "GIF" and not store_gray:
        image = gif.with_palette(image, transparent=still.alpha is not None)
    return image, replace(still.metadata, profile=profile)


def encoded_colors(still: Still, image_format: ImageFormat, mode: str) -> tuple[Image.Image, bytes | None]:
    """The colours of an image without its alpha, in sRGB if the format cannot embed the profile.

    Args:
        still: uint8.
        image_format: The format to write.
        mode: Pillow's ``L`` or ``RGB``.

    Returns:
        The image in that mode, and the profile to embed.
    """
    image = Image.fromarray(mean_of_channels(still.pixels) if still.gray else still.pixels)
    profile = still.metadata.profile
    if icc.can_embed(profile, image_format, mode):
        return image.convert(mode), profile
    if icc.describes(profile, image.mode):
        image = icc.to_srgb(image, profile)
    return image.convert(mode), None
