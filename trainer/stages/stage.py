"""What a training step needs from a stage; ``PixelStage`` and ``AdversarialStage`` provide it."""

from pathlib import Path
from typing import Any, Protocol

from torch import Tensor, nn

# LR crops ``(N, 3, h, w)`` and HR crops ``(N, 3, h*scale, w*scale)``, RGB fp32 in [0, 1].
MicroBatch = tuple[Tensor, Tensor]

# Loss terms, already multiplied by their weights, and other scalars of a step.
Terms = dict[str, Tensor]


class Stage(Protocol):
    """The networks, losses and optimizers of a stage.

    Attributes:
        number: 1 or 2.
        generator: The network in training, as wrapped for several processes.
        discriminator: The same for the discriminator; ``None`` in stage one and without adversarial terms.
    """

    number: int
    generator: nn.Module
    discriminator: nn.Module | None

    def begin_step(self, hr_side_px: int) -> None:
        """Draw what is random in the losses of a step with HR crops of this side."""

    def target(self, lr: Tensor, hr: Tensor) -> Tensor:
        """What the generator learns for ``lr``: ``hr``, or the output of a teacher; shaped like ``hr``."""

    def forward(self, lr: Tensor) -> Tensor:
        """The generator's output: ``(N, 3, h, w)`` -> ``(N, 3, h*scale, w*scale)`` fp32."""

    def generator_losses(self, sr: Tensor, lr: Tensor, hr: Tensor) -> Terms:
        """The loss terms of the generator; their sum is what it minimises."""

    def discriminator_losses(self, sr: Tensor, lr: Tensor, hr: Tensor) -> tuple[Tensor, Terms]:
        """The loss of the discriminator, and its mean scores; never called without a discriminator."""

    def update_weights(self, rate_factor: float) -> Tensor:
        """Step every optimizer at this share of its peak rate; returns the generator's gradient norm."""

    def cancel_step(self) -> None:
        """Undo a step that failed before ``update_weights``: clear gradients, restore what was drawn."""

    def batch_dependent_parts(self) -> list[str]:
        """What depends on which crops share a micro-batch, so that splitting a batch changes the result."""

    def state_dict(self) -> dict[str, Any]:
        """What resuming needs besides the generator."""

    def save_discriminator(self, path: Path) -> None:
        """Write the weights of the discriminator, if there is one."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Load what ``state_dict`` returned."""
