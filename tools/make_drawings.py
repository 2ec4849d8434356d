"""Make training images that are drawings: lettering, ink lines, cel shading, halftone, diagrams, screens.

    python tools/make_drawings.py FOLDER [--count 500] [--first 0] [--fonts FOLDER]

The same number with the same fonts always gives the same image. Fonts are the `.ttf` and `.otf` files below
the folder; their licences must allow it, as those of DejaVu, Lato, Liberation and Comic Neue do. Otherwise
Pillow's own is used (Aileron, CC0). All but screens are drawn three times as large and downscaled.
"""

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from make_interface import word
from make_leaves import outline, stroke
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

SIDE_PX = 512
FINER = 3
FINE_PX = SIDE_PX * FINER

Random = np.random.Generator
Color = tuple[int, int, int]
Mask = NDArray[np.uint8]


class Page:
    """A drawing in progress, RGB.

    Args:
        random: Source of all random numbers.
        fonts: Font files; empty for Pillow's own.
        side_px: Side of the page; 512, or three times that to be downscaled at the end.
    """

    def __init__(self, random: Random, fonts: list[Path], side_px: int = FINE_PX) -> None:
        self.random = random
        self.side_px = side_px
        self.unit = side_px / SIDE_PX  # a pixel of the finished drawing
        self._fonts = fonts
        self.light = random.random() < 0.7
        self.pixels: NDArray[np.uint8] = np.empty((side_px, side_px, 3), np.uint8)
        self.pixels[:] = self.paper()

    def paper(self) -> Color:
        """A ground: often white or black."""
        if self.random.random() < 0.5:
            return (255, 255, 255) if self.light else (0, 0, 0)
        return self.color(180, 256) if self.light else self.color(0, 90)

    def ink(self) -> Color:
        """A colour that stands out from the ground: often black or white."""
        if self.random.random() < 0.5:
            return (0, 0, 0) if self.light else (255, 255, 255)
        return self.color(0, 110) if self.light else self.color(150, 256)

    def color(self, low: int = 0, high: int = 256) -> Color:
        """A random colour with levels in this range."""
        red, green, blue = self.random.integers(low, high, 3)
        return int(red), int(green), int(blue)

    def font(self, size_px: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
        """A random font, in pixels of the finished drawing."""
        size = max(5, round(size_px * self.unit))
        if not self._fonts:
            return ImageFont.load_default(size)
        return ImageFont.truetype(self._fonts[self.random.integers(len(self._fonts))], size)

    def width(self, smallest: float, largest: float) -> int:
        """A line width between two widths in pixels of the finished drawing."""
        return max(1, round(self.random.uniform(smallest, largest) * self.unit))

    def drawing(self) -> tuple[Image.Image, ImageDraw.ImageDraw]:
        """The page as an image that Pillow draws on; give it back to ``take``."""
        image = Image.fromarray(self.pixels)
        return image, ImageDraw.Draw(image)

    def take(self, image: Image.Image) -> None:
        """Replace the page."""
        self.pixels = np.array(image)

    def fill(self, mask: Mask, color: Color) -> None:
        """Paint the pixels of a mask."""
        self.pixels[mask > 0] = color

    def shape(self, points: NDArray[np.int32]) -> Mask:
        """The inside of a closed line."""
        mask: Mask = np.zeros(self.pixels.shape[:2], np.uint8)
        cv2.fillPoly(mask, [points], 255)
        return mask

    def place(self) -> NDArray[np.int64]:
        """A random point (x, y)."""
        return self.random.integers(0, self.side_px, 2)

    def finished(self) -> Image.Image:
        """The drawing, 512x512."""
        return Image.fromarray(cv2.resize(self.pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA))


def comic(page: Page) -> None:
    """Outlined shapes with a shadow, a soft gradient, halftone or hatching, and a speech bubble."""
    _gradient(page, np.full(page.pixels.shape[:2], 255, np.uint8))
    line, ink = page.width(1, 5), page.ink()
    for _ in range(page.random.integers(4, 14)):
        radius = page.unit * page.random.uniform(25, 150)
        points = (outline(page.random, radius) + page.place()).astype(np.int32)
        mask = page.shape(points)
        base = page.color()
        page.fill(mask, base)
        _shadow(page, points, mask, base)
        screen = page.random.integers(5)
        if screen == 0:
            _halftone(page, mask)
        elif screen == 1:
            _hatching(page, mask, ink)
        elif screen == 2:
            _gradient(page, mask)
        cv2.polylines(page.pixels, [points], True, ink, line, cv2.LINE_AA)
    if page.random.random() < 0.6:
        _bubble(page)


def line_art(page: Page) -> None:
    """Thin lines alone: strands of hair, contours, hatched shapes."""
    ink = page.ink()
    for _ in range(page.random.integers(3, 9)):
        center = page.place()
        curve = stroke(page.random, page.unit * page.random.uniform(40, 130)) + center
        strands, spread = int(page.random.integers(1, 16)), page.random.normal(0, 4 * page.unit, (2, 2))
        apart = spread[0] + np.linspace(0, 1, len(curve))[:, None] * spread[1]
        for strand in range(strands):
            points = (curve + apart * strand).astype(np.int32)
            cv2.polylines(page.pixels, [points], False, ink, page.width(0.5, 2.5), cv2.LINE_AA)
    for _ in range(page.random.integers(2, 6)):
        radius = page.unit * page.random.uniform(15, 90)
        points = (outline(page.random, radius) + page.place()).astype(np.int32)
        if page.random.random() < 0.5:
            _hatching(page, page.shape(points), ink)
        cv2.polylines(page.pixels, [points], True, ink, page.width(0.6, 3), cv2.LINE_AA)


def lettering(page: Page) -> None:
    """Words of many sizes and colours, some with an outline."""
    if page.random.random() < 0.3:
        _gradient(page, np.full(page.pixels.shape[:2], 255, np.uint8))
    image, draw = page.drawing()
    top = 4.0
    while top < SIDE_PX - 8:
        size = float(np.exp(page.random.uniform(np.log(8), np.log(90))))
        font, ink = page.font(size), page.ink()
        outlined = page.width(0.7, 3) if size > 24 and page.random.random() < 0.4 else 0
        _line_of_words(
            page, draw, (page.random.uniform(0, 60), top, SIDE_PX), font, ink, outlined, page.color()
        )
        top += size * page.random.uniform(1.1, 1.5)
    page.take(image)


def diagram(page: Page) -> None:
    """Plots with axes and ticks, boxes joined by arrows."""
    image, draw = page.drawing()
    half = SIDE_PX // 2
    for left, top in ((0, 0), (half, 0), (0, half), (half, half)):
        part = _plot if page.random.random() < 0.5 else _boxes
        part(page, draw, (left + 28, top + 14, left + half - 12, top + half - 26))
    page.take(image)


def screen(page: Page) -> None:
    """A window or a web page at its own size: text is hinted and lines are whole pixels wide."""
    image, draw = page.drawing()
    bar = page.color(40, 220)
    draw.rectangle((0, 0, SIDE_PX, 26), bar)
    draw.text((8, 6), word(page.random), _readable_on(bar), page.font(13))
    for index in range(3):
        draw.ellipse((SIDE_PX - 20 * index - 18, 7, SIDE_PX - 20 * index - 6, 19), page.color())
    side = int(page.random.integers(0, 150))
    if side > 60:
        draw.rectangle((0, 26, side, SIDE_PX), page.paper())
        for top in range(40, SIDE_PX - 16, int(page.random.integers(18, 30))):
            draw.text((10, top), word(page.random), page.ink(), page.font(12))
    left, top = (side + 12 if side > 60 else 12), 38
    while top < SIDE_PX - 30:
        block = (_text_block, _buttons, _table)[page.random.choice(3, p=[0.6, 0.2, 0.2])]
        top = block(page, draw, left, top) + int(page.random.integers(6, 20))
    page.take(image)


def _gradient(page: Page, mask: Mask) -> None:
    """Fill a mask with a soft gradient between two colours."""
    first, second = np.array(page.color(), np.float32), np.array(page.color(), np.float32)
    turn = page.random.uniform(0, 2 * np.pi)
    along = np.arange(page.side_px, dtype=np.float32) / page.side_px
    share = along[None] * np.cos(turn) + along[:, None] * np.sin(turn)
    share = (share - share.min()) / (share.max() - share.min()) * page.random.uniform(0.2, 1)
    chosen = mask > 0
    page.pixels[chosen] = (first + share[chosen][:, None] * (second - first)).round().astype(np.uint8)


def _shadow(page: Page, points: NDArray[np.int32], mask: Mask, base: Color) -> None:
    """Cel shading: the part of a shape that a moved copy of it leaves free is darker."""
    moved = points + page.random.normal(0, 20 * page.unit, 2).astype(np.int32)
    factor = page.random.uniform(0.55, 0.9)
    red, green, blue = (int(level * factor) for level in base)
    page.fill(np.where(page.shape(moved) > 0, 0, mask).astype(np.uint8), (red, green, blue))


def _halftone(page: Page, mask: Mask) -> None:
    """Dots on a turned grid that grow from one side to the other."""
    period, turn = page.unit * page.random.uniform(3, 10), page.random.uniform(0, np.pi)
    rows, columns = np.mgrid[: page.side_px, : page.side_px].astype(np.float32)
    x = (columns * np.cos(turn) + rows * np.sin(turn)) / period
    y = (rows * np.cos(turn) - columns * np.sin(turn)) / period
    distance = np.hypot(x - np.round(x), y - np.round(y))
    size = np.linspace(*page.random.uniform(0.15, 0.6, 2), page.side_px)[:, None]
    page.fill(np.where(distance < size, mask, 0).astype(np.uint8), page.ink())


def _hatching(page: Page, mask: Mask, ink: Color) -> None:
    """Parallel thin lines, sometimes crossed."""
    rows, columns = np.mgrid[: page.side_px, : page.side_px].astype(np.float32)
    period, share = page.unit * page.random.uniform(3, 12), page.random.uniform(0.15, 0.4)
    turn = page.random.uniform(0, np.pi)
    for angle in (turn, turn + np.pi / 2)[: page.random.integers(1, 3)]:
        along = columns * np.cos(angle) + rows * np.sin(angle)
        page.fill(np.where(along % period < share * period, mask, 0).astype(np.uint8), ink)


def _bubble(page: Page) -> None:
    """A speech bubble with words."""
    width, height = (int(side) for side in page.random.integers(120, 260, 2))
    left, top = (int(start) for start in page.random.integers(0, SIDE_PX - 270, 2))
    image, draw = page.drawing()
    box = [round(at * page.unit) for at in (left, top, left + width, top + height)]
    draw.rounded_rectangle(box, round(50 * page.unit), (255, 255, 255), (0, 0, 0), page.width(1, 4))
    size = page.random.uniform(10, 26)
    font, line = page.font(size), top + 14.0
    while line < top + height - 1.4 * size:
        _line_of_words(page, draw, (left + 24, line, left + width - 16), font, (0, 0, 0), 0, (0, 0, 0))
        line += 1.25 * size
    page.take(image)


def _line_of_words(
    page: Page,
    draw: ImageDraw.ImageDraw,
    line: tuple[float, float, float],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
    ink: Color,
    outlined: int,
    outline_color: Color,
) -> None:
    """Words from left to right on a line (left, top, right) in pixels of the finished drawing."""
    left, top, right = (at * page.unit for at in line)
    while True:
        text = word(page.random)
        text = text.upper() if page.random.random() < 0.2 else text
        length = draw.textlength(text + " ", font)
        if left + length > right:
            return
        draw.text((left, top), text, ink, font, stroke_width=outlined, stroke_fill=outline_color)
        left += length


def _plot(page: Page, draw: ImageDraw.ImageDraw, box: tuple[int, ...]) -> None:
    left, top, right, bottom = (round(at * page.unit) for at in box)
    ink, font, thin = page.ink(), page.font(10), page.width(0.7, 1.3)
    draw.line((left, top, left, bottom, right, bottom), ink, thin)
    for index in range(6):
        y, x = bottom - (bottom - top) * index // 6, left + (right - left) * index // 6
        draw.line((left - 4 * thin, y, left, y), ink, thin)
        draw.text((left - 22 * page.unit, y - 6 * page.unit), str(index * 10), ink, font)
        draw.line((x, bottom, x, bottom + 4 * thin), ink, thin)
        draw.text((x, bottom + 5 * page.unit), str(index), ink, font)
    for _ in range(page.random.integers(1, 5)):
        xs = np.linspace(left, right, 30)
        ys = np.clip(np.cumsum(page.random.normal(0, 9 * page.unit, 30)) + (top + bottom) / 2, top, bottom)
        draw.line(list(zip(xs, ys, strict=True)), page.color(), page.width(0.8, 3), joint="curve")


def _boxes(page: Page, draw: ImageDraw.ImageDraw, box: tuple[int, ...]) -> None:
    left, top, right, bottom = (round(at * page.unit) for at in box)
    ink, line = page.ink(), page.width(0.8, 2.5)
    middle = (left + right) // 2
    heights = np.linspace(top, bottom, 4).astype(int)
    for first, last in pairwise(heights):
        fill = page.color(60, 256)
        end = int(last - 22 * page.unit)
        corners = (middle - 60 * page.unit, int(first), middle + 60 * page.unit, end)
        draw.rounded_rectangle(corners, page.random.integers(0, 12) * page.unit, fill, ink, line)
        draw.text(
            (middle - 40 * page.unit, first + 6 * page.unit),
            word(page.random),
            _readable_on(fill),
            page.font(14),
        )
        draw.line((middle, end, middle, int(last)), ink, line)
        tip = 5 * page.unit
        draw.polygon([(middle - tip, last - tip), (middle + tip, last - tip), (middle, int(last))], ink)


def _text_block(page: Page, draw: ImageDraw.ImageDraw, left: int, top: int) -> int:
    size = page.random.integers(10, 20)
    font, ink = page.font(size), page.ink()
    for _ in range(page.random.integers(2, 7)):
        _line_of_words(page, draw, (left, top, SIDE_PX - 10), font, ink, 0, ink)
        top += round(size * 1.35)
    return top


def _buttons(page: Page, draw: ImageDraw.ImageDraw, left: int, top: int) -> int:
    fill = page.color()
    for x in range(left, SIDE_PX - 90, 100):
        draw.rounded_rectangle((x, top, x + 88, top + 26), page.random.integers(0, 9), fill, page.ink())
        draw.text((x + 10, top + 6), word(page.random), _readable_on(fill), page.font(12))
    return top + 26


def _table(page: Page, draw: ImageDraw.ImageDraw, left: int, top: int) -> int:
    line, ink, font = page.ink(), page.ink(), page.font(11)
    for _ in range(page.random.integers(3, 8)):
        draw.line((left, top, SIDE_PX - 12, top), line)
        for x in range(left, SIDE_PX - 70, 76):
            draw.text((x + 4, top + 4), word(page.random), ink, font)
        top += 20
    return top


def _readable_on(ground: Color) -> Color:
    return (0, 0, 0) if sum(ground) > 3 * 128 else (255, 255, 255)


KINDS: tuple[Callable[[Page], None], ...] = (comic, line_art, lettering, diagram, screen)


def picture(number: int, fonts: list[Path]) -> Image.Image:
    """The drawing of this number, 512x512; the kinds take turns."""
    kind = KINDS[number % len(KINDS)]
    page = Page(np.random.default_rng(number), fonts, SIDE_PX if kind is screen else FINE_PX)
    kind(page)
    return page.finished()


def write(number: int, fonts: list[Path], target: Path) -> None:
    """Write the drawing of this number as PNG."""
    cv2.setNumThreads(1)
    picture(number, fonts).save(target / f"drawing{number:05}.png", compress_level=1)


def main() -> None:
    """Run the command, on all cores."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--count", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--fonts", type=Path)
    arguments = parser.parse_args()
    fonts: list[Path] = []
    if arguments.fonts is not None:
        fonts = sorted(path for path in arguments.fonts.rglob("*") if path.suffix in (".ttf", ".otf"))
        if not fonts:
            raise SystemExit(f"error: no .ttf or .otf file below '{arguments.fonts}'")
    arguments.target.mkdir(parents=True, exist_ok=True)
    numbers = range(arguments.first, arguments.first + arguments.count)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(write, fonts=fonts, target=arguments.target), numbers))
    print(f"{arguments.count} drawings in {arguments.target}")


if __name__ == "__main__":
    main()
