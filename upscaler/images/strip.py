"""Removing metadata: what is left says only how the pixels are shown."""

from upscaler.images import png_chunks, tiff_tags
from upscaler.images.metadata import Metadata

EXR_COLORS = ("chromaticities", "whiteLuminance", "adoptedNeutral")


def stripped(source: Metadata) -> Metadata:
    """Metadata without EXIF, XMP, IPTC, texts, comments, resolution, places and what phones append.

    Profile and stated colours stay, and so does what says which samples of a TIFF are missing.
    """
    shown = tiff_tags.COLOR_TAGS | {tiff_tags.GDAL_NODATA}
    return Metadata(
        profile=source.profile,
        chunks=tuple(chunk for chunk in source.chunks if chunk[0] in png_chunks.COLOR_TYPES),
        tiff_tags=tuple(entry for entry in source.tiff_tags if entry.tag in shown),
        codes=source.codes,
        size=source.size,
        dropped=source.dropped,
        exr_attributes=tuple(pair for pair in source.exr_attributes if pair[0] in EXR_COLORS),
        lossless=source.lossless,
    )
