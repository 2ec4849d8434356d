"""The small encoder that imitates VGG19, and how it is distilled."""

from pathlib import Path

import pytest
import torch
from support.makers import MakePhotos
from support.networks import random_vgg

from upscaler.errors import WeightsError
from upscaler.models import encoder, perceptual

TOOLS = Path(__file__).parents[2] / "tools"


def multiplications(network: torch.nn.Module, side_px: int = 64) -> int:
    """Of the convolutions, for a square picture."""
    counted = 0

    def count(layer: torch.nn.Module, _given: object, result: torch.Tensor) -> None:
        nonlocal counted
        assert isinstance(layer, torch.nn.Conv2d)
        counted += layer.weight.numel() * result.shape[-2] * result.shape[-1]

    for layer in network.modules():
        if isinstance(layer, torch.nn.Conv2d):
            layer.register_forward_hook(count)
    network(torch.rand(1, 3, side_px, side_px))
    return counted


def test_it_makes_the_shapes_of_vgg19_for_a_sixteenth_of_its_work(tmp_path: Path) -> None:
    layers = list(encoder.IMITATED)
    state = perceptual.read_vgg19(random_vgg(tmp_path / "vgg.safetensors", "conv5_4"))
    whole = perceptual.VGGFeatures(["conv5_4", *layers], state, after_activation=False, factor=None)
    small = encoder.SmallEncoder(layers)
    pictures = torch.rand(2, 3, 40, 56)
    found, expected = small(pictures), whole(pictures)
    assert list(found) == layers
    assert all(found[name].shape == expected[name].shape for name in layers)
    assert multiplications(small) * 16 < multiplications(whole)


def test_only_the_layers_asked_for_and_after_the_activation_if_that_is_asked() -> None:
    torch.manual_seed(0)
    both = encoder.SmallEncoder(["conv1_2", "conv2_2"])
    one = encoder.SmallEncoder(["conv2_2"], after_activation=True)
    one.load_state_dict(both.state_dict())
    pictures = torch.rand(1, 3, 16, 16)
    assert list(one(pictures)) == ["conv2_2"]
    assert torch.equal(one(pictures)["conv2_2"], both(pictures)["conv2_2"].relu())
    with pytest.raises(WeightsError, match="imitates conv1_2, conv2_2, conv3_4, not 'conv5_4'"):
        encoder.SmallEncoder(["conv5_4"])


def test_the_shipped_encoder_ranks_differences() -> None:
    network = encoder.load(encoder.SHIPPED, list(encoder.IMITATED), after_activation=False)
    assert encoder.SHIPPED.stat().st_size < 2_000_000
    assert encoder.SHIPPED.with_suffix(".md").is_file()
    generator = torch.Generator().manual_seed(0)
    picture = perceptual.chart(64)
    noise = torch.randn(picture.shape, generator=generator)
    plain = network(picture)
    for name, values in plain.items():
        assert 0.3 < float(values.abs().mean()) < 3, name  # divided by their mean, as VGG19's
        found = [
            float((network(picture + share * noise)[name] - values).abs().mean()) for share in (0.02, 0.1)
        ]
        assert 0 < 2 * found[0] < found[1]


def test_a_damaged_file_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "broken.safetensors"
    path.write_bytes(encoder.SHIPPED.read_bytes()[:5000])
    with pytest.raises(WeightsError, match=r"broken.safetensors' cannot be read as an encoder"):
        encoder.load(path, ["conv1_2"], after_activation=False)


def test_distillation_approaches_the_teacher(
    tmp_path: Path, make_photos: MakePhotos, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(TOOLS))
    from distill_encoder import distill

    make_photos(tmp_path / "photos", 4, 128)
    vgg = random_vgg(tmp_path / "vgg.safetensors", "conv3_4")
    scores = [
        distill([tmp_path / "photos"], vgg, tmp_path / f"{steps}.safetensors", steps=steps, batch=1)
        for steps in (1, 50)
    ]
    assert scores[1]["conv1_2"] > scores[0]["conv1_2"] + 0.05
    assert scores[1]["difference conv1_2"] > scores[0]["difference conv1_2"] + 0.02
    layers = list(encoder.IMITATED)
    result = encoder.load(tmp_path / "50.safetensors", layers, after_activation=False)
    assert all(values.isfinite().all() for values in result(torch.rand(1, 3, 32, 32)).values())
