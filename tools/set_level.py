"""Give weights the mean that photographs have, without training them again.

    python tools/set_level.py learnt.safetensors balanced-x4.safetensors train/

L1 leads to the median, and the errors that remain are skewed: over photographs their mean is 0.16 levels and
their median 0.04, so that pictures become a little darker. A network that learns from another's pictures
adds its own share to that of its teacher. What is missing over many pictures is added to the biases of the
tail.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from upscaler.models import weight_file
from upscaler.models.contract import Network
from upscaler.trainer.data.sources import images_below
from upscaler.trainer.evaluation import bicubic


def missing(network: Network, high: NDArray[np.uint8]) -> Tensor:
    """Mean of an original less that of its reduction enlarged, clamped to [0, 1].

    Args:
        network: In evaluation mode.
        high: RGB ``(H, W, 3)``; H and W multiples of the scale.

    Returns:
        One value per colour, ``(3,)``, of a range of 0 to 1.
    """
    low = bicubic.downscale(high, network.contract.scale)
    with torch.inference_mode():
        made = network(torch.from_numpy(low).permute(2, 0, 1).unsqueeze(0) / 255).clamp(0, 1)
    return torch.from_numpy(high).double().mean((0, 1)) / 255 - made.double().mean((0, 2, 3))


def set_level(source: Path, target: Path, pictures: list[Path]) -> Tensor:
    """Write ``source`` with what is missing over ``pictures`` added to ``target``, and say so in its history.

    Returns:
        What was added, ``(3,)`` of a range of 0 to 1.

    Raises:
        SystemExit: The last layer of the network is no plain tail.
    """
    weights = weight_file.load(source)
    network = weights.network()
    scale = network.contract.scale
    bias = weights.state.get("tail.bias")
    if bias is None or len(bias) != 3 * scale * scale:
        raise SystemExit(f"the network of '{source}' has no single tail")
    added = torch.zeros(3, dtype=torch.float64)
    for path in pictures:
        with Image.open(path) as picture:
            high = np.array(picture.convert("RGB"))
        height, width = (side - side % scale for side in high.shape[:2])
        added += missing(network, high[:height, :width]) / len(pictures)
    raised = (bias.double() + added.repeat_interleave(scale * scale)).float()
    history = weights.training | {"level_raised_by": [round(float(value), 5) for value in added]}
    weight_file.save(target, network, weights.state | {"tail.bias": raised}, history)
    return added


def main() -> None:
    """Read the arguments, do it, and say what was added in levels of 8 bits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument(
        "--count", type=int, default=200, help="about so many of the photographs, evenly spread"
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
