"""Make a cartoon of drawn lines, to measure how calm upscaled films are: openly licensed ones are rare.

    python tools/make_cartoon.py cartoons/ [--count 1] [--first 0] [--frames 240]
    upscale-eval art-fast cartoons/ --scale 2 --degradation video28

Outlined figures move on twos (a new drawing every second frame) over a background of outlined shapes with
shadows, halftone and hatching, which stands still, pans and stands still again. 640x480 pixels, 24 frames/s,
stored without loss (FFV1). The same number always gives the same film.
"""

import argparse
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from av.video.frame import VideoFrame
from make_drawings import Page, comic
from make_leaves import outline
from numpy.typing import NDArray

WIDTH_PX, HEIGHT_PX, RATE = 640, 480, 24
FINER = 2  # drawn so many times as large, then downscaled
BACKGROUND_PX = 768 * FINER
FIGURES = 3

Random = np.random.Generator
Rgb = NDArray[np.uint8]  # (H, W, 3)


class Figure:
    """An outlined body with eyes, which wanders and breathes.

    Args:
        random: Draws its shape, colour and path.
    """

    def __init__(self, random: Random) -> None:
        self._body = outline(random, FINER * random.uniform(50, 110))
        self._color = tuple(int(level) for level in random.integers(60, 256, 3))
        self._line = int(FINER * random.uniform(1.5, 3.5))
        self._center = random.uniform(0.25, 0.75, 2) * (WIDTH_PX * FINER, HEIGHT_PX * FINER)
        self._reach = FINER * random.uniform(10, 90, 2)
        self._speed = random.uniform(0.05, 0.16, 2)  # radians per drawing
        self._phase = random.uniform(0, 6, 2)

    def draw(self, frame: Rgb, drawing: int) -> None:
        """Draw it as it is on this drawing."""
        center = self._center + self._reach * np.sin(self._speed * drawing + self._phase)
        body = (self._body * (1 + 0.05 * np.sin(0.5 * drawing)) + center).astype(np.int32)
        cv2.fillPoly(frame, [body], self._color)
        cv2.polylines(frame, [body], True, (0, 0, 0), self._line, cv2.LINE_AA)
        for side in (-1, 1):
            eye = (int(center[0]) + side * 18 * FINER, int(center[1]))
            cv2.ellipse(frame, eye, (11 * FINER, 15 * FINER), 0, 0, 360, (255, 255, 255), -1, cv2.LINE_AA)
            cv2.ellipse(frame, eye, (11 * FINER, 15 * FINER), 0, 0, 360, (0, 0, 0), self._line, cv2.LINE_AA)
            cv2.circle(frame, (eye[0] + 3 * FINER, eye[1]), 4 * FINER, (0, 0, 0), -1, cv2.LINE_AA)


def film(number: int, frames: int) -> list[Rgb]:
    """The frames of the film of this number, ``(480, 640, 3)`` each."""
    random = np.random.default_rng(number)
    background = Page(random, [], BACKGROUND_PX)
    comic(background)
    figures = [Figure(random) for _ in range(FIGURES)]
    width, height = WIDTH_PX * FINER, HEIGHT_PX * FINER
    found = []
    for time in range(frames):
        moved = np.clip((time / frames - 0.25) / 0.375, 0, 1)  # share of the pan: still, pan, still
        left, top = (int(moved * (BACKGROUND_PX - side)) for side in (width, height))
        frame = background.pixels[top : top + height, left : left + width].copy()
        for figure in figures:
            figure.draw(frame, time // 2)
        found.append(cv2.resize(frame, (WIDTH_PX, HEIGHT_PX), interpolation=cv2.INTER_AREA))
    return found


def write(frames: list[Rgb], target: Path) -> None:
    """Write frames without loss."""
    with av.open(str(target), "w") as output:
        stream = output.add_stream("ffv1", rate=Fraction(RATE))
        stream.pix_fmt, stream.height, stream.width = "bgr0", *frames[0].shape[:2]
        for time, pixels in enumerate(frames):
            frame = VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="bgr0")
            frame.pts, frame.time_base = time, Fraction(1, RATE)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("target", type=Path)
    parser.add_argument("--count", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--frames", type=int, default=240)
    arguments = parser.parse_args()
    arguments.target.mkdir(parents=True, exist_ok=True)
    for number in range(arguments.first, arguments.first + arguments.count):
        write(film(number, arguments.frames), arguments.target / f"cartoon{number:03}.mkv")
    print(f"{arguments.count} films in {arguments.target}")


if __name__ == "__main__":
    main()
