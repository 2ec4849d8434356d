"""Our networks written as an ``SRVGG``: wider, slower, and the same function, so that other programs run it.

Two things that an ``SRVGG`` lacks are carried through its layers in channels of their own, with activation
slope 1:

- The long skip. The tail is linear, so its answer to the skip is computed early, and carried as the finished
  part of the result, in as many channels as the tail has.
- The bilinear enlargement, of which an ``SRVGG`` adds the part that repeats pixels. The rest is linear, too,
  and goes into the finished part; except at the borders, where ours repeats the last pixel and a convolution
  sees zeros. Channels with slope 0 find the border pixels: of ``colour - 2 * neighbour``, where the neighbour
  is 1 inside the picture and 0 outside, only those remain. There are 24 of them (three colours, four sides,
  four corners), spread evenly over the layers.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from upscaler.errors import WeightsError
from upscaler.models.compact import Compact
from upscaler.models.contract import Network, bilinear_kernel
from upscaler.models.srresnet import ResidualBlock, SRResNet
from upscaler.models.srvgg import SRVGG

_OUTSIDE = 2.0  # above every value of a colour
_NEIGHBOURS = [(down, right) for down in (-1, 0, 1) for right in (-1, 0, 1) if (down, right) != (0, 0)]
# A colour and the side or corner beyond which it is repeated.
_Border = tuple[int, int, int]


@dataclass
class _Layer:
    """A convolution and its activation, by named groups of channels.

    Attributes:
        kernels: From group to group: ``(out, in, 3, 3)``.
        biases: By group, ``(out,)``; zero where missing.
        slopes: By group, for negative values; also lists the groups, in order, with their channels.
    """

    kernels: dict[tuple[str, str], Tensor] = field(default_factory=dict)
    biases: dict[str, Tensor] = field(default_factory=dict)
    slopes: dict[str, tuple[int, float]] = field(default_factory=dict)

    def add(self, name: str, channels: int, slope: float) -> None:
        """A group of channels that this layer gives."""
        self.slopes[name] = (channels, slope)

    def connect(self, conv: nn.Conv2d, source: str, target: str) -> None:
        """Have the convolution of the network lead from group to group."""
        self.kernels[source, target] = conv.weight.detach().float()
        if conv.bias is not None:
            self.biases[target] = conv.bias.detach().float()

    def carry(self, name: str, channels: int) -> None:
        """Pass a group on unchanged."""
        self.add(name, channels, 1.0)
        self.kernels[name, name] = _centre(torch.eye(channels))

    @property
    def width(self) -> int:
        """Channels of all groups."""
        return sum(channels for channels, _ in self.slopes.values())


@torch.no_grad()
def as_srvgg(network: Network) -> SRVGG:
    """The same function, up to rounding, for pictures in [0, 1].

    Args:
        network: Fp32; ``SRVGG`` itself, ``Compact`` without gate, or ``SRResNet`` with the single tail and
            without norm.

    Raises:
        WeightsError: Another network, which has no such form.
    """
    if isinstance(network, SRVGG):
        return network
    if isinstance(network, Compact) and network.gate is None:
        layers = _compact_layers(network)
    elif isinstance(network, SRResNet) and isinstance(network.tail, nn.Conv2d) and not _normalizes(network):
        layers = _srresnet_layers(network)
    else:
        what = "its gate" if isinstance(network, Compact) else "parts of it"
        raise WeightsError(
            f"this network cannot be exported for spandrel: its Compact cannot express {what}",
            "use --export onnx",
        )
    tail = network.tail
    assert isinstance(tail, nn.Conv2d)
    scale = network.contract.scale
    last = _carry_the_rest(layers, tail, scale)
    return _assembled(layers, last, scale)


def _normalizes(network: SRResNet) -> bool:
    return any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def _compact_layers(network: Compact) -> list[_Layer]:
    channels = network.arguments["channels"]
    convolutions = [network.head, *network.body[::2]]
    activations = [network.head_activation, *network.body[1::2]]
    layers = []
    for number, (conv, activation) in enumerate(zip(convolutions, activations, strict=True)):
        layer = _Layer()
        layer.add("features", channels, _slope(activation))
        layer.connect(_as_conv(conv), "features" if number else "picture", "features")
        layers.append(layer)
    return layers


def _srresnet_layers(network: SRResNet) -> list[_Layer]:
    channels = network.arguments["channels"]
    head = _Layer()
    head.add("features", channels, _slope(network.head_activation))
    head.connect(network.head, "picture", "features")
    layers = [head]
    for block in network.blocks:
        assert isinstance(block, ResidualBlock)
        first, activation, second = block.layers[0][0], block.layers[1], block.layers[2][0]  # type: ignore[index]
        inner, outer = _Layer(), _Layer()
        inner.add("inner", channels, _slope(activation))
        inner.connect(_as_conv(first), "features", "inner")
        inner.carry("features", channels)
        outer.carry("features", channels)
        outer.connect(_as_conv(second), "inner", "features")
        layers += [inner, outer]
    merge = _Layer()
    merge.add("features", channels, 1.0)
    merge.connect(_as_conv(network.merge[0]), "features", "features")
    return [*layers, merge]


def _carry_the_rest(layers: list[_Layer], tail: nn.Conv2d, scale: int) -> _Layer:
    """Add skip and bilinear enlargement to the layers; returns the last one, which gives the result."""
    outputs = tail.out_channels
    bilinear = bilinear_kernel(scale, torch.device("cpu"))
    rest = bilinear - _centre(bilinear.sum((2, 3)))
    borders = [(color, *side) for color in range(3) for side in _NEIGHBOURS] if scale > 1 else []
    each = -(-len(borders) // (len(layers) - 1))
    per_layer = [borders[first : first + each] for first in range(0, len(borders), each)] if borders else []
    final = _Layer()
    final.add("finished", outputs, 1.0)
    final.connect(tail, "features", "finished")
    found: list[_Border] = []  # by the layer before
    for number, layer in enumerate([*layers[1:], final], 1):
        layer.add("finished", outputs, 1.0)
        if number == 1:
            layer.kernels["features", "finished"] = tail.weight.detach().float()
            layer.kernels["colors", "finished"] = rest
        else:
            layer.kernels["finished", "finished"] = _centre(torch.eye(outputs))
        if found:
            layer.kernels["borders", "finished"] = _repeated(found, bilinear)
        found = per_layer[number - 1] if number <= len(per_layer) and layer is not final else []
        if found:
            layer.add("borders", len(found), 0.0)
            layer.kernels["colors", "borders"], layer.kernels["inside", "borders"] = _finding(found)
        if number < len(per_layer):  # the next layer looks for borders, too
            layer.carry("colors", 3)
            layer.carry("inside", 1)
    head = layers[0]
    head.add("colors", 3, 1.0)
    head.kernels["picture", "colors"] = _centre(torch.eye(3))
    head.add("inside", 1, 1.0)
    head.biases["inside"] = torch.ones(1)
    return final


def _finding(borders: list[_Border]) -> tuple[Tensor, Tensor]:
    """Kernels from colours, and from what is 1 inside, to what a ReLU makes zero but at the borders."""
    colors, inside = torch.zeros(len(borders), 3, 3, 3), torch.zeros(len(borders), 1, 3, 3)
    for channel, (color, down, right) in enumerate(borders):
        colors[channel, color, 1, 1] = 1
        if down:
            inside[channel, 0, 1 + down, 1] = -_OUTSIDE
        if right:
            inside[channel, 0, 1, 1 + right] = -_OUTSIDE
    return colors, inside


def _repeated(borders: list[_Border], bilinear: Tensor) -> Tensor:
    """The kernel that adds what the bilinear one would see beyond the borders of a continued picture."""
    kernel = torch.zeros(len(bilinear), len(borders), 3, 3)
    for channel, (color, down, right) in enumerate(borders):
        beyond = bilinear[:, color]
        if down and right:
            kernel[:, channel, 1, 1] = beyond[:, 1 + down, 1 + right]
        elif right:
            kernel[:, channel, :, 1] = beyond[:, :, 1 + right]
        else:
            kernel[:, channel, 1, :] = beyond[:, 1 + down, :]
    return kernel


def _assembled(layers: list[_Layer], final: _Layer, scale: int) -> SRVGG:
    """The network of these layers; missing kernels are zero, and narrow layers are filled up."""
    width = max(layer.width for layer in layers)
    result = SRVGG(scale=scale, channels=width, depth=len(layers) - 1)
    for parameter in result.parameters():
        nn.init.zeros_(parameter)
    convolutions = [result.head, *result.body[::2], result.tail]
    before = {"picture": 0}
    for conv, layer in zip(convolutions, [*layers, final], strict=True):
        starts, channel = {}, 0
        for name, (channels, _) in layer.slopes.items():
            starts[name] = channel
            channel += channels
        for (source, target), kernel in layer.kernels.items():
            row, column = starts[target], before[source]
            conv.weight[row : row + len(kernel), column : column + kernel.shape[1]] += kernel
        for target, bias in layer.biases.items():
            conv.bias[starts[target] : starts[target] + len(bias)] += bias
        before = starts
    for activation, layer in zip([result.head_activation, *result.body[1::2]], layers, strict=True):
        slopes = [torch.full((channels,), slope) for channels, slope in layer.slopes.values()]
        activation.weight[: layer.width] = torch.cat(slopes)
    return result.eval()


def _centre(matrix: Tensor) -> Tensor:
    """A 3x3 kernel ``(out, in, 3, 3)`` that mixes channels and looks at no neighbour."""
    kernel = torch.zeros(*matrix.shape, 3, 3)
    kernel[:, :, 1, 1] = matrix
    return kernel


def _slope(activation: nn.Module) -> float:
    assert isinstance(activation, nn.PReLU) and activation.num_parameters == 1
    return float(activation.weight)


def _as_conv(module: nn.Module) -> nn.Conv2d:
    assert isinstance(module, nn.Conv2d)
    return module
