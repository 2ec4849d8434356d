"""Stage one: the network learns to come near the original, pixel by pixel. Stage two without a discriminator.

``PixelStage.step`` is the way of a batch.
"""

from typing import Any

import torch
from torch import Tensor, nn

from upscaler.models.contract import Network
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.stages import losses
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.forward import Forward, has_batch_norm
from upscaler.trainer.stages.optimizer import Optimizer
from upscaler.trainer.stages.stage import MicroBatch


class PixelStage:
    """What stage one trains and how.

    Args:
        network: The generator.
        module: The same, as the world wrapped it.
        forward: The same, as it is trained.
        config: Of the run.
        world: The processes of the run.
    """

    def __init__(
        self, network: Network, *, module: nn.Module, forward: Forward, config: TrainConfig, world: World
    ) -> None:
        self.config, self.world = config, world
        self._module, self._forward = module, forward
        rate, decay = config.matrix_step()
        self.optimizer = Optimizer(
            network, config.optimizer, rate, decay, betas=config.betas, clip_norm=config.clip_norm
        )

    def step(self, parts: list[MicroBatch], rate_factor: float) -> dict[str, Tensor]:
        """One step of the network.

        Args:
            parts: Of a batch: LR and the originals of it. One goes through the network at once, and the
                gradients are those of the whole batch, but for what ``differs_in_parts`` names.
            rate_factor: Share of the peak learning rate.

        Returns:
            The terms of the loss times their weights, and ``gradient_norm``.
        """
        told: dict[str, Tensor] = {}
        crops = sum(len(lr) for lr, _ in parts)
        for number, (lr, hr) in enumerate(parts, 1):
            share = len(lr) / crops
            with self.world.gradient_sync(self._module, last=number == len(parts)):
                terms = self._reconstruction_terms(self._forward(lr), hr)
                (share * torch.stack(list(terms.values())).sum()).backward()  # type: ignore[no-untyped-call]
            losses.accumulate(told, terms, share)
        told["gradient_norm"] = self.optimizer.step(rate_factor)
        return told

    def _reconstruction_terms(self, sr: Tensor, hr: Tensor) -> dict[str, Tensor]:
        config, terms = self.config, dict[str, Tensor]()
        pixel_loss = losses.PIXEL_LOSSES[config.pixel_loss]
        if config.loss_colors == "rgb":
            pixel, spectrum = pixel_loss(sr, hr), (sr, hr)
        else:
            sr_luma, sr_chroma = losses.luma_and_chroma(sr)
            luma, chroma = losses.luma_and_chroma(hr)
            pixel, spectrum = pixel_loss(sr_luma, luma) + pixel_loss(sr_chroma, chroma), (sr_luma, luma)
        if config.pixel_weight:
            terms["pixel"] = config.pixel_weight * pixel
        if config.fft_weight:
            terms["fft"] = config.fft_weight * losses.spectrum_loss(*spectrum)
        return terms

    def zero_grad(self) -> None:
        """After a step that failed half-way."""
        self.optimizer.zero_grad()

    def differs_in_parts(self) -> list[str]:
        """What looks at one part of a batch alone."""
        return ["batch norm"] if has_batch_norm(self._module) else []

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on, besides the network."""
        return {"optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take up what ``state_dict`` gave."""
        self.optimizer.load_state_dict(saved["optimizer"])
