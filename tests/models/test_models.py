from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from support.makers import network_of
from torch import Tensor, nn

from upscaler.errors import WeightsError
from upscaler.models import shipped, weight_file
from upscaler.models.compact import Compact
from upscaler.models.contract import Network
from upscaler.models.registry import NETWORKS, PRESETS, SCALES, build

EVERY = pytest.mark.parametrize("preset", PRESETS)
EVERY_SCALE = pytest.mark.parametrize("scale", SCALES)


def make(preset: str, scale: int, channels: int | None = None) -> Network:
    """A preset whose every part does something: tails and what a network for films adds start at zero."""
    architecture, arguments = PRESETS[preset]
    width = {} if channels is None else {"channels": channels}
    network = build(architecture, arguments | width | {"scale": scale})
    for name, layer in network.named_modules():
        if isinstance(layer, nn.Conv2d) and name.startswith(("tail", "gate", "memory")):
            nn.init.normal_(layer.weight, std=0.02)
    return network


def test_presets_cover_the_table() -> None:
    assert {architecture for architecture, _ in PRESETS.values()} == set(NETWORKS)


@EVERY
@EVERY_SCALE
def test_output_is_scale_times_any_size_in_fp32(preset: str, scale: int) -> None:
    network = make(preset, scale, channels=8).eval()
    for height, width in [(1, 1), (7, 5), (8, 13)]:
        with torch.inference_mode():
            sr = network(torch.rand(2, 3, height, width))
        assert sr.shape == (2, 3, height * scale, width * scale)
        assert sr.dtype == torch.float32
    assert network.contract.scale == scale


@pytest.mark.parametrize("preset", [name for name, (_, what) in PRESETS.items() if "gate_px" not in what])
@EVERY_SCALE
def test_receptive_radius_is_exact(preset: str, scale: int) -> None:
    """Without biases and with equal positive weights the answer to one bright pixel is its influence."""
    network = make(preset, scale, channels=2).eval().double()
    for name, parameter in network.named_parameters():
        is_matrix = parameter.ndim == 4
        # A sum of 1 over the two channels: neither overflow in the middle nor underflow in the corners.
        nn.init.constant_(parameter, 0.5 if is_matrix else 0.0 if name.endswith("bias") else 1.0)
    radius = network.contract.receptive_radius_px
    middle = radius + 2
    lr = torch.zeros(2, 3, 2 * middle + 1, 2 * middle + 1, dtype=torch.float64)
    lr[0, :, middle, middle] = 1
    lr[1, :, middle, middle] = -1  # what a ReLU makes of the negative lobes of an enlargement
    with torch.inference_mode():
        changed = network(lr).abs().sum((0, 1)) > 0
        untouched = network(torch.zeros_like(lr))
    assert untouched.abs().sum() == 0
    for lines in (changed.any(0), changed.any(1)):
        positions = lines.nonzero().flatten() // scale
        assert (middle - int(positions.min()), int(positions.max()) - middle) == (radius, radius)


def gated() -> Compact:
    """A network with a gate that judges by chance."""
    network = Compact(scale=1, channels=4, depth=2, gate_px=9).eval().double()
    assert network.gate is not None
    for layer in (network.tail, network.gate):
        nn.init.normal_(layer.weight)
    return network


def test_a_gate_reaches_as_far_as_its_radius() -> None:
    network = gated()
    radius = network.contract.receptive_radius_px
    assert radius == 2 + 2 + 4
    lr = torch.rand(1, 3, 2 * radius + 5, 2 * radius + 5, dtype=torch.float64)
    other = lr.clone()
    other[..., radius + 2, radius + 2] += 0.5
    with torch.inference_mode():
        changed = (network(lr) != network(other)).any(1)[0]
    for lines in (changed.any(0), changed.any(1)):
        assert lines.nonzero().flatten().tolist() == list(range(2, 2 * radius + 3))


