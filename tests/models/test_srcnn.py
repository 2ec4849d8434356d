import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from support.pictures import photograph
from torch import Tensor, nn

from upscaler.inference.engine import Upscaler
from upscaler.models import weight_file
from upscaler.models.contract import Network
from upscaler.models.luma import luma
from upscaler.models.registry import build
from upscaler.trainer.evaluation import bicubic
from upscaler.trainer.stages import losses


def trained(scale: int) -> Network:
    """Not really, but all of its weights do something."""
    network = build("srcnn", {"scale": scale}).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.normal_(layer.weight, std=0.7 * layer.weight[0].numel() ** -0.5)
    return network


def chroma(rgb: Tensor) -> Tensor:
    """Differences of blue and red to luminance, of which every Cb and Cr is a multiple."""
    return torch.cat([rgb[:, 2:], rgb[:, :1]], 1) - luma(rgb)


def test_layers_are_the_paper_s() -> None:
    network = build("srcnn", {"scale": 1})
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    assert [tuple(layer.weight.shape) for layer in layers] == [
        (64, 1, 9, 9),
        (32, 64, 1, 1),
        (1, 32, 5, 5),
    ]
    # The paper's 8,032 weights; and biases.
    assert sum(parameter.numel() for parameter in network.parameters()) == 8032 + 64 + 32 + 1


@pytest.mark.parametrize("scale", [1, 2, 4])
def test_luminance_changes_and_chroma_passes_through(scale: int) -> None:
    lr = torch.rand(2, 3, 12, 15)
    with torch.inference_mode():
        plain = build("srcnn", {"scale": scale})(lr)
        result = trained(scale)(lr)
    assert torch.allclose(chroma(result), chroma(plain), atol=1e-6)
    assert float((luma(result) - luma(plain)).abs().mean()) > 0.01


def test_a_fresh_network_enlarges_as_the_baseline() -> None:
    pixels = photograph(20, 24)
    for scale in (1, 3):
        lr = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        with torch.inference_mode():
            result = build("srcnn", {"scale": scale})(lr)[0].permute(1, 2, 0)
        expected = bicubic.upsample(pixels.astype(np.float64), scale)
        difference = np.abs(result.mul(255).numpy() - expected)
        border_px = 2 * scale if scale > 1 else 0  # the kernel is cut off there, the baseline's is not
        inside = slice(border_px, -border_px or None)
        assert difference[inside, inside].max() < 1e-3
        assert difference.max() < 10


@pytest.mark.parametrize("scale", [1, 2])
def test_training_is_by_luminance_alone(scale: int) -> None:
    network = trained(scale)
    lr, hr = torch.rand(1, 3, 10, 10), torch.rand(1, 3, 10 * scale, 10 * scale)
    with torch.inference_mode():
        result, target = network(lr), network.training_target(lr, hr)
    assert torch.allclose(luma(target), luma(hr), atol=1e-6)
    expected = losses.l1_loss(luma(result), luma(hr))
    assert float(losses.l1_loss(result, target)) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("scale", [1, 2])
def test_tiles_give_the_whole_picture(tmp_path: Path, precision: str, scale: int) -> None:
    file = io.BytesIO()
    Image.fromarray(photograph(90, 110)).save(file, "JPEG", quality=20)
    pixels = np.array(Image.open(file))
    network = trained(scale)
    path = tmp_path / "weights.safetensors"
    weight_file.save(path, network, network.state_dict(), {})
    whole = Upscaler(path, device="cpu", precision=precision).image(pixels)
    assert whole.shape == (90 * scale, 110 * scale, 3)
    tiled = Upscaler(path, device="cpu", precision=precision, tile_px=40, batch=2).image(pixels)
    difference = np.abs(whole.astype(int) - tiled)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.001
    assert np.abs(whole[::scale, ::scale].astype(int) - pixels).mean() > 2
