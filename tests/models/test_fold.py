import pytest
import torch
from torch import nn

from upscaler.models.fold import fold_for_inference, fold_shuffle
from upscaler.models.registry import build

CASES = [
    ("compact", {"scale": 4, "channels": 12, "depth": 3}),
    ("srresnet", {"scale": 2, "channels": 8, "blocks": 2}),
    ("srresnet", {"scale": 4, "channels": 8, "blocks": 2, "norm": "batch", "tail": "paper"}),
    ("srresnet", {"scale": 3, "channels": 8, "blocks": 1, "norm": "batch", "tail": "paper"}),
    ("srresnet", {"scale": 8, "channels": 8, "blocks": 1, "norm": "none", "tail": "paper"}),
]


def lively(module: nn.Module) -> nn.Module:
    """Weights, slopes and statistics of which none is at its default."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.1)
            nn.init.normal_(layer.bias, std=0.1)
        if isinstance(layer, nn.PReLU):
            nn.init.uniform_(layer.weight, -0.3, 0.8)
        if isinstance(layer, nn.BatchNorm2d):
            for values in (layer.weight, layer.bias, layer.running_mean):
                nn.init.normal_(values)
            nn.init.uniform_(layer.running_var, 0.3, 2)
    return module.eval()


@pytest.mark.parametrize(("architecture", "arguments"), CASES)
def test_folded_equals_unfolded(architecture: str, arguments: dict[str, object]) -> None:
    network = lively(build(architecture, arguments))
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    lr = torch.rand(2, 3, 13, 10)
    with torch.no_grad():
        expected, result = network(lr), fold_for_inference(network)(lr)
    assert float((expected - result).abs().max()) < 2e-5 * float(expected.abs().max())
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())


def test_nothing_foldable_is_left() -> None:
    for architecture, arguments in CASES:
        layers = list(fold_for_inference(build(architecture, arguments).eval()).modules())
        assert not any(isinstance(layer, nn.BatchNorm2d | nn.PReLU) for layer in layers)
        tail = [layer for layer in layers if isinstance(layer, nn.Conv2d)][-1]
        assert tail.out_channels > 4, "the last convolution still runs at the enlarged size"


@pytest.mark.parametrize("size", [1, 3, 5, 9])
@pytest.mark.parametrize("factor", [2, 3])
def test_a_shuffle_and_a_convolution_become_one(size: int, factor: int) -> None:
    conv = lively(nn.Conv2d(5, 3, size, padding=size // 2))
    shuffle = nn.PixelShuffle(factor)
    features = torch.rand(1, 5 * factor**2, 7, 6)
    with torch.no_grad():
        expected = conv(shuffle(features))
        result = shuffle(fold_shuffle(shuffle, conv)(features))
    assert torch.allclose(expected, result, atol=1e-5)
