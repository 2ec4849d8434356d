"""Draw portraits: faces with skin, hair strand by strand, eyes, lips and cloth, 256x256 pixels.

    python tools/make_portraits.py FOLDER [--count 120] [--first 0]

The same number always gives the same portrait, so training and test images can be kept apart. For what a
training on faces needs, without pictures of people.
"""

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

SIDE_PX = 256
_LARGER = 3  # drawn this much larger, then reduced
_SIDE = SIDE_PX * _LARGER

Color = tuple[int, int, int]
Point = tuple[float, float]


@dataclass
class Portrait:
    """A portrait in the making; lengths are fractions of its side.

    Attributes:
        image: What is drawn so far.
        random: Decides everything.
        skin: Colour of the skin.
        hair: Colour of the hair.
        x: Where the middle of the face is.
        y: Likewise.
        width: Half the width of the face.
        height: Half its height.
    """

    image: Image.Image
    random: np.random.Generator
    skin: NDArray[np.float64]
    hair: NDArray[np.float64]
    x: float
    y: float
    width: float
    height: float

    def at(self, across: float, down: float) -> Point:
        """A place in units of the face: (-1, -1) is above and left of it."""
        return (self.x + across * self.width) * _SIDE, (self.y + down * self.height) * _SIDE

    def box(self, across: float, down: float, half_width: float, half_height: float) -> tuple[float, ...]:
        """A box around a place, in the same units."""
        return *self.at(across - half_width, down - half_height), *self.at(
            across + half_width, down + half_height
        )

    def shaded(self, mask: Image.Image, color: NDArray[np.float64], light: float, grain: float) -> None:
        """Fill a mask with a colour, lighter on the left, with blotches and the grain of skin or cloth."""
        rows, columns = np.mgrid[0:_SIDE, 0:_SIDE] / _SIDE
        shade = 1 + light * (self.x - columns) / self.width - 0.25 * np.abs(rows - self.y) / self.height
        shade += 0.06 * _blotches(self.random, 24) + grain * self.random.standard_normal((_SIDE, _SIDE))
        pixels = np.clip(color * shade[..., None], 0, 255).astype(np.uint8)
        self.image.paste(Image.fromarray(pixels), mask=mask)

    def strand(
        self, start: Point, control: Point, end: Point, color: NDArray[np.float64], width: int
    ) -> None:
        """A curved hair."""
        times = np.linspace(0, 1, 12)[:, None]
        curve = (1 - times) ** 2 * start + 2 * times * (1 - times) * np.array(control) + times**2 * end
        ImageDraw.Draw(self.image).line([tuple(point) for point in curve], _color(color), width)

    def hairs(self, side: float, count: int, length: float) -> None:
        """Hair that falls from the parting to one side."""
        for _ in range(count):
            root = self.random.uniform(-0.9, 0.9) * 0.5 + side * 0.35
            start = self.at(root, -1.08 + 0.35 * root**2 + self.random.normal(0, 0.03))
            reach = side * self.random.uniform(0.95, 1.3)
            control = self.at(reach, -1.0 + self.random.normal(0, 0.1))
            end = self.at(reach + self.random.normal(0, 0.06), length + self.random.normal(0, 0.25))
            shine = self.random.uniform(0.55, 1.35)
            self.strand(start, control, end, self.hair * shine, int(self.random.integers(1, 4)))

    def eye(self, across: float, iris: NDArray[np.float64], looks: float) -> None:
        """An eye with iris, lashes and brow."""
        draw, down = ImageDraw.Draw(self.image), -0.12
        draw.ellipse(self.box(across, down, 0.2, 0.075), (236, 232, 226), _color(self.skin * 0.45), 4)
        middle = across + looks
        draw.ellipse(self.box(middle, down, 0.085, 0.07), _color(iris * 0.5))
        for angle in np.linspace(0, 2 * np.pi, 60):
            inner, outer = (
                self.at(middle + radius * 0.08 * np.cos(angle), down + radius * 0.065 * np.sin(angle))
                for radius in (0.3, 1)
            )
            draw.line((*inner, *outer), _color(iris * self.random.uniform(0.6, 1.5)), 2)
        draw.ellipse(self.box(middle, down, 0.036, 0.03), (12, 10, 10))
        draw.ellipse(self.box(middle - 0.03, down - 0.025, 0.014, 0.012), (255, 255, 255))
        for place in np.linspace(-0.19, 0.19, 22):
            lid = down - 0.075 * np.sqrt(1 - (place / 0.2) ** 2)
            draw.line(
                (*self.at(across + place, lid), *self.at(across + place * 1.25, lid - 0.045)), (20, 16, 14), 2
            )
        for _ in range(90):
            place = self.random.uniform(-0.24, 0.24)
            height = -0.33 + 0.3 * place**2 + self.random.normal(0, 0.015)
            root, tip = (
                self.at(across + place, height),
                self.at(across + place + 0.05 * np.sign(across), height - 0.03),
            )
            draw.line((*root, *tip), _color(self.hair * self.random.uniform(0.4, 0.9)), 2)

    def nose_and_mouth(self) -> None:
        """Shadows of the nose, and two lips."""
        draw, shadow = ImageDraw.Draw(self.image), _color(self.skin * 0.62)
        draw.line([self.at(0.06, -0.1), self.at(0.1, 0.15), self.at(0.14, 0.26)], shadow, 5)
        for side in (-1, 1):
            draw.ellipse(self.box(side * 0.075, 0.29, 0.035, 0.018), _color(self.skin * 0.35))
        lips, wide = self.skin * np.array([0.86, 0.6, 0.6]), self.random.uniform(0.24, 0.34)
        bow = self.random.uniform(0.03, 0.07)
        corners = [self.at(-wide, 0.56), self.at(wide, 0.56)]
        upper = [self.at(-wide / 3, 0.56 - bow), self.at(0, 0.56 - bow / 2), self.at(wide / 3, 0.56 - bow)]
        draw.polygon([corners[0], *upper, corners[1]], _color(lips * 0.85))
        lower = [
            self.at(wide / 2, 0.56 + bow * 1.3),
            self.at(0, 0.56 + bow * 1.8),
            self.at(-wide / 2, 0.56 + bow * 1.3),
        ]
        draw.polygon([corners[1], *lower, corners[0]], _color(lips))
        draw.line([corners[0], self.at(0, 0.565), corners[1]], _color(lips * 0.4), 3)

    def beard(self) -> None:
        """Stubble or a beard around the mouth."""
        draw = ImageDraw.Draw(self.image)
        length = self.random.uniform(0.01, 0.1)
        for _ in range(1500):
            across, down = self.random.uniform(-0.8, 0.8), self.random.uniform(0.35, 0.98)
            if across**2 + down**2 < 0.98 and (abs(across) > 0.36 or not 0.45 < down < 0.72):
                tip = self.at(across * 1.02, down + length)
                draw.line(
                    (*self.at(across, down), *tip), _color(self.hair * self.random.uniform(0.5, 1.1)), 2
                )


