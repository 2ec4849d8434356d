"""Stage one: the network learns to reproduce the original, pixel by pixel."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from upscaler.models.contract import Network
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.stages import losses
from upscaler.trainer.stages.forward import Forward, has_batch_norm
from upscaler.trainer.stages.optimizer import Optimizer
from upscaler.trainer.stages.stage import Terms


class PixelStage:
    """See ``Stage``.

    Args:
        network: The network in training.
        generator: The same, as wrapped for several processes.
        forward: The same, compiled and in the precision of the training.
        config: Settings of the run.
        teacher: Makes the target of LR crops instead of the originals, ``(N, 3, h, w)`` -> ``(N, 3, h*scale,
            w*scale)`` in [0, 1]; ``None`` learns from the originals.
    """

    number = 1
    discriminator: nn.Module | None = None

    def __init__(
        self,
        network: Network,
        *,
        generator: nn.Module,
        forward: Forward,
        config: TrainConfig,
        teacher: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        self.config = config
        self.generator = generator
        self._network, self._forward, self._teacher = network, forward, teacher
        rate, decay = config.matrix_step()
        self.optimizer = Optimizer(
            network,
            config.optimizer,
            rate,
            decay,
            betas=config.betas,
            clip_norm=config.clip_norm,
            factor_of=lambda name: 1.0 if name.startswith(network.added_parts) else config.plain_rate,
        )

    def begin_step(self, hr_side_px: int) -> None:
        """Nothing in these losses is random."""

    def target(self, lr: Tensor, hr: Tensor) -> Tensor:
        """See ``Stage``."""
        return self._network.training_target(lr, hr if self._teacher is None else self._teacher(lr))

    def forward(self, lr: Tensor) -> Tensor:
        """See ``Stage``."""
        return self._forward(lr)

    def generator_losses(self, sr: Tensor, lr: Tensor, hr: Tensor) -> Terms:
        """See ``Stage``: the pixel loss and the spectrum loss; of clips, also that of their flicker."""
        config, terms = self.config, Terms()
        if sr.ndim == 5:
            if config.calm_weight:
                calm = losses.calm_loss(losses.luma_of_clips(sr), losses.luma_of_clips(hr))
                terms["calm"] = config.calm_weight * calm
            sr, hr = sr.flatten(0, 1), hr.flatten(0, 1)
        pixel_loss = losses.PIXEL_LOSSES[config.pixel_loss]
        if config.loss_colors == "rgb":
            pixel = pixel_loss(sr, hr)
            spectrum = (sr, hr)
        else:
            sr_luma, sr_chroma = losses.luma_and_chroma(sr)
            hr_luma, hr_chroma = losses.luma_and_chroma(hr)
            pixel = pixel_loss(sr_luma, hr_luma) + pixel_loss(sr_chroma, hr_chroma)
            spectrum = (sr_luma, hr_luma)
        if config.pixel_weight:
            terms["pixel"] = config.pixel_weight * pixel
        if config.fft_weight:
            terms["fft"] = config.fft_weight * losses.spectrum_loss(*spectrum)
        return terms

    def discriminator_losses(self, sr: Tensor, lr: Tensor, hr: Tensor) -> tuple[Tensor, Terms]:
        """See ``Stage``."""
        raise AssertionError("stage one has no discriminator")

    def update_weights(self, rate_factor: float) -> Tensor:
        """See ``Stage``."""
        return self.optimizer.step(rate_factor)

    def cancel_step(self) -> None:
        """See ``Stage``."""
        self.optimizer.zero_grad()

    def batch_dependent_parts(self) -> list[str]:
        """See ``Stage``."""
        return ["batch norm"] if has_batch_norm(self.generator) else []

    def state_dict(self) -> dict[str, Any]:
        """See ``Stage``."""
        return {"optimizer": self.optimizer.state_dict()}

    def save_discriminator(self, path: Path) -> None:
        """See ``Stage``; there is none."""

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """See ``Stage``."""
        self.optimizer.load_state_dict(saved["optimizer"])
