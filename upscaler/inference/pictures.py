"""What ``Upscaler.image`` takes and gives back: arrays, Pillow images and float tensors."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from upscaler.errors import UsageError
from upscaler.pixels import Pixels, mean_of_channels
from upscaler.transparency import as_gray_rgb

_GRAY_MODES = ("L", "LA", "I;16")
_PILLOW_MODES = ("RGB", "RGBA", *_GRAY_MODES)


def tensor_of_array(pixels: Pixels) -> Tensor:
    """RGB ``(H, W, 3)``, uint8 or uint16 codes, as a tensor, of the same memory where torch can take that.

    Raises:
        UsageError: The array has another shape or dtype, or is not an array.
    """
    if not isinstance(pixels, np.ndarray):
        raise UsageError(
            f"{_with_article(pixels)} is not an array",
            "pass (height, width, 3) RGB, uint8 or uint16: numpy.asarray(picture), tensor.numpy()",
        )
    is_rgb = pixels.ndim == 3 and pixels.shape[2] == 3 and pixels.size > 0
    if not is_rgb or pixels.dtype not in (np.uint8, np.uint16):
        raise UsageError(
            f"an array of shape {pixels.shape} and {pixels.dtype} is not an image",
            "pass (height, width, 3) RGB, uint8 or uint16",
        )
    # As in array[:, :, ::-1], or in one field of packed records: torch refuses both.
    strange = any(stride < 0 or stride % pixels.itemsize for stride in pixels.strides)
    return torch.from_numpy(pixels if pixels.flags.writeable and not strange else pixels.copy())


def check_tensor(picture: Tensor) -> None:
    """Make sure that a tensor is RGB ``(3, H, W)`` of floats in [0, 1]; anything else is not guessed.

    Raises:
        UsageError: It is not.
    """
    hint = "pass (3, height, width) RGB of floats in [0, 1]"
    is_rgb = picture.ndim == 3 and picture.shape[0] == 3 and picture.numel() > 0
    if not is_rgb or not picture.is_floating_point():
        dtype = str(picture.dtype).removeprefix("torch.")
        raise UsageError(f"a tensor of shape {tuple(picture.shape)} and {dtype} is not an image", hint)
    low, high = (float(value) for value in torch.aminmax(picture.detach()))
    if not (low >= 0 and high <= 1):  # also if a value is not a number
        raise UsageError(
            f"values from {low:g} to {high:g} in a tensor are not in [0, 1]",
            "clamp the tensor, or divide it by its white",
        )


def arrays_of_pillow(picture: Image.Image) -> tuple[Pixels, Pixels | None]:
    """Colours and alpha of a Pillow image.

    Returns:
        RGB ``(H, W, 3)`` uint8, or uint16 for mode I;16; and alpha ``(H, W)`` of the same dtype, 0 is
        transparent, or ``None``.

    Raises:
        UsageError: Its mode is none of RGB, RGBA, L, LA and I;16, or it has no pixels.
    """
    mode = picture.mode
    if mode not in _PILLOW_MODES:
        colors = "RGBA" if picture.has_transparency_data or mode in ("PA", "RGBa", "La") else "RGB"
        deep = mode.startswith(("I", "F"))
        raise UsageError(
            f"a Pillow image of mode {mode} is not supported",
            "pass it as an array, (height, width, 3) RGB, uint8 or uint16"
            if deep
            else f"use picture.convert('{colors}')",
        )
    if "transparency" in picture.info and mode in ("RGB", "L", "I;16"):
        raise UsageError(
            "a Pillow image with one transparent colour is not supported", "use picture.convert('RGBA')"
        )
    if 0 in picture.size:
        raise UsageError(f"a Pillow image of size {picture.size} is empty")
    samples = np.asarray(picture)
    if mode in ("L", "I;16"):
        return as_gray_rgb(samples), None
    if mode == "LA":
        return as_gray_rgb(samples[:, :, 0]), samples[:, :, 1]
    return samples[:, :, :3], samples[:, :, 3] if mode == "RGBA" else None


def pillow_of_arrays(pixels: Pixels, alpha: Pixels | None, like: Image.Image) -> Image.Image:
    """A Pillow image in the mode of another, with its ``info`` (profile, EXIF, ...), as Pillow's ``resize``.

    Args:
        pixels: RGB ``(H, W, 3)``, uint8, or uint16 for mode I;16. Gray is the mean of its channels.
        alpha: ``(H, W)`` uint8; ``None`` for a mode without alpha.
        like: The image with that mode.
    """
    gray = like.mode in _GRAY_MODES
    picture = Image.fromarray(mean_of_channels(pixels) if gray else pixels)
    if alpha is not None:
        picture.putalpha(Image.fromarray(alpha))
    picture.info = dict(like.info)
    return picture


def _with_article(value: object) -> str:
    name = type(value).__name__
    return f"{'an' if name[0] in 'AEIOaeio' else 'a'} {name}"
