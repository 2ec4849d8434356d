"""Stage two: the network learns to deceive a discriminator, held to the original by VGG features and pixels.

``AdversarialStage.step`` is the way of a batch, readable from top to bottom.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from upscaler.errors import TrainingError
from upscaler.models import discriminator, perceptual
from upscaler.models.contract import Network
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.stages import losses
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.forward import Forward, autocast, has_batch_norm
from upscaler.trainer.stages.optimizer import Optimizer
from upscaler.trainer.stages.stage import MicroBatch

Terms = dict[str, Tensor]


def perceptual_network(settings: GanConfig, device: torch.device) -> perceptual.VGGFeatures | None:
    """The VGG19 of stage two, or ``None`` when the settings use none.

    Raises:
        TrainingError: torchvision's weights cannot be had.
        WeightsError: The file cannot be used.
    """
    if not settings.vgg_weight:
        return None
    state = perceptual.read_vgg19(Path(settings.vgg)) if settings.vgg else _torchvision_weights()
    network = perceptual.VGGFeatures(
        list(settings.vgg_layers),
        state,
        after_activation=settings.vgg_after_activation,
        factor=settings.vgg_factor,
    ).to(device)
    network.to(memory_format=torch.channels_last)
    return network


def _torchvision_weights() -> dict[str, Tensor]:
    try:
        from torchvision.models import VGG19_Weights

        state: dict[str, Tensor] = VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: a damaged download
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise TrainingError(
            f"stage two needs VGG19, and torchvision's cannot be downloaded: {reason}",
            "name a file with --vgg FILE, or leave out stage two with --stages 1",
        ) from error
    return state


class AdversarialStage:
    """What stage two trains and how.

    Args:
        network: The generator; batch norm keeps the statistics of stage one.
        module: The same, as the world wrapped it.
        forward: The same, as it is trained.
        averaged: The same with the averaged weights, for LDL; called only if that has a weight.
        settings: Of this stage.
        side_px: Side of the HR crops.
        world: The processes of the run.
        precision: As in ``forward.autocast``.
        seed: Of the discriminator's initial weights and of the labels' noise.
        vgg: Of ``perceptual_network``.
    """

    def __init__(  # noqa: PLR0913 - what it consists of
        self,
        network: Network,
        *,
        module: nn.Module,
        forward: Forward,
        averaged: Forward,
        settings: GanConfig,
        side_px: int,
        world: World,
        precision: str,
        seed: int,
        vgg: perceptual.VGGFeatures | None,
    ) -> None:
        self.settings = settings
        self.world = world
        self.vgg = vgg
        self._precision = precision
        self._module, self._forward, self._averaged = module, forward, averaged
        module.eval()
        self.optimizer = _adam(network, settings.learning_rate, settings)
        torch.manual_seed(seed + 1)
        self.discriminator = discriminator.build(
            settings.discriminator, channels=settings.discriminator_channels, side_px=side_px
        ).to(world.device)
        self.discriminator.to(memory_format=torch.channels_last)
        self._discriminator_module = world.wrap(self.discriminator)
        self.discriminator_optimizer = _adam(
            self.discriminator, settings.discriminator_learning_rate, settings
        )
        self._labels = torch.Generator().manual_seed(seed + 2)
        self._labels_before = self._labels.get_state()

    def step(self, parts: list[MicroBatch], rate_factor: float) -> Terms:
        """One step of the generator and one of the discriminator, on the same pictures.

        Args:
            parts: Of a batch: LR and the originals of it. One goes through the networks at once, and the
                gradients are those of the whole batch, but for what ``differs_in_parts`` names.
            rate_factor: Share of the peak learning rates.

        Returns:
            The terms of the loss times their weights, and ``discriminator`` (its loss), ``real_score`` and
            ``fake_score`` (mean probability of being an original), ``gradient_norm``.
        """
        told: Terms = {}
        self._labels_before = self._labels.get_state()
        corner = _draw_vgg_offset(parts[0][1].shape[-1], self._labels)
        crops = sum(len(lr) for lr, _ in parts)
        fakes: list[Tensor] = []

        self.discriminator.requires_grad_(False)
        for number, (lr, hr) in enumerate(parts, 1):
            share = len(lr) / crops
            with self.world.gradient_sync(self._module, last=number == len(parts)):
                sr = self._forward(lr)
                terms = self._reconstruction_terms(sr, lr, hr, corner) | self._adversarial_terms(sr, hr)
                (share * torch.stack(list(terms.values())).sum()).backward()  # type: ignore[no-untyped-call]
            fakes.append(sr.detach())
            losses.accumulate(told, terms, share)

        if self._has_discriminator:
            self.discriminator.requires_grad_(True)
            for number, ((_, hr), sr) in enumerate(zip(parts, fakes, strict=True), 1):
                share = len(sr) / crops
                with self.world.gradient_sync(self._discriminator_module, last=number == len(parts)):
                    loss, scores = self._discriminator_terms(sr, hr)
                    (share * loss).backward()  # type: ignore[no-untyped-call]
                losses.accumulate(told, {"discriminator": loss} | scores, share)

        # Only now: where memory runs out before, neither of the two has moved, and all is done again.
        told["gradient_norm"] = self.optimizer.step(rate_factor)
        if self._has_discriminator:
            self.discriminator_optimizer.step(rate_factor)
        return told

    def _reconstruction_terms(self, sr: Tensor, lr: Tensor, hr: Tensor, corner: tuple[int, int]) -> Terms:
        """The terms that hold the generator to the original; of ``corner`` see ``_draw_vgg_offset``."""
        settings, terms = self.settings, Terms()
        if settings.pixel_weight:
            terms["pixel"] = settings.pixel_weight * losses.PIXEL_LOSSES[settings.pixel_loss](sr, hr)
        if settings.fft_weight:
            terms["fft"] = settings.fft_weight * losses.spectrum_loss(sr, hr)
        if settings.tv_weight:
            terms["tv"] = settings.tv_weight * losses.total_variation(sr)
        if settings.grid_weight:
            scale = hr.shape[-1] // lr.shape[-1]
            terms["grid"] = settings.grid_weight * losses.grid_loss(sr, hr, scale)
        if settings.power_weight:
            terms["power"] = settings.power_weight * losses.power_loss(sr, hr)
        if settings.ldl_weight:
            with torch.no_grad(), autocast(self.world.device, self._precision):
                averaged = self._averaged(lr)
            terms["ldl"] = settings.ldl_weight * losses.ldl_loss(sr, averaged, hr)
        if self.vgg is not None:
            down, right = corner
            with autocast(self.world.device, self._precision):
                with torch.no_grad():
                    hr_features = self.vgg(hr[..., down:, right:])
                sr_features = self.vgg(sr[..., down:, right:])
            terms["vgg"] = settings.vgg_weight * losses.perceptual_loss(
                sr_features, hr_features, dict(settings.vgg_layers), settings.vgg_loss
            )
        return terms

    def _adversarial_terms(self, sr: Tensor, hr: Tensor) -> Terms:
        """The terms that the discriminator gives the generator."""
        settings, terms = self.settings, Terms()
        if not self._has_discriminator:
            return terms
        with autocast(self.world.device, self._precision):
            fake, fake_features = self.discriminator(sr)
            with torch.no_grad():
                real, real_features = self.discriminator(hr) if self._needs_real_logits else (fake, [])
        if settings.adversarial_weight:
            terms["adversarial"] = settings.adversarial_weight * losses.generator_loss(
                settings.adversarial, fake.float(), real.float()
            )
        if settings.feature_weight:
            terms["features"] = settings.feature_weight * losses.feature_loss(fake_features, real_features)
        return terms

    @property
    def _has_discriminator(self) -> bool:
        """Whether there is anything that the discriminator is for."""
        return bool(self.settings.adversarial_weight or self.settings.feature_weight)

    @property
    def _needs_real_logits(self) -> bool:
        """Whether the generator's step needs the verdict on the originals too."""
        return self.settings.adversarial == "relativistic" or self.settings.feature_weight > 0

    def _discriminator_terms(self, sr: Tensor, hr: Tensor) -> tuple[Tensor, Terms]:
        """The discriminator's loss and scores; one pass over both, as two would break under DDP."""
        with autocast(self.world.device, self._precision):
            logits, _ = self._discriminator_module(torch.cat([hr, sr]))
        real, fake = logits.float().chunk(2)
        loss = losses.discriminator_loss(
            self.settings.adversarial,
            fake,
            real,
            fake_label=self.settings.fake_label,
            real_label=self.settings.real_label,
            labels=self._noisy_labels if self.settings.label_noise else losses.exact_labels,
        )
        scores = {"real_score": real.detach().sigmoid().mean(), "fake_score": fake.detach().sigmoid().mean()}
        return loss, scores

    def _noisy_labels(self, logits: Tensor, value: float) -> Tensor:
        """Normal noise around the label, drawn for all processes, so that every one is at the same place."""
        count, *rest = logits.shape
        noise = torch.randn(count * self.world.size, *rest, generator=self._labels)
        return value + self.settings.label_noise * self.world.shard(noise)

    def zero_grad(self) -> None:
        """After a step that failed half-way: it can be done again, with the same draws."""
        self.optimizer.zero_grad()
        self.discriminator_optimizer.zero_grad()
        self._labels.set_state(self._labels_before)

    def differs_in_parts(self) -> list[str]:
        """What looks at one part of a batch alone."""
        if not self._has_discriminator:
            return []
        relativistic = self.settings.adversarial == "relativistic" and self.settings.adversarial_weight
        found = ["the relativistic loss"] if relativistic else []
        return found + (["the discriminator's batch norm"] if has_batch_norm(self.discriminator) else [])

    def state_dict(self) -> dict[str, Any]:
        """What is needed to go on, besides the generator."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "labels": self._labels.get_state(),
        }

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """Take up what ``state_dict`` gave."""
        self.optimizer.load_state_dict(saved["optimizer"])
        self.discriminator.load_state_dict(saved["discriminator"])
        self.discriminator_optimizer.load_state_dict(saved["discriminator_optimizer"])
        self._labels.set_state(saved["labels"])


def _draw_vgg_offset(side_px: int, generator: torch.Generator) -> tuple[int, int]:
    """How far (down, right) VGG begins in the crops of a step, HR pixels; less than a sixteenth of a crop.

    Its pooling lies on a grid. One that always lay in the same way over the network's own would not see what
    repeats in its rhythm.
    """
    down, right = torch.randint(min(8, max(1, side_px // 16)), (2,), generator=generator).tolist()
    return down, right


def _adam(network: nn.Module, rate: float, settings: GanConfig) -> Optimizer:
    return Optimizer(network, "adamw", rate, 0.0, betas=settings.betas, clip_norm=settings.clip_norm)
