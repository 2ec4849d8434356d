"""VGG19 as a judge of likeness: features of its convolutions, each brought to the same size of values."""

import math
import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from upscaler.errors import WeightsError, first_line

# Simonyan and Zisserman, arXiv 1409.1556, configuration E: convolutions per stage, and their channels.
_STAGES = ((2, 64), (2, 128), (4, 256), (4, 512), (4, 512))
MEAN = (0.485, 0.456, 0.406)
DEVIATION = (0.229, 0.224, 0.225)

# Mean absolute features, times the factor, that a given factor may leave, and what torchvision's weights
# leave with SRGAN's 1/12.75. Measured on `chart`, before the factor: 24 (conv1_1 after the ReLU) to 628
# (conv3_4 before it) with the original weights, on photographs 17 to 939; at most 1.7 with random weights
# of unit gain (He) in any of the 16 layers. The limit is the geometric middle of 1.7 and 24. With
# 1/12.75, the original weights leave 1.9 (conv1_1) and 8 to 49 (conv1_2 to conv3_4; the deeper layers
# could not be measured).
_LARGEST_FEATURES, _USUAL_FEATURES = 6.4, 0.03

# What safetensors and torch raise on a file that holds something else, or a pickle that would run code.
_SIGNS_OF_DAMAGE = (
    *(SafetensorError, pickle.UnpicklingError, OSError, RuntimeError, ValueError, EOFError, AttributeError),
)


def _table() -> dict[str, tuple[int, int, int]]:
    """Layer name -> (number in torchvision's ``features``, channels in, channels out)."""
    table, number, before = {}, 0, 3
    for stage, (count, channels) in enumerate(_STAGES, 1):
        for index in range(1, count + 1):
            table[f"conv{stage}_{index}"] = (number, before, channels)
            number, before = number + 2, channels  # the activation has a number of its own
        number += 1  # the pooling
    return table


LAYERS = _table()


class VGGFeatures(nn.Module):
    """Features of some convolutions of VGG19. Nothing in it is trained.

    Args:
        layers: Names such as ``conv3_4``, at least one.
        state: Weights under torchvision's names (``features.0.weight``), at least to the deepest layer.
        after_activation: Features after the ReLU (SRGAN), else before it (ESRGAN: sparser after it).
        factor: What all features are multiplied by; ``None`` divides each layer's by its own mean absolute
            value on a fixed synthetic picture, so that a weight means the same with any file: the original
            network's values are a hundred times those of a network with normalised weights.

    Raises:
        WeightsError: An unknown layer, one that is not in ``state``, or features that ``factor`` does not
            bring to the size of the other losses: those of the original network (Oxford's, also in Keras).
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, layers: list[str], state: Mapping[str, Tensor], *, after_activation: bool, factor: float | None
    ) -> None:
        super().__init__()
        unknown = [name for name in layers if name not in LAYERS]
        if unknown or not layers:
            raise WeightsError(f"VGG19 has no layer '{', '.join(unknown)}'", f"it has {', '.join(LAYERS)}")
        self.layers = tuple(layers)
        self.after_activation = after_activation
        depth = max(list(LAYERS).index(name) for name in layers)
        self.convolutions = nn.ModuleDict()
        for name in list(LAYERS)[: depth + 1]:
            number, before, after = LAYERS[name]
            layer = nn.Conv2d(before, after, 3, padding=1)
            for part, own in (("weight", layer.weight), ("bias", layer.bias)):
                tensor = state.get(f"features.{number}.{part}")
                if tensor is None or own is None or tensor.shape != own.shape:
                    raise WeightsError(
                        f"the VGG19 weights hold {_held(state)}, but {layers[-1]} needs {name}",
                        "name layers that are there, or give a whole VGG19",
                    )
                own.data.copy_(tensor)
            self.convolutions[name] = layer
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))
        self.requires_grad_(False)
        self.factors = dict.fromkeys(layers, 1.0)
        sizes = {name: float(values.abs().mean()) for name, values in self(chart()).items()}
        if factor is None:
            self.factors = {name: 1 / max(size, 1e-12) for name, size in sizes.items()}
            return
        self.factors = dict.fromkeys(layers, factor)
        large = {name: size for name, size in sizes.items() if size * factor > _LARGEST_FEATURES}
        if large:
            name, size = max(large.items(), key=lambda item: item[1])
            raise WeightsError(
                f"the features of {name} average {size:.3g}, too large for a factor of {factor:.3g}, which "
                "is for torchvision's weights: the VGG loss would drown the others",
                f"use torchvision's weights, or a factor near {_USUAL_FEATURES / size:.2g} (gan.vgg_factor)",
            )

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        """RGB ``(B, 3, H, W)``, fp32 in [0, 1] -> ``(B, channels, h, w)`` for each layer asked for."""
        x = (picture - self.mean) / self.deviation
        found = {}
        for name, layer in self.convolutions.items():
            if name.endswith("_1") and name != "conv1_1":
                x = F.max_pool2d(x, 2)
            before = layer(x)
            x = F.relu(before)
            if name in self.layers:
                found[name] = (x if self.after_activation else before) * self.factors[name]
        return found


def read_vgg19(path: Path) -> dict[str, Tensor]:
    """Read VGG19 weights under torchvision's names, whole or only the first layers.

    Args:
        path: ``.safetensors``, or a state dictionary of torch (``.pth``), of which no code is run.

    Raises:
        WeightsError: The file is missing, damaged, or no VGG19.
    """
    if not path.is_file():
        raise WeightsError(f"no VGG19 weights '{path}'")
    try:
        state: dict[str, Tensor] = (
            load_file(path)
            if path.suffix == ".safetensors"
            else torch.load(path, map_location="cpu", weights_only=True)
        )
        floats = {name: tensor.float() for name, tensor in state.items() if name.startswith("features.")}
    except _SIGNS_OF_DAMAGE as error:
        raise WeightsError(f"'{path}' cannot be read as weights: {first_line(error)}") from error
    if "features.0.weight" not in floats:
        raise WeightsError(f"'{path}' holds no VGG19: no 'features.0.weight'", "names are torchvision's")
    return floats


def _held(state: Mapping[str, Tensor]) -> str:
    held = [name for name, (number, _, _) in LAYERS.items() if f"features.{number}.weight" in state]
    return f"{held[0]} to {held[-1]}" if held else "no layer"


def chart(side_px: int = 128) -> Tensor:
    """The same synthetic image on every machine: waves of all sizes and directions, and some edges.

    As in photographs, the finer the detail, the lower its contrast.

    Returns:
        RGB ``(1, 3, side_px, side_px)``, fp32 in [0, 1].
    """
    phase = torch.arange(side_px, dtype=torch.float64) / side_px
    down, right = phase[:, None], phase[None, :]
    colors = []
    for color in range(3):
        plane = torch.zeros(side_px, side_px, dtype=torch.float64)
        for index in range(24):
            waves = 1.6 ** (index % 8)
            angle = 2.4 * index + 0.7 * color
            along = down * math.sin(angle) + right * math.cos(angle)
            plane += torch.sin(2 * math.pi * waves * along + index) / waves
            plane += 0.3 * torch.sign(along - 0.1 * (index % 5)) / (1 + index)
        colors.append(0.5 + 0.2 * plane / plane.std())
    return torch.stack(colors).unsqueeze(0).clamp(0, 1).float()