def test_a_gate_scales_what_is_added() -> None:
    network = gated()
    lr = torch.rand(2, 3, 20, 15, dtype=torch.float64)
    verdicts: list[Tensor] = []
    assert network.gate is not None
    network.gate.register_forward_hook(lambda *result: verdicts.append(result[2]))
    plain = Compact(scale=1, channels=4, depth=2).eval().double()
    plain.load_state_dict(network.state_dict(), strict=False)
    with torch.inference_mode():
        added = plain(lr) - lr
        result = network(lr)
        mean = F.avg_pool2d(verdicts[0], 9, 1, 4, count_include_pad=False)  # of the square at once
        assert mean.std() > 0.05
        assert torch.allclose(result, (lr + added * torch.sigmoid(mean)).float(), atol=1e-5)
        network.gate.weight.zero_()
        network.gate.bias.fill_(-200)  # type: ignore[union-attr]
        assert torch.equal(network(lr), lr.float())


@pytest.mark.parametrize("preset", ["fast", "restore", "srresnet", "srresnet-paper"])
def test_pixels_beyond_the_receptive_radius_do_not_matter(preset: str) -> None:
    """The same with the biases and random weights of a real network, on a picture full of detail."""
    network = make(preset, 2, channels=8).eval()
    radius = network.contract.receptive_radius_px
    lr = torch.rand(1, 3, 3, 2 * radius + 5)
    other = lr.clone()
    other[..., radius + 3 :] = torch.rand(3, radius + 2)
    with torch.inference_mode():
        first, second = network(lr), network(other)
    assert torch.equal(first[..., : 2 * 3], second[..., : 2 * 3])
    assert not torch.equal(first, second)


@EVERY
@EVERY_SCALE
def test_macs_are_those_of_the_layers(preset: str, scale: int) -> None:
    network = make(preset, scale, channels=8).eval()
    counted = 0

    def count(layer: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal counted
        assert isinstance(layer, nn.Conv2d)
        counted += layer.weight.numel() * output.shape[-2] * output.shape[-1]

    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.rand(1, 3, 6, 5))
    assert counted == network.contract.macs_per_pixel * 30


@pytest.mark.parametrize(
    ("preset", "macs"),
    [("srresnet", 1.26e6), ("srresnet-paper", 2.22e6), ("balanced", 190e3), ("fast", 61e3)],
)
def test_presets_cost_what_the_design_says(preset: str, macs: float) -> None:
    architecture, arguments = PRESETS[preset]
    network = build(architecture, arguments | {"scale": 4})
    assert network.contract.macs_per_pixel == pytest.approx(macs, rel=0.02)


@EVERY
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close(preset: str, dtype: torch.dtype) -> None:
    network = make(preset, 2).eval()
    lr = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        whole = network(lr)
        half = network.to(dtype)(lr)
    assert half.dtype == torch.float32
    noise = (half - whole).square().mean()
    assert 0 < noise < 1e-4 * whole.square().mean()  # 40 dB; an overflow would be nan, and fail


