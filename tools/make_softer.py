"""Make training images with weaker fine detail, like upscaled photographs or those straight from a camera.

    python tools/make_softer.py train-sizes/ softer/

Strongly downscaled photographs are sharp to the pixel, and a network trained on them alone exaggerates the
finest detail at x2. Here, frequencies above 0.3 of the sampling rate are attenuated along rows and columns,
down to a random share at 0.45.
"""

from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
from folder_command import folder_parser, names_and_target
from numpy.typing import NDArray
from PIL import Image

from upscaler.images.formats import READ_FORMATS

PASS_BELOW, STOP_FROM = 0.3, 0.45  # cycles per pixel
SMALLEST_SHARE = 0.4
MARGIN_PX = 16  # mirrored padding: the Fourier transform is periodic


def softened(picture: NDArray[np.uint8], share: float) -> NDArray[np.uint8]:
    """Attenuate the highest frequencies of an image.

    Args:
        picture: RGB ``(H, W, 3)``.
        share: Remaining amplitude above 0.45 cycles per pixel, 0 to 1, in each direction.

    Returns:
        RGB ``(H, W, 3)``.
    """
    margins = (MARGIN_PX, MARGIN_PX)
    padded = np.pad(picture, (margins, margins, (0, 0)), mode="symmetric")
    spectrum = np.fft.rfft2(padded, axes=(0, 1))
    rows = _response(np.fft.fftfreq(padded.shape[0]), share)[:, None, None]
    columns = _response(np.fft.rfftfreq(padded.shape[1]), share)[None, :, None]
    soft = np.fft.irfft2(spectrum * rows * columns, padded.shape[:2], axes=(0, 1))
    inner = soft[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX]
    return np.clip(np.round(inner), 0, 255).astype(np.uint8)


def _response(frequency: NDArray[np.float64], share: float) -> NDArray[np.float64]:
    return np.interp(np.abs(frequency), [PASS_BELOW, STOP_FROM], [1.0, share])


def write(number: int, path: Path, name: str, target: Path) -> None:
    """Write the softened image as PNG."""
    share = np.random.default_rng(number).uniform(SMALLEST_SHARE, 1)
    with Image.open(path, formats=READ_FORMATS) as picture:
        soft = softened(np.array(picture.convert("RGB")), share)
    Image.fromarray(soft).save(target / f"{name}.png", compress_level=1)


def main() -> None:
    """Run the command, on all cores."""
    names, target = names_and_target(folder_parser(__doc__).parse_args())
    with ProcessPoolExecutor() as pool:
        list(pool.map(partial(write, target=target), range(len(names)), names, names.values()))
    print(f"{len(names)} pictures in {target}")


if __name__ == "__main__":
    main()
