"""The body in 8-bit integers, where the processor is made for it."""

from pathlib import Path

import numpy as np
import pytest
import torch
from support.messages import held_by
from support.networks import network_of, weights
from support.pictures import photograph

from upscaler import Upscaler
from upscaler.inference import int8

needs_vnni = pytest.mark.skipif(not torch.cpu._is_vnni_supported(), reason="needs a CPU with VNNI")


@needs_vnni
@pytest.mark.parametrize(("model", "scale"), [("fast-photo", 2), ("balanced", 3)])
def test_int8_is_close_to_single_precision(model: str, scale: int) -> None:
    pixels = photograph(70, 90)
    exact = Upscaler(model, scale, device="cpu", precision="fp32").image(pixels).astype(int)
    upscaler = Upscaler(model, scale, device="cpu", precision="int8")
    result = upscaler.image(pixels)
    assert network_of(upscaler, scale).dtype is torch.int8 and held_by(upscaler) == []
    error = np.mean((result - exact) ** 2)
    assert error > 0 and 10 * np.log10(255**2 / error) > 44
    border = np.mean((result - exact)[[0, -1]] ** 2)  # padded with what stands for 0
    assert 10 * np.log10(255**2 / border) > 42


@needs_vnni
def test_tiles_in_int8_are_the_whole_picture() -> None:
    pixels = photograph(90, 110)
    whole, tiled = (
        Upscaler("fast", 2, device="cpu", precision="int8", **options).image(pixels)
        for options in ({}, {"tile_px": 48})
    )
    assert np.abs(whole.astype(int) - tiled).max() <= 1


@pytest.mark.parametrize("reason", ["network", "processor"])
def test_what_cannot_run_in_int8_runs_in_single_precision_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: reason == "network")
    model = "srresnet-x2" if reason == "network" else weights(tmp_path / "x2.safetensors")
    upscaler = Upscaler(model, 2, device="cpu", precision="int8")
    assert network_of(upscaler, 2).dtype is torch.float32
    assert held_by(upscaler) == ["the network cannot run here in int8: it runs in fp32"]


def test_codes_cover_what_they_are_made_for_and_hit_zero() -> None:
    values = torch.linspace(-0.5, 2.0, 10_000)
    codes = int8._Codes.covering(values)
    assert codes.scale == pytest.approx(2.5 / 255, rel=0.01) and codes.zero == 51
    assert int8._Codes.covering(values + 3).zero == 0
    table = codes.table(torch.nn.LeakyReLU(0.1), None)
    assert table[51] == 0 and table[255] == pytest.approx(2, abs=0.02)
    assert table[0] == pytest.approx(-0.05, abs=0.001)
