"""Make HR and LR images to test with from drawings: the place with most edges, and LR as websites leave it.

    python tools/make_web_drawings.py pictures/ test/
    upscale-eval art-fast test/HR --lr-dir test/LRwebx4 --scale 4 --lpips squeeze

`pictures/` holds PNG and SVG files; `rsvg-convert` (Debian: librsvg2-bin) renders the latter 1024 pixels wide
over white or, every third, over one colour. Of each the 512x512 pixels with most edges are HR. LR at x4 and
x2: Gaussian blur of sigma 0.15 to 0.4 times the scale, box or bicubic downscaling in turn, noise of sigma 2,
JPEG of quality 60 to 90 (4:2:0). The same files always give the same images.
"""

import argparse
import io
import subprocess
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from upscaler.images.formats import READ_FORMATS
from upscaler.trainer.evaluation import bicubic

SIDE_PX, RENDERED_PX = 512, 1024
SCALES = (4, 2)
SIGMA_PX = (0.15, 0.4)  # of the blur, times the scale
NOISE_LEVELS = 2
QUALITIES = (60, 90)
_STEP_PX = 16  # between the places that are compared

Random = np.random.Generator
Rgb = NDArray[np.uint8]  # (H, W, 3)


def read(path: Path, random: Random) -> Rgb:
    """An image, or a rendered SVG file, over white or one colour; at least 512 pixels on each side."""
    color = (255, 255, 255) if random.random() < 2 / 3 else tuple(int(x) for x in random.integers(60, 256, 3))
    if path.suffix in (".svg", ".svgz"):
        # The files of one package differ in shape: the longer side decides.
        size = ["-w", str(RENDERED_PX), "-h", str(RENDERED_PX), "--keep-aspect-ratio"]
        rendered = subprocess.run(["rsvg-convert", *size, str(path)], check=True, capture_output=True)
        source: Path | io.BytesIO = io.BytesIO(rendered.stdout)
    else:
        source = path
    with Image.open(source, formats=READ_FORMATS) as image:
        drawing = image.convert("RGBA")
    ground = Image.new("RGBA", [max(side, SIDE_PX) for side in drawing.size], (*color, 255))
    ground.alpha_composite(
        drawing, tuple((a - b) // 2 for a, b in zip(ground.size, drawing.size, strict=True))
    )
    return np.array(ground.convert("RGB"))


def most_edges(pixels: Rgb) -> Rgb:
    """The 512x512 pixels with most edges."""
    gray = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY).astype(np.float32)
    edges = np.minimum(np.hypot(cv2.Sobel(gray, cv2.CV_32F, 1, 0), cv2.Sobel(gray, cv2.CV_32F, 0, 1)), 200)
    sums = cv2.integral(edges)
    found = sums[SIDE_PX:, SIDE_PX:] - sums[:-SIDE_PX, SIDE_PX:] - sums[SIDE_PX:, :-SIDE_PX]
    found = (found + sums[:-SIDE_PX, :-SIDE_PX])[::_STEP_PX, ::_STEP_PX]
    top, left = (int(at) * _STEP_PX for at in np.unravel_index(found.argmax(), found.shape))
    return pixels[top : top + SIDE_PX, left : left + SIDE_PX]


def web_lr(hr: Rgb, scale: int, number: int, random: Random) -> Rgb:
    """The image as websites leave it.

    Args:
        hr: ``(H, W, 3)`` RGB; sides multiples of the scale.
        scale: HR over LR size.
        number: Of the image; even ones are downscaled by a box filter, odd ones bicubically.
        random: Draws blur, noise and quality.
    """
    blurred = cv2.GaussianBlur(hr, (0, 0), random.uniform(*SIGMA_PX) * scale)
    if number % 2:
        lr = bicubic.downscale(blurred, scale)
    else:
        height, width = (side // scale for side in hr.shape[:2])
        lr = cv2.resize(blurred, (width, height), interpolation=cv2.INTER_AREA)
    noisy = lr + random.normal(0, NOISE_LEVELS, lr.shape)
    file = io.BytesIO()
    saved = Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))
    saved.save(file, "JPEG", quality=int(random.integers(*QUALITIES)), subsampling="4:2:0")
    with Image.open(file, formats=["JPEG"]) as image:
        return np.array(image)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    paths = sorted(path for path in arguments.source.rglob("*") if path.suffix in (".svg", ".svgz", ".png"))
    for number, path in enumerate(paths):
        random = np.random.default_rng(number)
        hr = most_edges(read(path, random))
        images = {"HR": hr} | {f"LRwebx{scale}": web_lr(hr, scale, number, random) for scale in SCALES}
        for folder, pixels in images.items():
            (arguments.target / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(arguments.target / folder / f"{number:02}-{path.stem}.png")
    print(f"{len(paths)} drawings in {arguments.target}")


if __name__ == "__main__":
    main()
