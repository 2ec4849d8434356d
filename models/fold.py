"""Exact rewrites of a network for inference: the same function, fewer and faster operations."""

import copy

import torch
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from upscaler.models.contract import Network


@torch.no_grad()
def fold_for_inference(network: Network) -> Network:
    """A copy of a network for inference only.

    Batch norm goes into the convolution before it, a one-slope PReLU becomes a leaky ReLU in place, and a
    pixel shuffle followed by a convolution becomes one convolution at the lower resolution.

    Args:
        network: In evaluation mode, fp32.

    Returns:
        A network with the same output up to rounding; it has no gradients.
    """
    rewritten = copy.deepcopy(network).eval()
    for module in list(rewritten.modules()):
        if isinstance(module, nn.Sequential):
            _fold_sequence(module)
    for module in list(rewritten.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.PReLU) and child.num_parameters == 1:
                setattr(module, name, nn.LeakyReLU(float(child.weight), inplace=True))
    return rewritten


def _fold_sequence(layers: nn.Sequential) -> None:
    """Rewrite neighbouring layers of a sequence in place."""
    kept: list[nn.Module] = []
    for layer in layers:
        previous = kept[-1] if kept else None
        if isinstance(layer, nn.BatchNorm2d) and isinstance(previous, nn.Conv2d):
            kept[-1] = fuse_conv_bn_eval(previous, layer)
        elif isinstance(layer, nn.PReLU) and isinstance(previous, nn.PixelShuffle):
            kept.insert(-1, layer)  # one slope for all values: the order does not matter
        elif isinstance(layer, nn.Conv2d) and isinstance(previous, nn.PixelShuffle) and _small(layer):
            kept[-1:] = [fold_shuffle(previous, layer), previous]
        else:
            kept.append(layer)
    if len(kept) != len(layers) or any(new is not old for new, old in zip(kept, layers, strict=True)):
        while len(layers):
            del layers[0]
        layers.extend(kept)


def _small(conv: nn.Conv2d) -> bool:
    """Whether a convolution has so few outputs that it runs faster on fewer, deeper pixels."""
    return conv.out_channels <= 4


def fold_shuffle(shuffle: nn.PixelShuffle, conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution before a pixel shuffle that equals ``conv`` after it.

    A pixel at (y*r + p) of the upsampled image that looks d pixels down sees row y + (p + d) // r, phase
    (p + d) % r. Borders agree, because both pad with zeros.

    Args:
        shuffle: By r.
        conv: ``(out, in, k, k)`` with odd k, stride 1 and "same" zero padding.

    Returns:
        ``(out*r*r, in*r*r, j, j)``, to be followed by the same shuffle.
    """
    r = shuffle.upscale_factor
    radius = conv.kernel_size[0] // 2
    lr_radius = -(-radius // r)
    outputs, inputs = conv.out_channels, conv.in_channels
    weight = torch.zeros(
        outputs, r, r, inputs, r, r, 2 * lr_radius + 1, 2 * lr_radius + 1, dtype=conv.weight.dtype
    )
    for row in range(r):
        for column in range(r):
            for down in range(-radius, radius + 1):
                for right in range(-radius, radius + 1):
                    y, from_row = divmod(row + down, r)
                    x, from_column = divmod(column + right, r)
                    tap = conv.weight[:, :, down + radius, right + radius]
                    weight[:, row, column, :, from_row, from_column, y + lr_radius, x + lr_radius] = tap
    folded = nn.Conv2d(
        inputs * r * r, outputs * r * r, 2 * lr_radius + 1, padding=lr_radius, bias=conv.bias is not None
    )
    folded.weight = nn.Parameter(weight.view_as(folded.weight))
    if conv.bias is not None:
        folded.bias = nn.Parameter(conv.bias.repeat_interleave(r * r))
    return folded
