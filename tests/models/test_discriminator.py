"""The networks of stage two that are not shipped, against the numbers of their papers."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from upscaler.errors import WeightsError
from upscaler.models import discriminator, perceptual
from upscaler.models.discriminator import SpectralConv2d
from upscaler.models.registry import PRESETS, build


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_paper_s_generator_has_the_paper_s_size() -> None:
    """By hand: 9x9 head, 16 blocks, merge, two enlargements by 2, 9x9 tail; published as 1.5 million."""
    conv = 64 * 64 * 9 + 64
    norm = 2 * 64
    head = 3 * 64 * 81 + 64 + 1
    blocks = 16 * (2 * conv + 2 * norm + 1)
    merge = conv + norm
    tail = 2 * (64 * 256 * 9 + 256 + 1) + 64 * 3 * 81 + 3
    architecture, arguments = PRESETS["srresnet-paper"]
    assert count(build(architecture, arguments | {"scale": 4})) == head + blocks + merge + tail == 1_549_462


def test_the_paper_s_discriminator_has_the_paper_s_size() -> None:
    """By hand: eight convolutions (batch norm takes the place of the bias), a head for 96-pixel crops."""
    convs = 9 * (3 * 64 + 64 * 64 + 64 * 128 + 128**2 + 128 * 256 + 256**2 + 256 * 512 + 512**2)
    biases = 64
    norms = 2 * (64 + 128 + 128 + 256 + 256 + 512 + 512)
    head = 6 * 6 * 512 * 1024 + 1024 + 1024 + 1
    result = discriminator.build("srgan", channels=64, side_px=96)
    assert count(result) == convs + biases + norms + head == 23_563_649
    strides = [layer.stride[0] for layer in result.modules() if isinstance(layer, nn.Conv2d)]
    assert strides == [1, 2, 1, 2, 1, 2, 1, 2]


def test_the_u_net_has_real_esrgan_s_size() -> None:
    """Published as 4.4 million."""
    down = 16 * (64 * 128 + 128 * 256 + 256 * 512)
    up = 9 * (512 * 256 + 256 * 128 + 128 * 64)
    ends = (3 * 64 * 9 + 64) + 2 * 64 * 64 * 9 + (64 * 9 + 1)
    assert count(discriminator.build("unet", channels=64, side_px=96)) == down + up + ends == 4_376_897


@pytest.mark.parametrize("kind", ["patch", "patch-input"])
def test_a_patch_verdict_depends_on_60_pixels(kind: discriminator.Kind) -> None:
    network = discriminator.build(kind, channels=4, side_px=128).double()
    picture = torch.rand(1, 3, 128, 128, dtype=torch.double, requires_grad=True)
    logits, features = network(picture, torch.rand(1, 3, 32, 32, dtype=torch.double))
    assert logits.shape == (1, 1, 16, 16)
    assert [level.shape[1] for level in features] == [4, 8, 16, 16]
    logits[0, 0, 8, 8].backward()
    assert picture.grad is not None
    rows, columns = picture.grad[0].abs().sum(0).nonzero().unbind(1)
    assert int(rows.max() - rows.min()) == int(columns.max() - columns.min()) == 59
    assert sum(isinstance(layer, SpectralConv2d) for layer in network.modules()) == 3


def test_a_patch_verdict_does_not_see_brightness_and_sees_detail() -> None:
    network = discriminator.build("patch", channels=4, side_px=32).eval()
    picture = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1)) / 2
    with torch.no_grad():
        logits, brighter, smoother = (network(one, one)[0] for one in (picture, picture + 0.4, picture / 2))
    assert torch.allclose(logits, brighter, atol=1e-4)
    assert float((logits - smoother).abs().max()) > 1e-2


def test_a_discriminator_that_sees_the_input_minds_whether_the_picture_fits_it() -> None:
    torch.manual_seed(0)
    network = discriminator.build("patch-input", channels=4, side_px=33).eval()
    lr = torch.rand(2, 3, 11, 11)
    picture = F.interpolate(lr, scale_factor=3.0, mode="bilinear")
    with torch.no_grad():
        fitting, others = network(picture, lr)[0], network(picture, lr.flip(0))[0]
        assert fitting.shape == (2, 1, 4, 4)
        assert torch.equal(network.seen(picture, lr)[:, 12:24], torch.zeros(2, 12, 16, 16))
    assert float((fitting - others).abs().max()) > 1e-2


def test_logits_per_crop_and_per_pixel() -> None:
    crops, lr = torch.rand(2, 3, 33, 33), torch.rand(2, 3, 11, 11)
    one, features = discriminator.build("srgan", channels=4, side_px=33)(crops, lr)
    assert one.shape == (2, 1)
    assert len(features) == 8
    every, features = discriminator.build("unet", channels=4, side_px=33)(crops, lr)
    assert every.shape == (2, 1, 33, 33)
    assert [level.shape[1] for level in features] == [4, 8, 16, 32, 16, 8, 4]
    with pytest.raises(AssertionError, match="built for 32-pixel crops"):
        discriminator.build("srgan", channels=4, side_px=32)(crops, lr)


def test_unknown_discriminator() -> None:
    with pytest.raises(WeightsError, match="no discriminator 'patchgan'"):
        discriminator.build("patchgan", channels=4, side_px=32)  # type: ignore[arg-type]


def test_spectral_norm_is_the_largest_singular_value() -> None:
    layer = SpectralConv2d(6, 8, 3)
    for _ in range(100):
        layer(torch.rand(1, 6, 5, 5))
    layer.eval()
    picture = torch.rand(1, 6, 9, 9)
    largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), ord=2)
    expected = F.conv2d(picture, layer.weight / largest, padding=1)
    torch.testing.assert_close(layer(picture), expected, rtol=1e-4, atol=1e-5)


def test_spectral_norm_has_the_gradient_of_torch() -> None:
    """torch's parametrization as the oracle, with the same vectors and without a further iteration."""
    ours = SpectralConv2d(3, 5, 3).eval()
    plain = nn.Conv2d(3, 5, 3, padding=1, bias=False)
    plain.weight.data.copy_(ours.weight.data)
    theirs = nn.utils.parametrizations.spectral_norm(plain).eval()
    norm = theirs.parametrizations["weight"][0]  # type: ignore[index]
    norm._u.copy_(ours.left)
    norm._v.copy_(F.normalize(ours.weight.detach().flatten(1).mT @ ours.left, dim=0))
    picture = torch.rand(1, 3, 6, 6)
    torch.testing.assert_close(ours(picture), theirs(picture))
    ours(picture).square().sum().backward()
    theirs(picture).square().sum().backward()
    torch.testing.assert_close(ours.weight.grad, theirs.parametrizations["weight"].original.grad)  # type: ignore[index]


