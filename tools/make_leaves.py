"""Make training images of overlapping shapes, with the sharp edges that photographs lack.

    python tools/make_leaves.py train/ leaves/ [--count 1000]

The "dead leaves" model (Lee, Mumford and Huang, 2001): shapes whose sizes follow a power law cover each other
as in nature. Ellipses, polygons, blobs and strokes are filled with a colour, a gradient, stripes or a piece
of a photograph, with colours taken from photographs, drawn three times as large and reduced. The same number
always gives the same picture.
"""

import argparse
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from upscaler.images.formats import READ_FORMATS
from upscaler.trainer.data.sources import images_below

SIDE_PX = 320
FINER = 3  # drawn at this multiple of the size, then downscaled: smooth edges
CANVAS_PX = SIDE_PX * FINER

Picture = NDArray[Any]  # (H, W, 3) RGB
Random = np.random.Generator


def radius_px(random: Random, smallest: float) -> float:
    """Between ``smallest`` and 150 pixels of the finished picture, with density r^-3, on the canvas."""
    share = random.random()
    return float(FINER / np.sqrt(share / smallest**2 + (1 - share) / 150**2))


def outline(random: Random, radius: float) -> NDArray[np.int32]:
    """Corners ``(N, 2)`` of an ellipse, a polygon or a blob around the origin."""
    kind = random.integers(3)
    angles = np.linspace(0, 2 * np.pi, 64, endpoint=False)
    if kind == 0:
        turn, flat = random.uniform(0, np.pi), random.uniform(0.3, 1)
        x, y = radius * np.cos(angles), flat * radius * np.sin(angles)
        corners = np.stack([x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)], 1)
    else:
        if kind == 1:
            angles = np.sort(random.uniform(0, 2 * np.pi, random.integers(3, 8)))
            distance = radius * random.uniform(0.5, 1, len(angles))
        else:
            first, second = random.integers(2, 9, 2)
            waves = 0.25 * np.sin(first * angles + random.uniform(0, 6))
            waves += 0.15 * np.sin(second * angles + random.uniform(0, 6))
            distance = radius * (1 + waves) / 1.4
        corners = np.stack([distance * np.cos(angles), distance * np.sin(angles)], 1)
    return corners.astype(np.int32)


def stroke(random: Random, radius: float) -> NDArray[np.int32]:
    """Points ``(40, 2)`` of a Bezier curve near the origin."""
    along = np.linspace(0, 1, 40)[:, None]
    ends = random.normal(0, 1.5 * radius, (4, 2))
    weights = [(1 - along) ** 3, 3 * along * (1 - along) ** 2, 3 * along**2 * (1 - along), along**3]
    return sum(weight * end for weight, end in zip(weights, ends, strict=True)).astype(np.int32)  # type: ignore[no-any-return]


