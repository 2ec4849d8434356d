"""Images of at most 256 colours, as GIF stores them."""

import numpy as np
from PIL import Image

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