# VGG19


def vgg_state(deepest: str) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for name, (number, before, after) in perceptual.LAYERS.items():
        state[f"features.{number}.weight"] = torch.randn(after, before, 3, 3) * (2 / (9 * before)) ** 0.5
        state[f"features.{number}.bias"] = 0.1 * torch.randn(after)
        if name == deepest:
            break
    return state


def features_of(state: dict[str, Tensor], layers: list[str], **options: object) -> perceptual.VGGFeatures:
    known = {"after_activation": False, "factor": 1.0} | options
    return perceptual.VGGFeatures(layers, state, **known)  # type: ignore[arg-type]


def test_layers_are_torchvision_s() -> None:
    torchvision = pytest.importorskip("torchvision.models")
    features = torchvision.vgg19(weights=None).features
    convolutions = [number for number, layer in enumerate(features) if isinstance(layer, nn.Conv2d)]
    assert [number for number, _, _ in perceptual.LAYERS.values()] == convolutions
    vgg = features_of(
        {f"features.{name}": tensor for name, tensor in features.state_dict().items()}, ["conv5_4"]
    )
    picture = torch.rand(1, 3, 32, 32)
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = features[:35]((picture - mean.view(1, 3, 1, 1)) / deviation.view(1, 3, 1, 1))
    torch.testing.assert_close(vgg(picture)["conv5_4"], expected)


def test_features_after_the_activation_are_not_negative() -> None:
    state, picture = vgg_state("conv2_1"), torch.rand(1, 3, 8, 8)
    before = features_of(state, ["conv1_2", "conv2_1"])(picture)
    after = features_of(state, ["conv1_2", "conv2_1"], after_activation=True)(picture)
    assert list(before) == ["conv1_2", "conv2_1"]
    for name, values in before.items():
        assert values.min() < 0
        assert torch.equal(after[name], values.clamp(min=0))


def test_a_weight_means_the_same_whatever_the_scale_of_the_file() -> None:
    """The original network's features are about a hundred times those of torchvision's."""
    state, picture = vgg_state("conv2_2"), torch.rand(1, 3, 16, 16)
    louder = dict(state)
    louder["features.0.weight"], louder["features.0.bias"] = (
        100 * state["features.0.weight"],
        100 * state["features.0.bias"],
    )
    for number in (2, 5, 7):
        louder[f"features.{number}.bias"] = 100 * state[f"features.{number}.bias"]
    plain, loud = (features_of(each, ["conv2_2"], factor=None)(picture) for each in (state, louder))
    torch.testing.assert_close(plain["conv2_2"], loud["conv2_2"], rtol=1e-3, atol=1e-4)
    assert 0.1 < plain["conv2_2"].abs().mean() < 10


def test_nothing_of_vgg_is_trained_but_gradients_pass() -> None:
    vgg = features_of(vgg_state("conv1_2"), ["conv1_2"])
    picture = torch.rand(1, 3, 8, 8, requires_grad=True)
    vgg(picture)["conv1_2"].sum().backward()
    assert picture.grad is not None
    assert picture.grad.abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in vgg.parameters())


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_are_read_whole_or_in_part(tmp_path: Path, suffix: str) -> None:
    state, path = vgg_state("conv2_2"), tmp_path / f"vgg{suffix}"
    more = state | {"classifier.0.weight": torch.zeros(2, 2)}
    save_file(more, path) if suffix == ".safetensors" else torch.save(more, path)
    read = perceptual.read_vgg19(path)
    assert read.keys() == state.keys()
    with pytest.raises(WeightsError, match="hold conv1_1 to conv2_2, but conv4_1 needs conv3_1"):
        features_of(read, ["conv1_1", "conv4_1"])


def test_files_other_than_vgg_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no VGG19 weights"):
        perceptual.read_vgg19(tmp_path / "none.safetensors")
    for name in ("text.safetensors", "text.pth"):
        (tmp_path / name).write_text("not weights")
        with pytest.raises(WeightsError, match="cannot be read"):
            perceptual.read_vgg19(tmp_path / name)
    save_file({"head.weight": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="holds no VGG19"):
        perceptual.read_vgg19(tmp_path / "other.safetensors")
    with pytest.raises(WeightsError, match="no layer 'conv6_1'"):
        features_of(vgg_state("conv1_1"), ["conv6_1"])


def test_a_pickle_that_would_run_code_is_rejected(tmp_path: Path) -> None:
    torch.save({"features.0.weight": Path("x")}, tmp_path / "code.pth")
    with pytest.raises(WeightsError, match="cannot be read"):
        perceptual.read_vgg19(tmp_path / "code.pth")
