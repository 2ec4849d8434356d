"""Small networks and weight files whose output is known or random."""

from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from upscaler import Upscaler
from upscaler.inference.plan import PlannedNetwork
from upscaler.inference.tiled_network import TiledNetwork
from upscaler.models import perceptual, weight_file
from upscaler.models.compact import Compact
from upscaler.models.contract import Contract, Network


class Nearest(Network):
    """Repeats pixels: what any tiling of it must give is known to the bit."""

    def __init__(self, *, scale: int, multiple_of: int = 1, receptive_radius_px: int = 3) -> None:
        super().__init__()
        self.arguments = {
            "scale": scale,
            "multiple_of": multiple_of,
            "receptive_radius_px": receptive_radius_px,
        }
        self.gain = nn.Parameter(torch.ones(1))
        self.contract = Contract(scale, receptive_radius_px, multiple_of, macs_per_pixel=0)

    def forward(self, lr: Tensor) -> Tensor:
        height, width = lr.shape[-2:]
        assert height % self.contract.multiple_of == width % self.contract.multiple_of == 0
        scale = self.contract.scale
        return lr.repeat_interleave(scale, -1).repeat_interleave(scale, -2)


def weights(path: Path, scale: int = 2, channels: int = 8, depth: int = 3, detail: float = 0.2) -> Path:
    """Write a weight file with random weights.

    Args:
        path: Target.
        scale: Of the network.
        channels: Features per layer.
        depth: Convolutions between head and tail.
        detail: How much the network adds to bilinear upsampling: the deviation of the tail's weights.
    """
    network = Compact(scale=scale, channels=channels, depth=depth)
    nn.init.normal_(network.tail.weight, std=detail)
    weight_file.save(path, network, network.state_dict(), {})
    return path


def network_of(upscaler: Upscaler, scale: int) -> TiledNetwork:
    """The network of this scale of an engine's first model."""
    return upscaler._network(PlannedNetwork(upscaler.models[0], scale))


def random_vgg(path: Path, deepest: str) -> Path:
    """A seeded random VGG19 to a layer, under torchvision's names; variance is kept from layer to layer."""
    generator = torch.Generator().manual_seed(0)
    tensors: dict[str, Tensor] = {}
    for name, (number, before, after) in perceptual.LAYERS.items():
        weight = torch.randn(after, before, 3, 3, generator=generator) * (2 / (9 * before)) ** 0.5
        tensors[f"features.{number}.weight"] = weight.half()
        tensors[f"features.{number}.bias"] = torch.zeros(after).half()
        if name == deepest:
            break
    save_file(tensors, path)
    return path


def mean_of_eight(network: Callable[[Tensor], Tensor], lr: Tensor) -> Tensor:
    """The definition: quarter turns of a picture and of its mirror image, turned back, and their mean."""
    found = []
    for mirrored in (False, True):
        for turns in range(4):
            version = torch.rot90(lr.flip(-1) if mirrored else lr, turns, (-2, -1))
            sr = torch.rot90(network(version.contiguous()), -turns, (-2, -1))
            found.append(sr.flip(-1) if mirrored else sr)
    return torch.stack(found).double().mean(0)
