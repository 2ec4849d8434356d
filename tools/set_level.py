"""Correct the mean brightness of the output of weights, without retraining.

    python tools/set_level.py learnt.safetensors balanced-x4.safetensors train/

L1 fits the median, and the remaining errors are skewed: on photographs their mean is 0.16 levels and their
median 0.04, so images become slightly darker. A distilled network adds its own error to that of its teacher.
The mean error over many images is added to the biases of the tail.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from upscaler.images.formats import READ_FORMATS
from upscaler.models import weight_file
from upscaler.models.contract import Network
from upscaler.trainer.data.sources import images_below
from upscaler.trainer.evaluation import bicubic


def mean_error(network: Network, hr: NDArray[np.uint8]) -> Tensor:
    """Mean of HR minus mean of SR, which is clamped to [0, 1].

    Args:
        network: In evaluation mode.
        hr: RGB ``(H, W, 3)``; H and W multiples of the scale.

    Returns:
        One value per channel, ``(3,)``, for a range of 0 to 1.
    """
    lr = bicubic.downscale(hr, network.contract.scale)
    with torch.inference_mode():
        sr = network(torch.from_numpy(lr).permute(2, 0, 1).unsqueeze(0) / 255).clamp(0, 1)
    return torch.from_numpy(hr).double().mean((0, 1)) / 255 - sr.double().mean((0, 2, 3))


def set_level(source: Path, target: Path, pictures: list[Path]) -> Tensor:
    """Write ``source`` with the mean error over ``pictures`` added to ``target``; the metadata record it.

    Returns:
        What was added, ``(3,)``, for a range of 0 to 1.

    Raises:
        SystemExit: The network has no single tail convolution.
    """
    weights = weight_file.load(source)
    network = weights.network()
    scale = network.contract.scale
    bias = weights.state.get("tail.bias")
    if bias is None or len(bias) != 3 * scale * scale:
        raise SystemExit(f"the network of '{source}' has no single tail")
    added = torch.zeros(3, dtype=torch.float64)
    for path in pictures:
        with Image.open(path, formats=READ_FORMATS) as picture:
            hr = np.array(picture.convert("RGB"))
        height, width = (side - side % scale for side in hr.shape[:2])
        added += mean_error(network, hr[:height, :width]) / len(pictures)
    raised = (bias.double() + added.repeat_interleave(scale * scale)).float()
    history = weights.training | {"level_raised_by": [round(float(value), 5) for value in added]}
    weight_file.save(target, network, weights.state | {"tail.bias": raised}, history)
    return added


def main() -> None:
    """Run the command; prints what was added in 8-bit levels."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument(
        "--count", type=int, default=200, help="approximate number of photographs, evenly spread"
    )
    arguments = parser.parse_args()
    paths = images_below(arguments.photographs)
    if not paths:
        raise SystemExit(f"no pictures in '{arguments.photographs}'")
    pictures = paths[:: max(1, len(paths) // arguments.count)]
    added = set_level(arguments.source, arguments.target, pictures)
    levels = ", ".join(f"{255 * float(value):+.2f}" for value in added)
    print(f"{arguments.target}: {levels} levels (R, G, B) from {len(pictures)} pictures")


if __name__ == "__main__":
    main()
