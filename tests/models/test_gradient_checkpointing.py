"""Gradient checkpointing: the same training in less memory."""

from typing import Any

import pytest
import torch
from support.makers import Configure
from support.training import assert_equal, messages, saved_state, silent
from torch import Tensor, nn

from upscaler.errors import UsageError
from upscaler.models import contract
from upscaler.models.contract import Network
from upscaler.models.gradient_checkpointing import run_checkpointed
from upscaler.models.registry import PRESETS, build
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.loops import train

NETWORKS = ["fast", "balanced", "srresnet", "srresnet-paper"]


def network_of(name: str, recomputes: bool) -> Network:
    torch.manual_seed(3)
    architecture, arguments = PRESETS[name]
    network = build(architecture, arguments | {"scale": 2})
    for parameter in network.parameters():  # the tail begins with zeros, which would hide the body
        parameter.data += 0.01 * torch.randn_like(parameter)
    network.gradient_checkpointing = recomputes
    return network


def kept_bytes(network: Network, lr: Tensor) -> tuple[int, Tensor]:
    """Size of the tensors besides weights that a forward pass keeps for the backward pass, and the output."""
    own = {tensor.data_ptr() for tensor in (*network.parameters(), *network.buffers())}
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in own:
            kept[tensor.data_ptr()] = tensor.numel() * tensor.element_size()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = network(lr)
    return sum(kept.values()), result


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_result_gradients_and_statistics_are_the_same(name: str, precision: str) -> None:
    lr = torch.rand(2, 3, 10, 12)
    outcomes = []
    for recomputes in (False, True):
        network = network_of(name, recomputes)
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            result = network(lr)
        result.square().mean().backward()
        gradients = {key: parameter.grad for key, parameter in network.named_parameters()}
        assert all(gradient is not None and gradient.abs().max() > 0 for gradient in gradients.values())
        outcomes.append((result.detach(), gradients, dict(network.named_buffers()), network.state_dict()))
    assert_equal(outcomes[0], outcomes[1])


@pytest.mark.parametrize(("name", "share"), [("balanced", 0.6), ("srresnet", 0.5)])
def test_less_is_kept(name: str, share: float) -> None:
    lr = torch.rand(1, 3, 24, 24)
    whole, _ = kept_bytes(network_of(name, False), lr)
    less, result = kept_bytes(network_of(name, True), lr)
    assert less < share * whole
    assert result.requires_grad


def test_every_part_but_the_last_is_computed_twice() -> None:
    calls: list[int] = []

    class Counted(nn.Linear):
        def forward(self, features: Tensor) -> Tensor:
            calls.append(id(self))
            return super().forward(features)

    layers = nn.Sequential(*(Counted(2, 2) for _ in range(7)))  # parts of 3, 3 and 1
    result = run_checkpointed(layers, torch.rand(1, 2))
    assert [calls.count(id(layer)) for layer in layers] == [1] * 7
    result.sum().backward()
    assert [calls.count(id(layer)) for layer in layers] == [2] * 6 + [1]


@pytest.mark.parametrize("stages", ["1", "1,2"])
def test_training_is_the_same(configure: Configure, monkeypatch: pytest.MonkeyPatch, stages: str) -> None:
    counted: list[int] = []
    genuine = contract.run_checkpointed
    monkeypatch.setattr(contract, "run_checkpointed", lambda *given: counted.append(1) or genuine(*given))  # type: ignore[func-returns-value]
    gan = GanConfig(vgg_weight=0.0, batch=2, patch_px=12, discriminator_channels=8)
    states: list[dict[str, Any]] = []
    for name, checkpointing in (("plain", False), ("less", True)):
        config = configure(name, stages=stages, steps=4, gan=gan, checkpointing=checkpointing)
        train(config, silent)
        states.append(saved_state(config))
        assert len(counted) == (4 if checkpointing else 0)
    for part in ("network", "ema", "optimizer"):
        assert_equal(states[0][part], states[1][part], part)


def test_it_says_that_it_runs_uncompiled(configure: Configure) -> None:
    said = messages(configure(steps=1, checkpointing=True, compiled=True))
    assert "not compiled, because of --checkpointing" in said


def test_a_network_that_has_nothing_to_recompute_is_rejected(configure: Configure) -> None:
    with pytest.raises(UsageError, match="checkpointing saves nothing with network srcnn"):
        configure(network="srcnn", scale=1, checkpointing=True)