class Canvas:
    """An image that is being drawn.

    Args:
        random: Source of all random numbers.
        photographs: Source of colours and textures, ``(H, W, 3)`` RGB uint8.
    """

    def __init__(self, random: Random, photographs: list[Picture]) -> None:
        self._random = random
        self._photographs = [
            cv2.resize(photograph, (CANVAS_PX, CANVAS_PX), interpolation=cv2.INTER_CUBIC)
            for photograph in photographs
        ]
        self.pixels: Any = np.empty((CANVAS_PX, CANVAS_PX, 3), np.uint8)
        self.pixels[:] = self._color()

    def lay(self, smallest: float) -> None:
        """Draw a shape over the others."""
        random, radius = self._random, radius_px(self._random, smallest)
        center = random.integers(0, CANVAS_PX, 2)
        mask = np.zeros((CANVAS_PX, CANVAS_PX), np.uint8)
        if random.random() < 0.2:
            points = stroke(random, radius) + center
            width = int(max(2, FINER * random.uniform(0.6, 7)))
            cv2.polylines(mask, [points], False, 255, width)
        else:
            points, width = outline(random, radius) + center, 0
            cv2.fillPoly(mask, [points], 255)
        left, top = np.clip(points.min(0) - width, 0, CANVAS_PX)
        right, bottom = np.clip(points.max(0) + width + 1, 0, CANVAS_PX)
        if left < right and top < bottom:
            window = (slice(top, bottom), slice(left, right))
            inside = mask[window] > 0
            self.pixels[window][inside] = self._filling(window, radius)[inside]
            if random.random() < 0.15:
                line = int(max(1, FINER * random.uniform(0.5, 3)))
                cv2.polylines(self.pixels, [points], width == 0, self._color(), line)

    def finished(self) -> Picture:
        """The image at its final size, sometimes slightly blurred or noisy."""
        random, pixels = self._random, self.pixels
        if random.random() < 0.3:
            pixels = cv2.GaussianBlur(pixels, (0, 0), FINER * random.uniform(0.3, 0.8))
        small = cv2.resize(pixels, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(float)
        if random.random() < 0.3:
            small += random.normal(0, random.uniform(1, 4), (SIDE_PX, SIDE_PX, 1))
        finished: Picture = np.clip(small, 0, 255).astype(np.uint8)
        return finished

    def _color(self) -> tuple[int, ...]:
        """The colour of a random pixel of a photograph, sometimes more saturated."""
        photograph = self._photographs[self._random.integers(len(self._photographs))]
        color = photograph[tuple(self._random.integers(0, CANVAS_PX, 2))].astype(float)
        if self._random.random() < 0.3:
            color = (color - 128) * 1.6 + 128
        return tuple(int(level) for level in np.clip(color, 0, 255))

    def _filling(self, window: tuple[slice, slice], radius: float) -> NDArray[Any]:
        """The fill of a shape in its window, ``(h, w, 3)``."""
        random = self._random
        kind = random.choice(["photograph", "stripes", "gradient", "flat"], p=[0.15, 0.2, 0.25, 0.4])
        first, second = np.array(self._color(), float), np.array(self._color(), float)
        if kind == "photograph":
            photograph: Picture = self._photographs[random.integers(len(self._photographs))]
            return photograph[window]
        rows, columns = np.mgrid[window].astype(np.float32)
        if kind == "flat":
            return np.broadcast_to(first, (*rows.shape, 3))
        turn = random.uniform(0, np.pi)
        along = columns * np.cos(turn) + rows * np.sin(turn)
        if kind == "stripes":
            period = FINER * random.uniform(3, 14)
            share = (along % period < period * random.uniform(0.3, 0.6)).astype(float)
        else:
            share = np.clip((along - along.mean()) / (2 * radius) + 0.5, 0, 1) * random.uniform(0.2, 1)
        mixed: NDArray[Any] = first + share[..., None] * (second - first)
        return mixed


def picture(number: int, sources: list[Path]) -> Picture:
    """The image of this number, from three of the photographs."""
    random = np.random.default_rng(number)
    chosen = random.choice(len(sources), 3)
    canvas = Canvas(
        random, [np.asarray(Image.open(sources[one], formats=READ_FORMATS).convert("RGB")) for one in chosen]
    )
    smallest = random.choice([5, 10, 20])
    count = int(random.integers(60, 400) * (0.4 if smallest == 20 else 1))
    for _ in range(count):
        canvas.lay(smallest)
    return canvas.finished()


def write(number: int, sources: list[Path], target: Path) -> None:
    """Write the image of this number as PNG."""
    cv2.setNumThreads(1)
    Image.fromarray(picture(number, sources)).save(target / f"leaves{number:04}.png", compress_level=1)


def main() -> None:
    """Run the command, on all cores."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("--count", type=int, default=1000)
    arguments = parser.parse_args()
    arguments.target.mkdir(parents=True, exist_ok=True)
    sources = images_below(arguments.source)
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(write, sources=sources, target=arguments.target), range(arguments.count)))
    print(f"{arguments.count} pictures in {arguments.target}")


if __name__ == "__main__":
    main()
