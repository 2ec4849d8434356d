"""Several models, one after the other: which networks run, and that nothing is lost between them."""

from pathlib import Path

import numpy as np
import pytest
from support.community import save_pth
from support.makers import Ship
from support.messages import held_by
from support.networks import network_of, weights
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.errors import UsageError, WeightsError
from upscaler.inference.plan import networks_for
from upscaler.pixels import to_8_bits


@pytest.mark.parametrize(
    ("known", "factor", "expected"),
    [
        ([{1}, {2, 4, 8}], 8, ["0 x1", "1 x8"]),  # the smallest that suffices
        ([{1}, {2, 4}], 3, ["0 x1", "1 x4"]),
        ([{1}, {2, 4}], 1, ["0 x1", "1 x2"]),  # every model runs
        ([{1}, {2}], 8, ["0 x1", "1 x2", "1 x2", "1 x2"]),  # the last one again
        ([{4}, {1}], 8, ["0 x4", "0 x4", "1 x1"]),  # the last one that upscales
        ([{2}, {4}], 4, ["0 x2", "1 x4"]),
        ([{2, 4, 8}, {2, 4, 8}], 4, ["0 x2", "1 x2"]),
        ([{2, 4}, {4}], 8, ["0 x2", "1 x4"]),
        ([{1}, {1}], 1, ["0 x1", "1 x1"]),
        ([{1}, {2}], 0.5, []),
    ],
)
def test_networks_of_a_chain(known: list[set[int]], factor: float, expected: list[str]) -> None:
    models = [(str(index), scales) for index, scales in enumerate(known)]
    assert [str(network) for network in networks_for(models, factor)] == expected


@pytest.fixture
def chain(tmp_path: Path) -> list[Path]:
    """A model of another project that restores, and one of ours that upscales twice."""
    return [save_pth(tmp_path / "1x.pth", "Compact x1"), weights(tmp_path / "2x.safetensors")]


def test_a_chain_is_one_model_after_the_other_without_rounding_between(chain: list[Path]) -> None:
    pixels = photograph(33, 41)
    together = Upscaler(chain, device="cpu", precision="fp32")
    first, second = (Upscaler(model, device="cpu", precision="fp32") for model in chain)
    between = first.image(pixels.astype(np.uint16) * 257)
    assert np.array_equal(together.image(pixels), to_8_bits(second.image(between)))
    assert not np.array_equal(together.image(pixels), second.image(first.image(pixels)))
    assert together.plan(33, 41).describe(33, 41) == "41x33 -> 82x66 (1x.pth x1 then 2x.safetensors x2)"
    backwards = Upscaler(chain[::-1], device="cpu", precision="fp32")
    assert not np.array_equal(together.image(pixels), backwards.image(pixels))


def test_tiles_and_a_memory_limit_keep_the_result_of_a_chain(chain: list[Path]) -> None:
    pixels = photograph(150, 170)
    whole = Upscaler(chain, device="cpu", precision="fp32").image(pixels).astype(int)
    bound = Upscaler(chain, device="cpu", precision="fp32", memory_limit_gb=0.002)
    assert np.abs(bound.image(pixels) - whole).max() <= 1
    assert all(len(network.tiles(150, 170)) > 1 for network in bound._networks.values())
    tiled = Upscaler(chain, device="cpu", precision="fp32", tile_px=70)
    assert np.abs(tiled.image(pixels) - whole).max() <= 1


def test_scales_multiply_and_any_factor_follows(chain: list[Path], tmp_path: Path) -> None:
    pixels = photograph(20, 24)
    four = save_pth(tmp_path / "4x.pth", "RRDB")
    assert Upscaler([*chain, four], device="cpu").image(pixels).shape == (160, 192, 3)
    assert Upscaler([*chain, four], 2.5, device="cpu").image(pixels).shape == (50, 60, 3)
    assert Upscaler(chain, size_px=(100, 100), device="cpu").image(pixels).shape == (83, 100, 3)
    with pytest.raises(UsageError, match="upscale 16 times, more than 8"):
        Upscaler([four, four], device="cpu")
    twice = Upscaler([four, four], 8, device="cpu")
    assert twice.plan(9, 9).scales == (4, 4)
    assert len(twice._networks) == 1


def test_the_facts_about_a_chain_follow_its_order(chain: list[Path]) -> None:
    upscaler = Upscaler(chain, device="cpu")
    plan = upscaler.plan(8, 8)
    assert [facts.file for facts in upscaler.loaded_weights()] == [str(path) for path in chain]
    assert [facts.scale for facts in upscaler.loaded_weights()] == [1, 2]
    assert upscaler.weights_of(plan) == chain
    networks = [network_of(Upscaler(path, device="cpu"), scale) for scale, path in enumerate(chain, 1)]
    macs = [64 * each.network.contract.macs_per_pixel for each in networks]
    assert upscaler.macs_per_network(plan, 8, 8) == macs
    assert f"runtime, {chain[1]} x2" in upscaler.execution(plan)


def test_what_is_wrong_with_a_chain_is_said_in_one_line(chain: list[Path]) -> None:
    with pytest.raises(WeightsError, match="model 'sharpest' is unknown"):
        Upscaler([chain[0], "sharpest"], device="cpu")
    with pytest.raises(UsageError, match=r"1x\.pth' then 'restore' restores without upscaling"):
        Upscaler([chain[0], "restore"], 2, device="cpu")
    with pytest.raises(UsageError, match="has no faithful counterpart"):
        Upscaler(chain, perceptual=0.5, device="cpu")
    with pytest.raises(UsageError, match="must be the name or the file of a model, or several"):
        Upscaler([chain[0], 4], device="cpu")


def test_a_blend_applies_to_every_model_of_a_chain_that_has_one(ship: Ship, chain: list[Path]) -> None:
    for name in ("srresnet", "srgan"):
        ship(name, 4)
    pixels = photograph(16, 18)
    blended, alone = (
        Upscaler(models, 4, perceptual=0.3, device="cpu", precision="fp32")
        for models in ([chain[0], "srgan"], "srgan")
    )
    between = Upscaler(chain[0], device="cpu", precision="fp32").image(pixels.astype(np.uint16) * 257)
    assert np.array_equal(blended.image(pixels), to_8_bits(alone.image(between)))
    assert len(blended.loaded_weights()) == 3


def test_each_network_of_a_chain_has_a_precision_that_is_sound(tmp_path: Path, chain: list[Path]) -> None:
    swin = save_pth(tmp_path / "swin.pth", "SwinIR")
    upscaler = Upscaler([chain[1], swin], device="cpu", precision="bf16")
    upscaler.image(photograph(16, 16))
    assert held_by(upscaler) == ["the network is not sound in bf16: it runs in fp32"]
    assert upscaler.execution(upscaler.plan(16, 16))["precision"] == "bf16, fp32"
