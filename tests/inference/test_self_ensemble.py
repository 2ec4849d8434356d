"""Self-ensemble (``tta``): the mean over the 8 symmetries of a picture, whatever way the work is cut up."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.makers import Ship
from support.messages import held_by
from support.networks import Nearest, mean_of_eight, network_of, weights
from support.pictures import photograph
from torch import Tensor

from upscaler import Upscaler
from upscaler.inference.runtime import Runtime
from upscaler.models import registry, weight_file
from upscaler.pixels import as_codes


@pytest.mark.parametrize("multiple", [1, 4])
def test_an_equivariant_network_gives_the_same_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, multiple: int
) -> None:
    monkeypatch.setitem(registry.NETWORKS, "nearest", Nearest)
    network = Nearest(scale=3, multiple_of=multiple)
    weight_file.save(tmp_path / "n.safetensors", network, network.state_dict(), {})
    pixels = photograph(50, 71)
    result = Upscaler(tmp_path / "n.safetensors", tile_px=24, precision="fp32", tta=True).image(pixels)
    assert np.array_equal(result, pixels.repeat(3, 0).repeat(3, 1))


def test_a_random_network_gives_the_mean_of_the_eight(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors", scale=3)
    lr = torch.rand(2, 3, 21, 34)
    upscaler = Upscaler(path, precision="fp32", tta=True)
    plan = upscaler.plan(21, 34)
    with torch.inference_mode():
        expected = mean_of_eight(weight_file.load(path).network(), lr)
        once = weight_file.load(path).network()(lr)
    assert float((upscaler.upscale(lr, plan) - expected).abs().max()) < 1e-5
    assert float((once - expected).abs().max()) > 1e-2  # the eight differ


def test_the_mean_is_rounded_once(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors")
    pixels = photograph(24, 31)
    lr = torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255
    with torch.inference_mode():
        expected = as_codes(mean_of_eight(weight_file.load(path).network(), lr), torch.uint8)
    result = Upscaler(path, precision="fp32", tta=True).image(pixels)
    difference = torch.from_numpy(result).permute(2, 0, 1)[None].int() - expected
    assert (difference == 0).double().mean() > 0.999 and int(difference.abs().max()) <= 1


def test_tiled_equals_whole(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors")
    lr = torch.rand(2, 3, 47, 80)
    whole = Upscaler(path, tile_px=1000, precision="fp32", tta=True)
    tiled = Upscaler(path, tile_px=23, precision="fp32", tta=True)
    plan = whole.plan(47, 80)
    assert plan.passes == 8
    assert float((whole.upscale(lr, plan) - tiled.upscale(lr, plan)).abs().max()) < 1e-5


def test_a_scale_that_takes_two_networks_ensembles_both(ship: Ship) -> None:
    ship("fast", 2, 4)
    lr = torch.rand(1, 3, 9, 14)
    upscaler = Upscaler("fast", 8, precision="fp32", tta=True)
    plan = upscaler.plan(9, 14)
    assert plan.describe(9, 14) == "14x9 -> 112x72 (x4 then x2, 8 passes)"
    with torch.inference_mode():
        networks = [weight_file.load(path).network() for path in upscaler.weights_of(plan)]
        expected = mean_of_eight(networks[1], mean_of_eight(networks[0], lr).float())
    assert float((upscaler.upscale(lr, plan) - expected).abs().max()) < 1e-5


def test_a_graph_s_result_may_be_overwritten_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU the captured work writes every result of one shape to the same place."""
    path = weights(tmp_path / "w.safetensors")
    kept: dict[torch.Size, Tensor] = {}
    real = Runtime.__call__

    def captured(self: Runtime, lr: Tensor) -> Tensor:
        sr = real(self, lr)
        return kept.setdefault(sr.shape, torch.empty_like(sr)).copy_(sr)

    pixels = photograph(20, 33)
    expected = Upscaler(path, precision="fp32", tta=True).image(pixels)
    monkeypatch.setattr(Runtime, "__call__", captured)
    assert np.array_equal(Upscaler(path, precision="fp32", tta=True).image(pixels), expected)
    assert len(kept) == 2  # upright and transposed


def test_it_counts_as_eight_times_the_work_and_takes_its_memory(tmp_path: Path) -> None:
    path = weights(tmp_path / "w.safetensors")
    once, ensemble = (Upscaler(path, memory_limit_gb=0.01, tta=tta) for tta in (False, True))
    assert once.plan(30, 40).passes == 1
    works = [engine.macs(engine.plan(30, 40), 30, 40) for engine in (once, ensemble)]
    assert works[1] == 8 * works[0] > 0
    assert network_of(ensemble, 2).max_batch_px < network_of(once, 2).max_batch_px


def test_values_that_overflow_in_one_version_are_redone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = weights(tmp_path / "w.safetensors")
    real = Runtime.__call__

    def overflowing(self: Runtime, lr: Tensor) -> Tensor:
        sr = real(self, lr)
        wide = lr.shape[-1] > lr.shape[-2]
        return sr if self.network.dtype is torch.float32 or wide else sr + float("inf")

    pixels = photograph(20, 33)
    expected = Upscaler(path, precision="fp32", tta=True).image(pixels)
    monkeypatch.setattr(Runtime, "__call__", overflowing)
    upscaler = Upscaler(path, precision="bf16", tta=True)
    assert np.array_equal(upscaler.image(pixels), expected)
    assert held_by(upscaler) == ["values overflowed in bf16: redone in fp32"]


@pytest.mark.parametrize("batch", [1, 4])
def test_every_pass_moves_the_progress(tmp_path: Path, batch: int) -> None:
    path = weights(tmp_path / "w.safetensors")
    seen: list[tuple[int, int]] = []
    upscaler = Upscaler(path, tile_px=24, batch=batch, precision="fp32", tta=True)
    upscaler.image(photograph(40, 30), lambda done, total: seen.append((done, total)))
    tiles = seen[-1][1] // 8
    assert tiles > 1 and {total for _, total in seen} == {8 * tiles}
    assert [done for done, _ in seen] == sorted({done for done, _ in seen}), "ever more"
    assert len(seen) == 8 * -(-tiles // batch) and seen[-1][0] == 8 * tiles
