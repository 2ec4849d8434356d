"""Exponential moving average (EMA) of a network's weights: what is validated and saved."""

import torch
from torch import Tensor, nn


class Ema:
    """Exponential moving average of all parameters and buffers of a network.

    ``torch.optim.swa_utils`` has one too, but without the warm-up.

    Args:
        network: The network whose weights are averaged.
        decay: Share of the old average kept per step. The first steps use a smaller one, so that the average
            of a short run is not stale.

    Attributes:
        values: The averages, by the names of the network's state.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Move the averages towards the network's weights after step number ``step`` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        state = dict(network.named_parameters()) | dict(network.named_buffers())  # faster than state_dict
        floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self.values[name] for name in floating], [state[name] for name in floating], 1 - decay
        )
        for name in state.keys() - set(floating):
            self.values[name].copy_(state[name])

    def load(self, values: dict[str, Tensor]) -> None:
        """Load saved averages."""
        for name, tensor in values.items():
            self.values[name].copy_(tensor)
