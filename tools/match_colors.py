"""Give images the low frequencies of others with the same name and size: colours and shading, not detail.

    python tools/match_colors.py crops/hr crops/taught

A teacher's output may be too dark or tinted (RealESRGAN_x4plus: 1.6 to 3.3 levels too dark), and a network
that learns from it becomes so. Everything wider than about 8 pixels is replaced, in place; detail stays.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from upscaler.images.formats import READ_FORMATS

SIGMA_PX, RADIUS_PX = 8.0, 24


def matched(image: NDArray[np.uint8], reference: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The image with the reference's low frequencies.

    Args:
        image: RGB ``(H, W, 3)``, sides of more than 24 pixels.
        reference: The same shape.

    Returns:
        RGB ``(H, W, 3)``.
    """
    pixels, wanted = (
        torch.from_numpy(array.copy()).permute(2, 0, 1)[None].float() for array in (image, reference)
    )
    corrected = pixels + _blurred(wanted - pixels)
    array: NDArray[np.uint8] = corrected.round().clamp(0, 255).byte()[0].permute(1, 2, 0).numpy()
    return array


def _blurred(pixels: Tensor) -> Tensor:
    """Gaussian blur of ``(1, 3, H, W)``, mirrored at the borders."""
    offsets = torch.arange(-RADIUS_PX, RADIUS_PX + 1).float()
    weights = torch.exp(-(offsets**2) / (2 * SIGMA_PX**2))
    weights /= weights.sum()
    padded = F.pad(pixels, (RADIUS_PX, RADIUS_PX, RADIUS_PX, RADIUS_PX), mode="reflect")
    rows = F.conv2d(padded, weights.view(1, 1, 1, -1).expand(3, 1, 1, -1), groups=3)
    return F.conv2d(rows, weights.view(1, 1, -1, 1).expand(3, 1, -1, 1), groups=3)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("references", type=Path)
    parser.add_argument("images", type=Path)
    arguments = parser.parse_args()
    paths = sorted(arguments.images.glob("*.png"))
    for path in paths:
        reference = arguments.references / path.name
        if not reference.is_file():
            raise SystemExit(f"error: no reference '{reference}' for '{path}'")
        with (
            Image.open(path, formats=READ_FORMATS) as image,
            Image.open(reference, formats=READ_FORMATS) as other,
        ):
            if image.size != other.size:
                raise SystemExit(f"error: '{path}' is {image.size}, '{reference}' is {other.size}")
            result = matched(np.array(image.convert("RGB")), np.array(other.convert("RGB")))
        Image.fromarray(result).save(path)
    print(f"{len(paths)} images matched")


if __name__ == "__main__":
    main()
