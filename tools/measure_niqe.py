"""Measures NIQE (Mittal et al., 2013) of images: how unnatural their statistics are; lower is better.

    python tools/measure_niqe.py niqe_pris_params.npz out/real/ out/x4plus/

The first file holds the model of undamaged photographs; BasicSR (Apache-2.0) has one, in
`basicsr/metrics/niqe_pris_params.npz`. No original is needed, and none is looked at: a sharp wrong image
scores well.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from flat_names import flat_names
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from upscaler.images.formats import READ_FORMATS
from upscaler.metrics import luma

BLOCK_PX = 96
BORDER_PX = 4

# Neighbours, down and right, whose products with a pixel are described.
NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))

# Shapes of the generalised Gaussian that are tried, and what tells them apart.
SHAPES = torch.arange(0.2, 10.001, 0.001, dtype=torch.float64)


def _gamma(value: Tensor) -> Tensor:
    return value.lgamma().exp()


RATIOS = _gamma(2 / SHAPES).square() / (_gamma(1 / SHAPES) * _gamma(3 / SHAPES))


def fitted(values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Fit an asymmetric generalised Gaussian to each row of ``(N, count)``: shape, left and right scale."""

    def spread(chosen: Tensor) -> Tensor:
        return ((values.square() * chosen).sum(1) / chosen.sum(1)).sqrt()

    left, right = spread(values < 0), spread(values > 0)
    skew = left / right
    ratio = values.abs().mean(1).square() / values.square().mean(1)
    ratio = ratio * (skew**3 + 1) * (skew + 1) / (skew.square() + 1).square()
    shape = SHAPES[(RATIOS - ratio[:, None]).abs().argmin(1)]
    factor = (_gamma(1 / shape) / _gamma(3 / shape)).sqrt()
    return shape, left * factor, right * factor


def features(levels: Tensor, window: Tensor) -> Tensor:
    """The 36 features of each block of an image.

    Args:
        levels: Luma ``(H, W)`` fp64 in 0..255, sides of at least 96 pixels.
        window: Weights of the neighbourhood, ``(7, 7)`` fp64.

    Returns:
        ``(blocks, 36)``.
    """
    height, width = (side // BLOCK_PX * BLOCK_PX for side in levels.shape)
    picture = levels[None, None, :height, :width]
    half = F.interpolate(picture, scale_factor=0.5, mode="bicubic", antialias=True)
    parts = [_block_features(picture, BLOCK_PX, window), _block_features(half, BLOCK_PX // 2, window)]
    return torch.cat(parts, 1)


def _block_features(picture: Tensor, side_px: int, window: Tensor) -> Tensor:
    margin = window.shape[0] // 2

    def local_mean(values: Tensor) -> Tensor:
        return F.conv2d(F.pad(values, (margin,) * 4, mode="replicate"), window[None, None])

    mean = local_mean(picture)
    contrast = (local_mean(picture.square()) - mean.square()).abs().sqrt()
    normal = ((picture - mean) / (contrast + 1))[0, 0]
    tiles = normal.unfold(0, side_px, side_px).unfold(1, side_px, side_px).reshape(-1, side_px, side_px)
    shape, left, right = fitted(tiles.flatten(1))
    found = [shape, (left + right) / 2]
    for shift in NEIGHBOURS:
        shape, left, right = fitted((tiles * tiles.roll(shift, (1, 2))).flatten(1))
        found += [shape, (right - left) * _gamma(2 / shape) / _gamma(1 / shape), left, right]
    return torch.stack(found, 1)


def niqe(levels: NDArray[np.float64], mean: Tensor, covariance: Tensor, window: Tensor) -> float:
    """The distance of an image's features from those of undamaged photographs.

    Args:
        levels: Luma ``(H, W)`` in 0..255, sides of at least 96 pixels.
        mean: Of the features of undamaged photographs, ``(36,)`` fp64.
        covariance: The same, ``(36, 36)``.
        window: As in ``features``.
    """
    found = features(torch.from_numpy(levels), window)
    found = found[found.isfinite().all(1)]
    difference = mean - found.mean(0)
    pooled = torch.linalg.pinv((covariance + found.T.cov()) / 2)
    return math.sqrt(float(difference @ pooled @ difference))


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("parameters", type=Path)
    parser.add_argument("folders", type=Path, nargs="+")
    arguments = parser.parse_args()
    with np.load(arguments.parameters) as file:
        mean, covariance, window = (
            torch.from_numpy(file[name].astype(np.float64))
            for name in ("mu_pris_param", "cov_pris_param", "gaussian_window")
        )
    for folder in arguments.folders:
        scores = []
        for path in sorted(flat_names(folder)):
            with Image.open(path, formats=READ_FORMATS) as image:
                levels = luma(np.asarray(image.convert("RGB")))
            inner = levels[BORDER_PX:-BORDER_PX, BORDER_PX:-BORDER_PX]
            if min(inner.shape) >= BLOCK_PX:
                scores.append(niqe(inner, mean.flatten(), covariance, window))
        print(f"{folder}: {math.fsum(scores) / len(scores):.3f}, mean of {len(scores)} images")


if __name__ == "__main__":
    main()
