"""The LR images that are evaluated: made from HR, or read from a folder."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from upscaler.errors import MediaError
from upscaler.images import stills
from upscaler.trainer.data import file_names
from upscaler.trainer.data.pairing import find_paired
from upscaler.trainer.degrade import degradations, h264
from upscaler.trainer.evaluation import bicubic

Rgb = NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True)
class LrSource:
    """Where LR images come from.

    Attributes:
        folder: Their folder, with names as in ``pairing.paired_stems``; ``None`` makes them from HR.
        degradation: How they are made, as in ``degradations.parse``; JPEG by Pillow. The default is the
            bicubic downscaling of the published tables.
    """

    folder: Path | None = None
    degradation: str = "clean"


def lr_image(source: LrSource, path: Path, hr: Rgb, scale: int, subfolder: Path = Path()) -> Rgb:
    """The LR version of an image.

    Args:
        source: Where it comes from.
        path: The HR file.
        hr: Its pixels ``(H, W, 3)`` RGB uint8, H and W multiples of ``scale``.
        scale: HR size over LR size.
        subfolder: Where a given LR image is, below the folder of the source.

    Returns:
        ``(H/scale, W/scale, 3)`` RGB uint8.

    Raises:
        MediaError: The folder has none, or one of another size.
    """
    if source.folder is None:
        return degraded(path.name, hr, scale, source.degradation)
    found = find_paired(source.folder, path, scale, what="LR image", subfolder=subfolder)
    lr = stills.read_rgb8(found)
    height, width = (side // scale for side in hr.shape[:2])
    if lr.shape[:2] != (height, width):
        raise MediaError(
            f"'{found}' is {lr.shape[1]}x{lr.shape[0]}, not {width}x{height}",
            f"the size of '{path}', cropped to a multiple of the scale, over {scale}",
        )
    return lr


def degraded(name: str, hr: Rgb, scale: int, degradation: str) -> Rgb:
    """The LR version of an image, made; the random numbers depend on the name alone.

    Args:
        name: Of the image.
        hr: ``(H, W, 3)`` RGB uint8, H and W multiples of ``scale``.
        scale: HR size over LR size.
        degradation: As in ``degradations.parse``.

    Returns:
        ``(H/scale, W/scale, 3)`` RGB uint8.
    """
    generator = torch.Generator().manual_seed(file_names.seed_of(name))
    hr_batch = torch.tensor(hr).permute(2, 0, 1).unsqueeze(0)
    known = degradations.parse(degradation)
    if known.encoded:
        frame: Rgb = h264.versions(hr_batch[0], scale, 1, generator, known.crf)[0].numpy()
        return frame
    lr = bicubic.downscale(hr, scale)
    if known.jpeg_quality is not None:
        lowest, highest = known.jpeg_quality
        return _saved_as_jpeg(lr, int(torch.randint(lowest, highest + 1, (1,), generator=generator)))
    if known.degrade is None:
        return lr
    lr_batch = torch.tensor(lr).permute(2, 0, 1).unsqueeze(0)
    damaged, _ = known.degrade(lr_batch, hr_batch, scale, generator)
    return damaged[0].permute(1, 2, 0).contiguous().numpy()


def _saved_as_jpeg(pixels: Rgb, quality: int) -> Rgb:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file, formats=["JPEG"]) as image:
        return np.array(image)
