"""Draw pages of a book: lettering in many sizes, in columns, with headings, tables and footnotes.

    python tools/make_pages.py FOLDER --fonts FOLDER [--count 120] [--first 0]

The same number and fonts always give the same page, so training and test images can be kept apart. Fonts are
the .ttf and .otf files of a folder. Every third of them is for pages from number 10000 on, the others for the
pages below: test pages are set in fonts that the training has not seen. DejaVu is free and widespread
(/usr/share/fonts/truetype/dejavu, or matplotlib/mpl-data/fonts/ttf in Python's site-packages).
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

WIDTH_PX, HEIGHT_PX = 640, 880
_FIRST_TEST_PAGE = 10_000
_CONSONANTS, _VOWELS = "bcdfghklmnprstvwz", "aeiou"


@dataclass
class Page:
    """A page in the making.

    Attributes:
        draw: Draws on it.
        random: Decides everything.
        ink: Colour of the lettering.
        fonts: Font files.
    """

    draw: ImageDraw.ImageDraw
    random: np.random.Generator
    ink: tuple[int, int, int]
    fonts: list[Path]

    def font(self, size_px: int) -> ImageFont.FreeTypeFont:
        """One of the fonts."""
        return ImageFont.truetype(str(self.fonts[self.random.integers(len(self.fonts))]), size_px)

    def word(self) -> str:
        """A made-up word, sometimes a number."""
        if self.random.random() < 0.05:
            return str(self.random.integers(0, 10 ** int(self.random.integers(1, 5))))
        syllables = int(self.random.integers(1, 4))
        text = "".join(
            self.random.choice(list(_CONSONANTS))
            + self.random.choice(list(_VOWELS))
            + (self.random.choice(list(_CONSONANTS)) if self.random.random() < 0.4 else "")
            for _ in range(syllables)
        )
        text = text.capitalize() if self.random.random() < 0.12 else text
        return text + str(self.random.choice(["", "", "", "", "", ",", ".", ";", "?"]))

    def paragraph(self, left: int, top: int, right: int, bottom: int, size_px: int) -> int:
        """Justified lines; returns where they end."""
        font, line_px = self.font(size_px), round(size_px * 1.35)
        for y in range(top, min(bottom, top + line_px * int(self.random.integers(3, 14))) - line_px, line_px):
            words, width = [], 0.0
            while width < right - left:
                words.append(self.word())
                width = sum(self.draw.textlength(word + " ", font) for word in words)
            words = words[:-1]
            room = right - left - sum(self.draw.textlength(word, font) for word in words)
            x = float(left)
            for word in words:
                self.draw.text((x, y), word, self.ink, font)
                x += self.draw.textlength(word, font) + room / max(1, len(words) - 1)
            top = y + line_px
        return top + line_px // 2

    def heading(self, left: int, top: int, right: int) -> int:
        """A few large words and perhaps a rule; returns where they end."""
        size_px = int(self.random.integers(20, 42))
        font = self.font(size_px)
        text = " ".join(self.word() for _ in range(int(self.random.integers(1, 4)))).title()
        while font.getlength(text) > right - left and " " in text:
            text = text.rpartition(" ")[0]
        self.draw.text((left, top), text, self.ink, font)
        top += round(size_px * 1.3)
        if self.random.random() < 0.4:
            self.draw.line((left, top, right, top), self.ink, int(self.random.integers(1, 4)))
            top += 8
        return top

    def table(self, left: int, top: int, right: int, bottom: int) -> int:
        """Rows of numbers between rules; returns where they end."""
        size_px = int(self.random.integers(9, 15))
        font, line_px, columns = self.font(size_px), round(size_px * 1.5), int(self.random.integers(3, 6))
        rows = min(int(self.random.integers(3, 9)), (bottom - top) // line_px - 1)
        for row in range(max(0, rows)):
            self.draw.line((left, top, right, top), self.ink)
            for column in range(columns):
                x = left + (right - left) * column // columns + 4
                text = self.word()[:10] if column == 0 or row == 0 else f"{self.random.normal(0, 99):.2f}"
                self.draw.text((x, top + 2), text, self.ink, font)
            top += line_px
        self.draw.line((left, top, right, top), self.ink)
        return top + line_px


def page(number: int, fonts: list[Path]) -> Image.Image:
    """Page number ``number``, RGB."""
    random = np.random.default_rng(number)
    paper = 255 - random.integers(0, 26, 3).cumsum() // 2  # white to yellowish
    shade = np.linspace(0, random.uniform(-12, 12), WIDTH_PX)[None, :, None]
    pixels = np.clip(paper + shade + np.zeros((HEIGHT_PX, 1, 1)), 0, 255).astype(np.uint8)
    image = Image.fromarray(pixels)
    ink = tuple(int(level) for level in random.integers(0, 70, 3))
    made = Page(ImageDraw.Draw(image), random, ink, fonts)  # type: ignore[arg-type]
    margin_px, columns = int(random.integers(36, 80)), int(random.integers(1, 3))
    top = made.heading(margin_px, int(random.integers(30, 70)), WIDTH_PX - margin_px)
    size_px = int(random.integers(10, 21 if columns == 1 else 15))
    column_px = (WIDTH_PX - 2 * margin_px - 24 * (columns - 1)) // columns
    for column in range(columns):
        left, y = margin_px + column * (column_px + 24), top
        while y < HEIGHT_PX - margin_px - 3 * size_px:
            kind = random.random()
            if kind < 0.1:
                y = made.heading(left, y, left + column_px)
            elif kind < 0.22:
                y = made.table(left, y, left + column_px, HEIGHT_PX - margin_px)
            else:
                y = made.paragraph(left, y, left + column_px, HEIGHT_PX - margin_px, size_px)
    made.draw.text((WIDTH_PX // 2, HEIGHT_PX - 28), str(number % 1000), made.ink, made.font(11))
    return image


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--fonts", type=Path, required=True)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    found = sorted(path for path in options.fonts.iterdir() if path.suffix.lower() in (".ttf", ".otf"))
    held_back = found[::3]
    fonts = (
        held_back if options.first >= _FIRST_TEST_PAGE else [path for path in found if path not in held_back]
    )
    options.folder.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.count):
        page(number, fonts).save(options.folder / f"page{number:05}.png")


if __name__ == "__main__":
    main()