@EVERY
def test_gradient_reaches_every_parameter(preset: str) -> None:
    network = make(preset, 2, channels=8).train()
    lr = torch.rand(2, 3, 8, 8)
    if network.contract.sees_other_frames:  # what it remembers matters from the second frame on
        lr = torch.rand(2, 3, 3, 8, 8)
    network(lr).square().mean().backward()
    without = [
        name
        for name, parameter in network.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    # In front of a batch norm a bias is subtracted again.
    assert [name for name in without if "norm" not in preset and "paper" not in preset] == []
    assert all(name.endswith(".0.bias") for name in without)


@EVERY
def test_one_slope_per_activation(preset: str) -> None:
    network = make(preset, 2)
    slopes = [layer for layer in network.modules() if isinstance(layer, nn.PReLU)]
    assert slopes or preset == "srcnn"  # which has ReLU, as the paper
    each = network.arguments["channels"] if preset.startswith("srvgg") else 1  # as Real-ESRGAN's
    assert all(layer.num_parameters == each for layer in slopes)


@EVERY
def test_arguments_and_file_rebuild_the_network(preset: str, tmp_path: Path) -> None:
    network = make(preset, 3, channels=8).eval()
    path = tmp_path / "weights.safetensors"
    weight_file.save(path, network, network.state_dict(), {})
    rebuilt = weight_file.load(path).network()
    assert rebuilt.contract == network.contract
    assert rebuilt.arguments == network.arguments
    network.half().float()  # the file holds fp16
    lr = torch.rand(1, 3, 9, 7)
    with torch.inference_mode():
        assert torch.equal(rebuilt(lr), network(lr))


@pytest.mark.parametrize("preset", ["fast", "balanced", "srresnet"])
@EVERY_SCALE
def test_fresh_single_tail_networks_only_enlarge(preset: str, scale: int) -> None:
    architecture, arguments = PRESETS[preset]
    lr = torch.rand(1, 3, 6, 7)
    with torch.inference_mode():
        sr = build(architecture, arguments | {"scale": scale, "channels": 8})(lr)
    expected = F.interpolate(lr, scale_factor=float(scale), mode="bilinear", align_corners=False)
    assert torch.allclose(sr, expected, atol=1e-6)


@pytest.mark.parametrize(
    ("architecture", "arguments", "message"),
    [
        ("edsr", {"scale": 4}, "unknown network architecture 'edsr'"),
        ("compact", {"scale": 5}, "no network of scale 5"),
        ("compact", {}, "no network of scale None"),
        ("compact", {"scale": 4, "wings": 2}, "cannot be built"),
        ("compact", {"scale": 4, "channels": -1}, "cannot have channels -1"),
        ("compact", {"scale": 4, "channels": 10**9}, "cannot have channels"),
        ("compact", {"scale": 4, "depth": 0}, "cannot have depth 0"),
        ("compact", {"scale": 4, "depth": 10**9}, "cannot have depth"),
        ("compact", {"scale": 4, "depth": 2.0}, "cannot have depth"),
        ("compact", {"scale": 4, "gate_px": -33}, "cannot have gate_px"),
        ("compact", {"scale": 4, "gate_px": 3.5}, "cannot have gate_px"),
        ("srresnet", {"scale": 4, "blocks": -5}, "cannot have blocks"),
        ("srcnn", {"scale": 4, "channels": True}, "cannot have channels"),
        ("srcnn", {"scale": 2.0}, "cannot have scale"),
        ("compact", {"scale": 1, "gate_px": 8}, "gate_px is 8, an even number"),
        ("srresnet", {"scale": 4, "norm": "layer"}, "no norm='layer'"),
    ],
)
def test_impossible_networks_are_rejected(
    architecture: str, arguments: dict[str, object], message: str
) -> None:
    with pytest.raises(WeightsError, match=message):
        build(architecture, arguments)


def test_shipped_weights_are_what_the_table_says() -> None:
    for model in shipped.WEIGHTS:
        for scale, path in shipped.weight_files(model).items():
            file = weight_file.load(path)
            network = file.network()
            architecture, arguments = PRESETS[network_of(model, scale)]
            expected = build(architecture, arguments | {"scale": scale}).arguments
            assert (file.architecture, file.arguments) == (architecture, expected)
            assert network.contract.scale == scale


def test_unknown_model_is_rejected() -> None:
    with pytest.raises(WeightsError, match="'sharpest' is unknown"):
        shipped.weight_files("sharpest")


def test_model_without_its_weights_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_FOLDER", tmp_path)
    assert shipped.installed_models() == []
    with pytest.raises(WeightsError, match=r"'fast' has no weights on this machine \(use a model"):
        shipped.weight_files("fast")
    (tmp_path / shipped.WEIGHTS["fast"][4]).touch()
    assert shipped.installed_scales("fast") == [4]
