"""Double the depth of a compact network without changing its output, as a start for training.

    python tools/make_deeper.py balanced-x8.safetensors deeper-x8.safetensors

Every convolution of the body is followed by an identity convolution and an identity activation
(Net2DeeperNet: Chen et al., 2015, arXiv 1511.05641).
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor

from upscaler.models import weight_file
from upscaler.models.registry import build


def make_deeper(source: Path, target: Path) -> None:
    """Write ``source`` with twice as many convolutions between head and tail to ``target``.

    Raises:
        SystemExit: The weights belong to another architecture.
    """
    weights = weight_file.load(source)
    if weights.architecture != "compact":
        raise SystemExit(f"the network of '{source}' is not compact")
    deeper = build(weights.architecture, weights.arguments | {"depth": 2 * weights.arguments["depth"]})
    state = {name: tensor for name, tensor in weights.state.items() if not name.startswith("body.")}
    for name, tensor in weights.state.items():
        if name.startswith("body."):
            _, index, kind = name.split(".")
            layer, part = divmod(int(index), 2)  # convolution 0, activation 1
            state[f"body.{4 * layer + part}.{kind}"] = tensor
    for layer in range(weights.arguments["depth"]):
        state |= _identity(4 * layer + 2, weights.arguments["channels"])
    weight_file.save(target, deeper, state, weights.training | {"deepened": True})


def _identity(index: int, channels: int) -> dict[str, Tensor]:
    """An identity convolution and activation, from this index of the body on."""
    weight = torch.zeros(channels, channels, 3, 3)
    weight[:, :, 1, 1] = torch.eye(channels)
    return {
        f"body.{index}.weight": weight,
        f"body.{index}.bias": torch.zeros(channels),
        f"body.{index + 1}.weight": torch.ones(1),
    }


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    make_deeper(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
