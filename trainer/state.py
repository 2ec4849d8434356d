"""The state of a run on disk: everything that is needed to go on as if it had never stopped."""

import os
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from upscaler.errors import TrainingError


class AveragedWeights:
    """Exponential moving average of all parameters and buffers of a network.

    Args:
        network: Whose weights are followed.
        decay: Share of the old average kept per step; warmed up, so that short runs are not stale.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """Move towards the network's weights after step number ``step`` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        state = network.state_dict()
        floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self.values[name] for name in floating], [state[name] for name in floating], 1 - decay
        )
        for name in state.keys() - set(floating):
            self.values[name].copy_(state[name])

    def load(self, values: dict[str, Tensor]) -> None:
        """Take up saved averages."""
        for name, tensor in values.items():
            self.values[name].copy_(tensor)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state atomically: the old one stays until the new one is complete."""
    partial = path.with_name(f".{path.name}.part")
    torch.save(state, partial)
    os.replace(partial, path)


def load(path: Path) -> dict[str, Any]:
    """Read a state; runs no code from the file.

    Raises:
        TrainingError: The file is damaged.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, EOFError, KeyError, pickle.UnpicklingError) as error:
        raise TrainingError(f"the state '{path}' is damaged", "start anew with --restart") from error
    return state
