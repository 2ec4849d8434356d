"""Corrections of an opened image that Pillow would decode wrongly, made before it is decoded."""

from PIL import ExifTags, Image, PngImagePlugin, TiffImagePlugin

_BITS_OF_RAW_MODE = {"L;2": 2, "L;4": 4}


def apply(image: Image.Image) -> None:
    """Correct an opened image in place; it must not be loaded yet."""
    if isinstance(image, PngImagePlugin.PngImageFile):
        _scale_transparent_gray(image)
    elif isinstance(image, TiffImagePlugin.TiffImageFile):
        _read_8_bit_palette(image)


def raw_mode(image: Image.Image) -> str:
    """How samples are stored, such as ``L;4`` or ``RGB;16B``, in Pillow's notation; empty once loaded."""
    tiles = getattr(image, "tile", None) or [()]
    arguments = tiles[0][3] if len(tiles[0]) > 3 else ""
    return str(arguments[0]) if isinstance(arguments, tuple) and arguments else str(arguments)


def _scale_transparent_gray(image: PngImagePlugin.PngImageFile) -> None:
    """Scale the transparent value (tRNS) as Pillow scales samples of 2 and 4 bits: to 8 bits."""
    transparent, bits = image.info.get("transparency"), _BITS_OF_RAW_MODE.get(raw_mode(image))
    if isinstance(transparent, int) and bits:
        image.info["transparency"] = transparent * 255 // ((1 << bits) - 1)


def _read_8_bit_palette(image: TiffImagePlugin.TiffImageFile) -> None:
    """Read palette entries as 8 bits if all are below 256; TIFF 6.0 has 16, and Pillow drops the lower 8.

    Old scanner software writes such files, and libtiff's tools make the same guess.
    """
    entries = image.tag_v2.get(ExifTags.Base.ColorMap, ()) if image.mode == "P" else ()
    if entries and max(entries) < 256:
        image.putpalette(bytes(entries), "RGB;L")
