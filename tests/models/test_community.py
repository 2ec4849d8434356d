"""Architectures of other projects: recognised, measured, or refused in one line."""

import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from spandrel.architectures.ESRGAN import ESRGAN
from spandrel.architectures.LaMa import LaMa
from support.community import MAKERS, save_pth, state_of
from torch import nn

from upscaler.errors import WeightsError
from upscaler.models import community, model_file
from upscaler.models.receptive_field import RADIUS_MAX_PX, measure

NAMES = {"RRDB deep": "ESRGAN", "Compact": "RealESRGAN Compact"}


def test_radius_of_convolutions_is_found_whatever_their_weights() -> None:
    layers = [nn.Conv2d(3, 4, 5, padding=4, dilation=2), nn.ReLU(), nn.Conv2d(4, 3, (3, 1), padding=(1, 0))]
    network = nn.Sequential(*layers).eval()
    nn.init.constant_(layers[0].bias, -100.0)  # every ReLU is dead: a gradient would see nothing
    found = measure(network, channels=3, scale=1, min_side_px=1, multiple_of=1)
    assert found.radius_px == 5
    assert found.macs_per_pixel == 5 * 5 * 3 * 4 + 3 * 4 * 3


def test_radius_of_a_network_on_blocks_is_a_multiple_of_them() -> None:
    network = nn.Sequential(nn.PixelUnshuffle(4), nn.Conv2d(48, 48, 3, padding=1), nn.PixelShuffle(4))
    assert measure(network.eval(), 3, 1, 1, multiple_of=4).radius_px == 8


@pytest.mark.parametrize(
    "network",
    [
        nn.Conv2d(3, 3, 2 * RADIUS_MAX_PX + 3, padding=RADIUS_MAX_PX + 1, groups=3),
        nn.GroupNorm(1, 3),
    ],
    ids=["far", "statistics of the whole picture"],
)
def test_a_network_that_sees_too_far_has_no_radius(network: nn.Module) -> None:
    assert measure(network.eval(), 3, 1, 1, 1).radius_px is None


def test_dependence_on_the_place_is_found() -> None:
    ramp = torch.arange(200.0)
    found = measure(lambda lr: lr + ramp[: lr.shape[-1]], 3, 1, 1, 1)
    assert found.radius_px is None


@pytest.mark.parametrize(
    ("name", "radius_px", "tiling"),
    [
        ("Compact", 5, "exact"),
        ("SPAN", 21, "exact"),
        ("RRDB deep", 32, "approximate"),
        ("SwinIR", 32, "approximate"),
        ("DAT", 32, "approximate"),
    ],
)
def test_contract_of_an_architecture(tmp_path: Path, name: str, radius_px: int, tiling: str) -> None:
    file = community.load(save_pth(tmp_path / "w.pth", name))
    contract = file.network().contract
    assert (contract.receptive_radius_px, contract.tiling) == (radius_px, tiling)
    assert file.architecture.startswith(NAMES.get(name, name))


def test_precision_is_what_the_architecture_holds(tmp_path: Path) -> None:
    fp32, bf16, fp16 = torch.float32, torch.bfloat16, torch.float16
    assert community.load(save_pth(tmp_path / "c.pth", "Compact")).dtypes == {fp32, bf16, fp16}
    assert community.load(save_pth(tmp_path / "s.pth", "SwinIR")).dtypes == {fp32}  # spandrel says bf16 too
    assert fp16 not in community.load(save_pth(tmp_path / "d.pth", "DAT")).dtypes


def test_kernels_of_span_are_fused_once(tmp_path: Path) -> None:
    file = community.load(save_pth(tmp_path / "w.pth", "SPAN"))
    assert not any(type(module).__name__ == "Conv3XC" for module in file.network().modules())


def test_our_own_files_keep_their_path(tmp_path: Path) -> None:
    from support.networks import weights

    assert type(model_file.load(weights(tmp_path / "w.safetensors"))).__name__ == "WeightFile"
    save_file(state_of("Compact"), tmp_path / "c.safetensors")
    assert type(model_file.load(tmp_path / "c.safetensors")).__name__ == "CommunityFile"


def refused(path: Path) -> str:
    with pytest.raises(WeightsError) as caught:
        community.load(path)
    text = str(caught.value)
    assert str(path) in text
    assert "\n" not in text
    return text


def test_an_unknown_architecture_is_named_by_its_tensors(tmp_path: Path) -> None:
    torch.save({"encoder.weight": torch.zeros(2), "decoder.weight": torch.zeros(2)}, tmp_path / "w.pth")
    text = refused(tmp_path / "w.pth")
    assert "spandrel does not know" in text
    assert "encoder.weight" in text


@pytest.mark.parametrize("change", ["missing", "extra", "shape"])
def test_weights_that_do_not_fit_are_refused_with_the_architecture(tmp_path: Path, change: str) -> None:
    state = state_of("RRDB")
    if change == "missing":
        del state["model.1.sub.1.RDB2.conv3.0.weight"]
    elif change == "extra":
        state["surplus.weight"] = torch.zeros(3)
    else:
        state["model.1.sub.1.RDB2.conv3.0.weight"] = torch.zeros(3, 3, 3, 3)
    torch.save(state, tmp_path / "w.pth")
    assert "looks like ESRGAN, but its weights do not fit" in refused(tmp_path / "w.pth")


def test_names_do_not_decide_how_much_memory_is_taken(tmp_path: Path) -> None:
    """As many blocks are built as the highest number in the names says: here 10 GB."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        state = ESRGAN(num_filters=64, num_blocks=1, scale=4).state_dict()
    state["model.1.sub.4000.RDB1.conv1.0.weight"] = torch.zeros(32, 64, 3, 3)
    torch.save(state, tmp_path / "a.pth")
    assert "much larger than they are" in refused(tmp_path / "a.pth")


def test_a_model_with_other_channels_is_rejected(tmp_path: Path) -> None:
    torch.save(MAKERS["Compact"]().state_dict(), tmp_path / "good.pth")
    from spandrel.architectures.Compact import Compact

    torch.save(Compact(num_in_ch=4, num_out_ch=4, num_feat=8, num_conv=2).state_dict(), tmp_path / "w.pth")
    assert "cannot run: it maps 4 channels to 4" in refused(tmp_path / "w.pth")


def test_inpainting_is_rejected(tmp_path: Path) -> None:
    torch.save(LaMa().state_dict(), tmp_path / "w.pth")
    assert "LaMa model, which upscale cannot run: it needs a mask" in refused(tmp_path / "w.pth")
