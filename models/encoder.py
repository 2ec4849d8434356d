"""A quarter of VGG19's width: features like VGG19's for a sixteenth of the work, small enough to ship."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from upscaler.errors import WeightsError, first_line
from upscaler.models.perceptual import DEVIATION, LAYERS, MEAN

SHIPPED = Path(__file__).parent / "weights" / "vgg19-small.safetensors"

# Which of VGG19's layers it imitates; each is a stage of its own, up to that layer.
IMITATED = ("conv1_2", "conv2_2", "conv3_4")

# Channels of the convolutions before each of them: a quarter of VGG19's, one convolution less in the third.
_STAGES = ((16, 16), (32, 32), (64, 64, 64))


class SmallEncoder(nn.Module):
    """Imitates features of VGG19, before the activation and divided by each layer's mean.

    Three stages of 3x3 convolutions as VGG19's, with a quarter of the channels; a 1x1 convolution after each
    stage gives VGG19's channels (as in Wang et al., arXiv 2003.08436). Only those of the layers asked for are
    computed.

    Args:
        layers: Of ``IMITATED``, at least one.
        after_activation: Features after the ReLU, else before it.

    Raises:
        WeightsError: A layer that it does not imitate.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, layers: list[str], *, after_activation: bool = False) -> None:
        super().__init__()
        unknown = [name for name in layers if name not in IMITATED]
        if unknown or not layers:
            raise WeightsError(
                f"the small encoder imitates {', '.join(IMITATED)}, not '{', '.join(unknown)}'",
                "choose the whole VGG19 with --vgg torchvision, or --vgg FILE",
            )
        self.layers = tuple(layers)
        self.after_activation = after_activation
        self.stages, self.heads = nn.ModuleList(), nn.ModuleDict()
        before = 3
        for name, widths in zip(IMITATED, _STAGES, strict=True):
            stage = nn.ModuleList()
            for width in widths:
                stage.append(nn.Conv2d(before, width, 3, padding=1))
                before = width
            self.stages.append(stage)
            self.heads[name] = nn.Conv2d(before, LAYERS[name][2], 1)
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("deviation", torch.tensor(DEVIATION).view(1, 3, 1, 1))

    def forward(self, picture: Tensor) -> dict[str, Tensor]:
        """RGB ``(B, 3, H, W)``, fp32 in [0, 1] -> ``(B, channels, h, w)`` for each layer asked for."""
        x = (picture - self.mean) / self.deviation
        found = {}
        for number, (name, stage) in enumerate(zip(IMITATED, self.stages, strict=True)):
            x = F.max_pool2d(x, 2) if number else x
            assert isinstance(stage, nn.ModuleList)
            for layer in stage:
                x = F.leaky_relu(layer(x), 0.1)
            if name in self.layers:
                made = self.heads[name](x)
                found[name] = F.relu(made) if self.after_activation else made
            if len(found) == len(self.layers):
                break
        return found


def load(path: Path, layers: list[str], *, after_activation: bool) -> SmallEncoder:
    """The encoder of a file, without gradients.

    Raises:
        WeightsError: The file is missing or damaged, or does not imitate one of the layers.
    """
    network = SmallEncoder(layers, after_activation=after_activation)
    try:
        with safe_open(path, "pt") as file:
            network.load_state_dict({name: file.get_tensor(name).float() for name in file.keys()})  # noqa: SIM118
    except (OSError, SafetensorError, RuntimeError) as error:
        raise WeightsError(f"'{path}' cannot be read as an encoder: {first_line(error)}") from error
    return network.eval().requires_grad_(False)


def save(path: Path, network: SmallEncoder, training: Mapping[str, object]) -> None:
    """Write a file in fp16, with how the weights came to be."""
    state = {name: tensor.half().contiguous() for name, tensor in network.state_dict().items()}
    save_file(state, path, {"training": json.dumps(training)})
