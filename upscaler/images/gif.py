"""GIF: reduction to 256 colours, what it loses, and truncated files, all of which Pillow leaves to us."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from upscaler.pixels import Pixels, to_8_bits

TRUNCATED = "the file is truncated: more frames may have followed"
_COLORS = 256
# The colour of the transparent entry: a rare one, because Pillow's GIF encoder compares frames by colour.
_TRANSPARENT_COLOR = [1, 254, 3]
_OPAQUE_FROM = 128  # 8-bit alpha; GIF stores opaque or transparent only


def with_palette(image: Image.Image, transparent: bool = False) -> Image.Image:
    """The image in mode ``P``, by median cut with Floyd-Steinberg dithering.

    Args:
        image: Mode ``RGB`` or ``RGBA``. Transparent pixels take part in the choice of the palette, so they
            should have the colours of their surroundings (``bleed_colors``).
        transparent: Reserve one entry of the palette for transparent pixels.
    """
    quantized = image.convert("RGB").quantize(_COLORS - transparent, dither=Image.Dither.FLOYDSTEINBERG)
    if not transparent:
        return quantized
    indices = np.array(quantized)
    if image.mode == "RGBA":
        indices[np.asarray(image.getchannel("A")) < _OPAQUE_FROM] = _COLORS - 1
    paletted = Image.fromarray(indices)
    entries = quantized.getpalette() or []
    paletted.putpalette(entries + [0] * (3 * (_COLORS - 1) - len(entries)) + _TRANSPARENT_COLOR)
    paletted.info["transparency"] = _COLORS - 1
    return paletted


def losses_of(pixels: Pixels, alpha: Pixels | None) -> list[str]:
    """What a GIF does not keep of an image or frame, in words.

    Args:
        pixels: ``(H, W, 3)`` RGB, uint8 or uint16 over the full range.
        alpha: ``(H, W)`` of the same dtype, or ``None``.
    """
    codes: Any = to_8_bits(pixels)
    names = []
    if alpha is not None:
        opacity: Any = to_8_bits(alpha)
        codes = codes[opacity >= _OPAQUE_FROM]
        if ((opacity > 0) & (opacity < 255)).any():
            names.append("partial transparency")
    is_used = np.zeros((256, 256, 256), bool)
    is_used[codes[..., 0], codes[..., 1], codes[..., 2]] = True
    if np.count_nonzero(is_used) > _COLORS:
        names.append(f"more than {_COLORS} colours")
    return names


def is_truncated(path: Path) -> bool:
    """Whether a file is a GIF without trailer, of which later frames may be missing; decoders do not tell."""
    try:
        with path.open("rb") as file:
            return file.read(3) == b"GIF" and not _has_trailer(b"GIF" + file.read())
    except OSError:  # removed since it was read
        return False


def _has_trailer(file: bytes) -> bool:
    """Whether the blocks of a GIF lead to its trailer (GIF89a, sections 17 to 27)."""

    def color_table_bytes(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    try:
        offset = 13 + color_table_bytes(file[10])
        while file[offset] != ord(";"):
            if file[offset] not in b"!,":  # an unknown byte, which decoders skip
                offset += 1
                continue
            offset += 2 if file[offset] == ord("!") else 11 + color_table_bytes(file[offset + 9])
            while file[offset]:  # sub-blocks, each with its length in front
                offset += 1 + file[offset]
            offset += 1
    except IndexError:
        return False
    return True
