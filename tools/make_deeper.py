"""Weights of a plain network of twice the depth that make the same picture, to train on from.

    python tools/make_deeper.py balanced-x8.safetensors deeper-x8.safetensors

After every convolution of the body comes one that hands its input on, with an activation that does nothing
(Net2DeeperNet: Chen et al., 2015, arXiv 1511.05641). What was learnt is kept, and there is room for more.
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
        SystemExit: The weights are of another kind of network.
    """
    weights = weight_file.load(source)
    if weights.architecture != "compact":
        raise SystemExit(f"'{source}' is no plain network")
    deeper = build(weights.architecture, weights.arguments | {"depth": 2 * weights.arguments["depth"]})
    state = {name: tensor for name, tensor in weights.state.items() if not name.startswith("body.")}
    for name, tensor in weights.state.items():
        if name.startswith("body."):
            _, place, kind = name.split(".")
            layer, part = divmod(int(place), 2)  # convolution 0, activation 1
            state[f"body.{4 * layer + part}.{kind}"] = tensor
    for layer in range(weights.arguments["depth"]):
        state |= _handing_on(4 * layer + 2, weights.arguments["channels"])
    weight_file.save(target, deeper, state, weights.training | {"deepened": True})


def _handing_on(place: int, channels: int) -> dict[str, Tensor]:
    """A convolution and an activation that change nothing, at a place of the body."""
    weight = torch.zeros(channels, channels, 3, 3)
    weight[:, :, 1, 1] = torch.eye(channels)
    return {
        f"body.{place}.weight": weight,
        f"body.{place}.bias": torch.zeros(channels),
        f"body.{place + 1}.weight": torch.ones(1),
    }


def main() -> None:
    """Read the arguments and do it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    make_deeper(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
