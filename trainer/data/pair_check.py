"""Whether a given LR image shows the same as its original, and by how much it is shifted."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from upscaler.errors import TrainingError
from upscaler.models.luma import luma

# Correlation below which an LR image shows something else: 0.3, and more for small images, in which other
# pictures correlate by chance. Measured on tiles of the training data: about nine of ten LR images of other
# tiles stay below it, from 32 pixels on. Of their own, nine of ten lie above 0.65 (32 pixels) or 0.95 (64
# pixels), with noise and blur. Only detail of 3 to 15 pixels counts: in anything coarser, two faces are
# alike, and finer detail drowns in noise.
_SAME_PICTURE, _SAME_PICTURE_PX = 0.3, 6
_FINEST_PX, _COARSEST_PX = 3, 15

# Larger shifts are not looked for: it would be another picture.
_LARGEST_SHIFT_PX = 8

# The part that is compared, the centre.
_SIDE_PX = 256

# Standard deviation, 8-bit levels, of an image without anything to compare.
_FLAT_LEVELS = 1.0

# Shifts up to this are within the error of measurement on noisy images.
_SMALLEST_SHIFT_PX = 0.2

ANOTHER_PICTURE = "shows another picture"

Shift = tuple[float, float]


def measured_shift(lr: Tensor, reduced: Tensor) -> Shift | None:
    """How far the LR image lies from where the reduced original has the same content.

    Args:
        lr: RGB ``(h, w, 3)`` uint8.
        reduced: The original reduced to the same size, likewise.

    Returns:
        LR pixels (down, right), or ``None`` if both are flat and nothing can be told.

    Raises:
        TrainingError: They show different pictures.
    """
    one, other = (_centre(image) for image in (lr, reduced))
    deviations = [float(image.std()) for image in (one, other)]
    if max(deviations) < _FLAT_LEVELS:
        return None
    if min(deviations) < _FLAT_LEVELS:
        raise TrainingError(f"its LR image {ANOTHER_PICTURE}")
    spectrum = _cross_spectrum(_detail(one), _detail(other))
    reach = [float(min(_LARGEST_SHIFT_PX, side // 4)) for side in spectrum.shape]
    whole, correlation = _peak(spectrum, (0.0, 0.0), reach, step_px=1.0)
    if correlation < _SAME_PICTURE + _SAME_PICTURE_PX / min(spectrum.shape):
        raise TrainingError(f"its LR image {ANOTHER_PICTURE} (correlation {correlation:.2f})")
    return _peak(spectrum, whole, [1.0, 1.0], step_px=1 / 16)[0]


def require_most_belong_together(left_out: list[str], kept: int, pairs: str) -> None:
    """Refuse a folder in which most LR images show another picture, as when file names are off by one.

    Args:
        left_out: ``name: reason`` of the photographs that are left out.
        kept: Number of the other photographs with a given LR image.
        pairs: ``separate``, or ``left-hr`` or ``right-hr`` if both lie in one image.

    Raises:
        TrainingError: They do.
    """
    others = [line for line in left_out if ANOTHER_PICTURE in line]
    if len(others) > kept:
        raise TrainingError(
            f"{len(others)} of {len(others) + kept} LR images show another picture than their original; the "
            f"first is {others[0]}",
            "each LR image has the path and name of its original"
            if pairs == "separate"
            else f"--pairs {pairs} is for images that show the same picture in both halves",
        )


def common_shift(shifts: list[Shift]) -> Shift | None:
    """The shift that the pairs of a folder share, LR pixels (down, right); ``None`` if there is none."""
    if not shifts:
        return None
    table = torch.tensor(shifts)
    median = table.median(0).values
    near = ((table - median).abs() < _SMALLEST_SHIFT_PX).all(1).float().mean()
    if float(median.abs().max()) < _SMALLEST_SHIFT_PX or float(near) < 0.5:
        return None
    return float(median[0]), float(median[1])


def without_shift(lr: Tensor, hr: Tensor, scale: int, shift: Shift) -> tuple[Tensor, Tensor]:
    """Cut both so that they coincide to the nearest HR pixel; nothing is resampled.

    Args:
        lr: ``(h, w, 3)``.
        hr: ``(h*scale, w*scale, 3)``.
        scale: HR size over LR size.
        shift: Of ``measured_shift``.
    """
    for axis, shift_px in enumerate(shift):
        moved_px = round(shift_px * scale)  # row r of LR shows the HR rows from r * scale - moved_px on
        cut_px = math.ceil(abs(moved_px) / scale)
        length_px = lr.shape[axis] - cut_px
        lr = lr.narrow(axis, cut_px if moved_px > 0 else 0, length_px)
        hr = hr.narrow(axis, cut_px * scale - moved_px if moved_px > 0 else -moved_px, length_px * scale)
    return lr, hr


def _centre(image: Tensor) -> Tensor:
    """Luma of the centre, fp32 ``(h, w)``."""
    top, left = (max(0, side - _SIDE_PX) // 2 for side in image.shape[:2])
    part = image[top : top + _SIDE_PX, left : left + _SIDE_PX]
    return luma(part.permute(2, 0, 1).unsqueeze(0).float())[0, 0]


def _detail(image: Tensor) -> Tensor:
    """The detail that is compared, ``(h, w)``."""

    def blurred(side_px: int) -> Tensor:
        return F.avg_pool2d(image[None, None], side_px, 1, side_px // 2, count_include_pad=False)[0, 0]

    return blurred(_FINEST_PX) - blurred(_COARSEST_PX)


def _cross_spectrum(one: Tensor, other: Tensor) -> Tensor:
    """Fourier transform of the correlation coefficients of two images with tapered borders, ``(h, w)``."""
    window = torch.hann_window(one.shape[0])[:, None] * torch.hann_window(one.shape[1])
    spectra = []
    for image in (one, other):
        tapered = (image - image.mean()) * window
        tapered = tapered - tapered.mean()
        spectra.append(torch.fft.fft2(tapered / tapered.norm().clamp(min=1e-6), norm="ortho"))
    product: Tensor = spectra[0] * spectra[1].conj()
    return product


def _peak(spectrum: Tensor, around: Shift, reach_px: list[float], step_px: float) -> tuple[Shift, float]:
    """The shift with the highest correlation, and that; also between pixels, by Fourier interpolation."""
    waves, shifts = [], []
    for side, centre, reach in zip(spectrum.shape, around, reach_px, strict=True):
        offsets = centre + torch.arange(-reach, reach + step_px / 2, step_px)
        shifts.append(offsets)
        waves.append(torch.exp(2j * math.pi * offsets[:, None] * torch.fft.fftfreq(side)))
    correlations = (waves[0] @ spectrum @ waves[1].T).real
    down, right = divmod(int(correlations.argmax()), correlations.shape[1])
    return (float(shifts[0][down]), float(shifts[1][right])), float(correlations[down, right])
