"""Which number format a device runs networks in."""

import time

import pytest
import torch

from upscaler.inference import devices

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("capabilities", "pays", "expected"),
    [
        ({"amx_bf16": True}, True, torch.bfloat16),
        ({"avx512_bf16": True}, True, torch.bfloat16),
        ({"avx512_bf16": True}, False, torch.float32),  # a Xeon whose AMX is masked
        ({"avx2": True}, True, torch.float32),
    ],
)
def test_bf16_is_chosen_where_it_is_native_and_faster(
    monkeypatch: pytest.MonkeyPatch, capabilities: dict[str, bool], pays: bool, expected: torch.dtype
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    monkeypatch.setattr(devices, "_bf16_pays", lambda: pays)
    assert devices.fast_dtype(CPU) is expected


@pytest.mark.parametrize("slow", [torch.bfloat16, torch.float32])
def test_the_faster_format_wins_the_trial(monkeypatch: pytest.MonkeyPatch, slow: torch.dtype) -> None:
    genuine = torch.nn.functional.conv2d

    def convolve(given: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        if given.dtype is slow:
            time.sleep(0.05)
        return genuine(given, weight, padding=padding)

    monkeypatch.setattr(torch.nn.functional, "conv2d", convolve)
    devices._bf16_pays.cache_clear()
    try:
        assert devices._bf16_pays() is (slow is torch.float32)
    finally:
        devices._bf16_pays.cache_clear()


def test_a_busy_machine_does_not_change_the_outcome(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most turns in the faster format are interrupted for longer than the slower one takes."""
    genuine, turns = torch.nn.functional.conv2d, iter(range(1000))

    def convolve(given: torch.Tensor, weight: torch.Tensor, padding: int) -> torch.Tensor:
        if given.dtype is torch.bfloat16:
            time.sleep(0.02)
        elif next(turns) % 8:
            time.sleep(0.04)
        return genuine(given, weight, padding=padding)

    monkeypatch.setattr(torch.nn.functional, "conv2d", convolve)
    devices._bf16_pays.cache_clear()
    try:
        assert not devices._bf16_pays()
    finally:
        devices._bf16_pays.cache_clear()


def test_the_trial_draws_no_random_numbers() -> None:
    devices._bf16_pays.cache_clear()
    before = torch.get_rng_state()
    devices.fast_dtype(CPU)
    assert torch.equal(torch.get_rng_state(), before)
