"""Make training images at three sizes, without the smooth ones.

    python tools/make_sizes.py train/ train-sizes/

Photographs that are sharp to the pixel are rare, so every image is also downscaled to three quarters and to
half its size (antialiased bicubic). Images that bicubic restores from a quarter of their size with a luma
PSNR of 31 dB or more teach little and are dropped.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from folder_command import folder_parser, names_and_target
from PIL import Image

from upscaler.images.formats import READ_FORMATS
from upscaler.inference.resize import resize_bicubic

SIZES = (1.0, 0.75, 0.5)
SCALE = 4
SMOOTH_DB = 31.0


def smoothness_db(picture: Image.Image) -> float:
    """Y-PSNR of an image that is downscaled and upsampled by bicubic."""
    luma = np.asarray(picture.convert("L"))
    height, width = (side - side % SCALE for side in luma.shape)
    codes = torch.from_numpy(luma[:height, :width].copy())[None, None]
    lr = resize_bicubic(codes, height // SCALE, width // SCALE)
    error = resize_bicubic(lr, height, width).double() - codes
    return float(10 * torch.log10(255**2 / (error.square().mean() + 1e-9)))


def write(path: Path, name: str, target: Path) -> int:
    """Write an image at its sizes as ``NAME-WIDTH.png``; returns how many were kept."""
    torch.set_num_threads(1)
    kept = 0
    with Image.open(path, formats=READ_FORMATS) as opened:
        whole = opened.convert("RGB")
    for size in SIZES:
        width, height = (round(side * size) for side in whole.size)
        picture = whole if size == 1 else whole.resize((width, height), Image.Resampling.BICUBIC)
        if smoothness_db(picture) < SMOOTH_DB:
            picture.save(target / f"{name}-{width}.png", compress_level=1)
            kept += 1
    return kept


def main() -> None:
    """Run the command, on all cores."""
    names, target = names_and_target(folder_parser(__doc__).parse_args())
    with ProcessPoolExecutor() as pool:
        kept = sum(pool.map(partial(write, target=target), names, names.values()))
    print(f"{kept} pictures in {target}")


if __name__ == "__main__":
    main()
