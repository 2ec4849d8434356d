"""What the two stages have in common: the pairs they learn from, and what a run asks of them."""

from typing import Any, Protocol

from torch import Tensor

# LR crops ``(B, 3, h, w)`` in [0, 1], and what the network is to make of them.
MicroBatch = tuple[Tensor, Tensor]


class Stage(Protocol):
    """What one stage trains and how: the pixel stage, or the adversarial one."""

    def step(self, parts: list[MicroBatch], rate_factor: float) -> dict[str, Tensor]:
        """One step on the parts of a batch; returns the terms of the loss and other numbers."""

    def zero_grad(self) -> None:
        """After a step that failed half-way."""

    def differs_in_parts(self) -> list[str]:
        """What looks at one part of a batch alone, so that results depend on how it is cut."""

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on, besides the generator."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take up what ``state_dict`` gave."""
