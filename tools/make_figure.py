"""Make the README's before/after picture with the shipped default weights.

    pip install scikit-image
    python tools/make_figure.py

The photograph of the samples at its full size is downscaled to half of it (antialiased bicubic), saved as a
JPEG of quality 80, as websites do it, and enlarged again: by bicubic, and by this project. The original
stands beside them.
"""

import io
from pathlib import Path

import numpy as np
from make_clip import source_photograph
from PIL import Image, ImageDraw, ImageFont

from upscaler import Upscaler
from upscaler.images.formats import READ_FORMATS

TARGET = Path(__file__).parent.parent / "docs" / "before-after.png"
SCALE = 2
QUALITY = 80
# Left, top, right and bottom of what is shown, in pixels of the original.
SHOWN = (96, 0, 384, 288)
CAPTION_PX = 28
GAP_PX = 6


def main() -> None:
    """Write the picture."""
    original = source_photograph()
    width, height = original.width // SCALE, original.height // SCALE
    lr = saved_as_jpeg(original.resize((width, height), Image.Resampling.BICUBIC))
    panels = {
        f"JPEG of {width}x{height}, by bicubic": lr.resize(original.size, Image.Resampling.BICUBIC),
        "upscale, default model": Image.fromarray(Upscaler(scale=SCALE).image(np.asarray(lr))),
        f"original, {original.width}x{original.height}": original,
    }
    side_px = SHOWN[2] - SHOWN[0]
    size = (len(panels) * (side_px + GAP_PX) - GAP_PX, side_px + CAPTION_PX)
    figure = Image.new("RGB", size, "white")
    draw = ImageDraw.Draw(figure)
    for number, (caption, picture) in enumerate(panels.items()):
        left_px = number * (side_px + GAP_PX)
        figure.paste(picture.crop(SHOWN), (left_px, 0))
        draw.text((left_px + 4, side_px + 6), caption, "black", ImageFont.load_default(15))
    TARGET.parent.mkdir(exist_ok=True)
    figure.save(TARGET, optimize=True)


def saved_as_jpeg(picture: Image.Image) -> Image.Image:
    """The picture as its file shows it."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=QUALITY)
    return Image.open(file, formats=READ_FORMATS).convert("RGB")


if __name__ == "__main__":
    main()