def _blotches(random: np.random.Generator, size: int) -> NDArray[np.float64]:
    """Smooth noise, ``(side, side)``, about -1 to 1."""
    coarse = Image.fromarray(random.standard_normal((size, size)).astype(np.float32))
    return np.asarray(coarse.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), np.float64)


def _color(color: NDArray[np.float64]) -> Color:
    red, green, blue = (int(level) for level in np.clip(color, 0, 255))
    return red, green, blue


def _ellipse(box: tuple[float, ...]) -> Image.Image:
    mask = Image.new("L", (_SIDE, _SIDE))
    ImageDraw.Draw(mask).ellipse(box, 255)
    return mask.filter(ImageFilter.GaussianBlur(_LARGER))


def portrait(number: int) -> Image.Image:
    """Portrait number ``number``, RGB."""
    random = np.random.default_rng(number)
    wall = random.uniform(40, 220, 3) + 22 * _blotches(random, 4)[..., None]
    image = Image.fromarray(np.clip(wall, 0, 255).astype(np.uint8))
    tone = random.uniform(0.35, 1)
    skin = np.array([238, 190, 160]) * tone + np.array([8, 4, 0])
    hair = np.array([random.uniform(25, 190), 0, 0])
    hair[1:] = hair[0] * np.array([0.74, 0.5]) * random.uniform(0.85, 1.1)
    face = Portrait(
        image,
        random,
        skin,
        hair,
        *random.uniform((0.44, 0.46), (0.56, 0.54)),
        *random.uniform((0.19, 0.26), (0.25, 0.32)),
    )
    length, light = random.uniform(-0.4, 1.6), random.uniform(-0.3, 0.3)
    for side in (-1, 1):
        face.hairs(side, 500, length)
    face.shaded(_ellipse(face.box(0, 1.2, 0.5, 0.6)), skin * 0.8, light, 0.02)
    face.shaded(_ellipse(face.box(0, 2.6, 2.2, 1.1)), random.uniform(30, 220, 3), light, 0.12)
    face.shaded(_ellipse(face.box(0, 0, 1, 1)), skin, light, 0.03)
    if random.random() < 0.4:
        face.beard()
    iris = np.array([[70, 110, 140], [90, 60, 35], [80, 100, 60]][int(random.integers(3))], np.float64)
    looks = random.uniform(-0.06, 0.06)
    for across in (-0.4, 0.4):
        face.eye(across, iris, looks)
    face.nose_and_mouth()
    for side in (-1, 1):
        face.hairs(side, 260, min(length, random.uniform(-0.8, -0.4)))
    return face.image.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=120)
    parser.add_argument("--first", type=int, default=0)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    for number in range(options.first, options.first + options.count):
        portrait(number).save(options.folder / f"portrait{number:05}.png")


if __name__ == "__main__":
    main()
