"""Make images that are unlike photographs: rendered text and drawings of user interfaces.

    python tools/make_interface.py FOLDER [--count 200] [--first 0]

The same number always gives the same image, so training and test images can be kept apart: `--first 0 --count
200` to train on, `--first 10000 --count 40` to test with. They have 178x218 pixels, a common size of face
images.
"""

import argparse
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH_PX, HEIGHT_PX = 178, 218
_SYLLABLES = (
    "ba",
    "co",
    "di",
    "ent",
    "fra",
    "gon",
    "hil",
    "in",
    "jo",
    "ka",
    "lu",
    "mer",
    "ost",
    "pra",
    "zen",
)


def word(random: np.random.Generator) -> str:
    """A made-up word, sometimes a number."""
    if random.random() < 0.15:
        return str(random.integers(0, 10 ** int(random.integers(1, 6))))
    text = "".join(random.choice(_SYLLABLES, random.integers(1, 4)))
    return text.capitalize() if random.random() < 0.25 else text


def color(random: np.random.Generator, dark: bool) -> tuple[int, int, int]:
    """A dark or a light colour, often a grey."""
    low, high = (0, 100) if dark else (170, 256)
    levels = random.integers(low, high, 3)
    if random.random() < 0.5:
        levels[:] = levels[0]
    return tuple(int(level) for level in levels)  # type: ignore[return-value]


def paragraph(
    draw: ImageDraw.ImageDraw, random: np.random.Generator, box: tuple[int, ...], dark: bool
) -> None:
    """Lines of words in a box (left, top, right, bottom)."""
    left, top, right, bottom = box
    font = ImageFont.load_default(int(random.integers(8, 22)))
    ink = color(random, dark)
    line_px = int(font.size * 1.3)
    for y in range(top, bottom - line_px, line_px):
        x = left
        while True:
            text = word(random)
            width = int(draw.textlength(text + " ", font))
            if x + width > right:
                break
            draw.text((x, y), text, ink, font)
            x += width


def button(draw: ImageDraw.ImageDraw, random: np.random.Generator, box: tuple[int, ...], dark: bool) -> None:
    """A rounded box with a word in it."""
    fill = color(random, dark) if random.random() < 0.6 else None
    draw.rounded_rectangle(
        box, int(random.integers(0, 9)), fill, color(random, dark), int(random.integers(1, 3))
    )
    font = ImageFont.load_default(int(random.integers(8, 14)))
    draw.text((box[0] + 5, box[1] + 3), word(random), color(random, dark != (fill is not None)), font)


def chart(draw: ImageDraw.ImageDraw, random: np.random.Generator, box: tuple[int, ...], dark: bool) -> None:
    """Bars, a line and a grid."""
    left, top, right, bottom = box
    for y in range(top, bottom, 8):
        draw.line((left, y, right, y), color(random, dark))
    heights = random.integers(top, bottom, (right - left) // 9)
    for index, height in enumerate(heights):
        draw.rectangle((left + 9 * index, int(height), left + 9 * index + 5, bottom), color(random, dark))
    points = [
        (left + 9 * index, int(y)) for index, y in enumerate(random.integers(top, bottom, len(heights)))
    ]
    draw.line(points, color(random, dark), int(random.integers(1, 3)))


def icons(draw: ImageDraw.ImageDraw, random: np.random.Generator, box: tuple[int, ...], dark: bool) -> None:
    """A row of small drawings."""
    left, top, right, bottom = box
    side = min(bottom - top, 18)
    for x in range(left, right - side, side + 6):
        box, ink = (x, top, x + side, top + side), color(random, dark)
        kind = random.integers(4)
        if kind == 0:
            draw.ellipse(box, outline=ink, width=2)
        elif kind == 1:
            draw.rectangle(box, outline=ink)
            draw.line((x + 4, top + side // 2, x + side // 2, top + side - 5, x + side - 3, top + 4), ink, 2)
        elif kind == 2:
            draw.line((x, top, x + side, top + side), ink, 2)
            draw.line((x + side, top, x, top + side), ink, 2)
        else:
            draw.regular_polygon(
                (x + side // 2, top + side // 2, side // 2), int(random.integers(3, 7)), fill=ink
            )


def picture(number: int) -> Image.Image:
    """Picture number ``number``: a page of blocks from top to bottom."""
    random = np.random.default_rng(number)
    on_light = random.random() < 0.65
    page = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), color(random, dark=not on_light))
    draw = ImageDraw.Draw(page)
    top = int(random.integers(2, 8))
    while top < HEIGHT_PX - 16:
        kind = random.choice([paragraph, paragraph, paragraph, button, chart, icons])
        height = int(random.integers(18, 26) if kind in (button, icons) else random.integers(30, 90))
        left = int(random.integers(2, 14))
        box = (left, top, WIDTH_PX - left, min(top + height, HEIGHT_PX - 2))
        kind(draw, random, box, on_light)
        top += height + int(random.integers(3, 9))
    return page


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.count):
        picture(number).save(options.folder / f"page{number:05}.png")


if __name__ == "__main__":
    main()
