"""Pictures of at most 256 colours, as GIF stores them."""

import numpy as np
from PIL import Image

_COLORS = 256
_HIDDEN = [1, 254, 3]  # where nothing is seen: a colour that hardly a picture has; Pillow compares by colours
_SEEN_FROM = 128  # of alpha: GIF knows only seen and not seen


def with_palette(picture: Image.Image, transparent: bool = False) -> Image.Image:
    """The picture in mode ``P``, by median cut and Floyd-Steinberg dithering.

    Args:
        picture: Mode ``RGB`` or ``RGBA``; where it is hidden, its colours should be those nearby, for they
            take part in the choice of the palette.
        transparent: Keep one entry of the palette for what is not seen.
    """
    colors = picture.convert("RGB").quantize(_COLORS - transparent, dither=Image.Dither.FLOYDSTEINBERG)
    if not transparent:
        return colors
    indices = np.array(colors)
    if picture.mode == "RGBA":
        indices[np.asarray(picture.getchannel("A")) < _SEEN_FROM] = _COLORS - 1
    made = Image.fromarray(indices)
    entries = colors.getpalette() or []
    made.putpalette(entries + [0] * (3 * (_COLORS - 1) - len(entries)) + _HIDDEN)
    made.info["transparency"] = _COLORS - 1
    return made
