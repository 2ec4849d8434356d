"""Writing PNG, with 8 or 16 bits per sample, as a whole or band by band."""

import struct
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np

from upscaler.images import eight_bit, exif, icc, metadata, png_encoder
from upscaler.images.formats import FORMATS
from upscaler.images.metadata import Metadata
from upscaler.images.png_chunks import (
    SIGNATURE,
    Chunk,
    exif_chunk,
    packed,
    profile_chunk,
    resolution_chunk,
)
from upscaler.images.still import Still
from upscaler.pixels import mean_of_channels

[_PNG] = [row for row in FORMATS if row.name == "PNG"]


def write(path: Path, bands: Iterable[Still], height: int, width: int) -> None:
    """Encode a picture.

    Args:
        path: The file to write.
        bands: Rows of the picture each, all described alike.
        height: Of the picture.
        width: Of the picture.

    Raises:
        OSError: The file cannot be written.
    """
    bands = iter(bands)
    first = next(bands)
    mode = "L" if first.gray else "RGB"
    samples, profile = _samples(first, mode)
    header = struct.pack(">IIBBBBB", width, height, 8 * samples.itemsize, _color_type(samples.shape), 0, 0, 0)
    with path.open("wb") as file:
        file.write(SIGNATURE + packed((b"IHDR", header)))
        file.writelines(map(packed, chunks(first.metadata, height, width, profile)))
        each = chain([samples], (_samples(band, mode)[0] for band in bands))
        file.writelines(packed((b"IDAT", part)) for part in png_encoder.compressed(each))
        file.write(packed((b"IEND", b"")))


def _color_type(shape: tuple[int, ...]) -> int:
    """Gray, gray with alpha, RGB or RGBA (PNG, third edition: 11.2.1)."""
    return {1: 0, 2: 4, 3: 2, 4: 6}[shape[2] if len(shape) == 3 else 1]


def _samples(band: Still, mode: str) -> tuple[png_encoder.Samples, bytes | None]:
    """``(rows, width)`` or ``(rows, width, channels)``, and the profile of such pixels."""
    colors: Any
    if band.pixels.dtype == np.uint8:
        image, profile = eight_bit.encoded_colors(band, _PNG, mode)
        colors = np.asarray(image)
    else:
        colors = mean_of_channels(band.pixels) if band.gray else band.pixels
        profile = embeddable_profile(band.metadata, mode)
    stacked: Any = colors if band.alpha is None else np.dstack([colors, band.alpha])
    return stacked, profile


def embeddable_profile(source: Metadata, mode: str) -> bytes | None:
    """The profile of a source if a PNG of this mode, Pillow's ``L`` or ``RGB``, can hold it."""
    return source.profile if icc.can_embed(source.profile, _PNG, mode) else None


def chunks(source: Metadata, height: int, width: int, profile: bytes | None) -> list[Chunk]:
    """The chunks that describe an image.

    Args:
        source: Metadata of the source.
        height: Of the image to write.
        width: Of the image to write.
        profile: Of its pixels.
    """
    found = metadata.png_chunks_to_write(source, height, width)
    if profile:
        found.append(profile_chunk(profile))
    if source.exif and (block := exif.updated(source.exif, "PNG", height, width)):
        found.append(exif_chunk(block.removeprefix(b"Exif\0\0")))  # the prefix is JPEG's alone
    if source.dpi:
        found.append(resolution_chunk(source.dpi))
    return found
