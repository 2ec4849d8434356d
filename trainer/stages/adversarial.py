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
from upscaler.trainer.stages.distributed import Team
from upscaler.trainer.stages.forward import Forward, autocast, has_batch_norm
from upscaler.trainer.stages.optimizer import Optimizer
from upscaler.trainer.stages.stage import Pair

Terms = dict[str, Tensor]


def perceptual_network(settings: GanConfig, place: torch.device) -> perceptual.VGGFeatures | None:
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
    ).to(place)
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
        module: The same, as the team wrapped it.
        forward: The same, as it is trained.
        averaged: The same with the averaged weights, for LDL; called only if that has a weight.
        settings: Of this stage.
        side_px: Side of the HR crops.
        team: The processes of the run.
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
        team: Team,
        precision: str,
        seed: int,
        vgg: perceptual.VGGFeatures | None,
    ) -> None:
        self.settings = settings
        self.team = team
        self.vgg = vgg
        self._precision = precision
        self._module, self._forward, self._averaged = module, forward, averaged
        module.eval()
        self.optimizer = _adam(network, settings.learning_rate, settings)
        torch.manual_seed(seed + 1)
        self.discriminator = discriminator.build(
            settings.discriminator, channels=settings.discriminator_channels, side_px=side_px
        ).to(team.place)
        self.discriminator.to(memory_format=torch.channels_last)
        self._judge = team.wrapped(self.discriminator)
        self.discriminator_optimizer = _adam(
            self.discriminator, settings.discriminator_learning_rate, settings
        )
        self._labels = torch.Generator().manual_seed(seed + 2)
        self._labels_before = self._labels.get_state()

    def step(self, parts: list[Pair], rate_factor: float) -> Terms:
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
        corner = _drawn_corner(parts[0][1].shape[-1], self._labels)
        crops = sum(len(low) for low, _ in parts)
        fakes: list[Tensor] = []

        self.discriminator.requires_grad_(False)
        for number, (low, high) in enumerate(parts, 1):
            share = len(low) / crops
            with self.team.summing(self._module, last=number == len(parts)):
                made = self._forward(low)
                terms = self._likeness(made, low, high, corner) | self._deception(made, high)
                (share * torch.stack(list(terms.values())).sum()).backward()  # type: ignore[no-untyped-call]
            fakes.append(made.detach())
            losses.add_part(told, terms, share)

        if self._has_opponent:
            self.discriminator.requires_grad_(True)
            for number, ((_, high), made) in enumerate(zip(parts, fakes, strict=True), 1):
                share = len(made) / crops
                with self.team.summing(self._judge, last=number == len(parts)):
                    loss, scores = self._judgement(made, high)
                    (share * loss).backward()  # type: ignore[no-untyped-call]
                losses.add_part(told, {"discriminator": loss} | scores, share)

        # Only now: where memory runs out before, neither of the two has moved, and all is done again.
        told["gradient_norm"] = self.optimizer.step(rate_factor)
        if self._has_opponent:
            self.discriminator_optimizer.step(rate_factor)
        return told

    def _likeness(self, made: Tensor, low: Tensor, high: Tensor, corner: tuple[int, int]) -> Terms:
        """The terms that hold the generator to the original; of ``corner`` see ``_drawn_corner``."""
        settings, terms = self.settings, Terms()
        if settings.pixel_weight:
            terms["pixel"] = settings.pixel_weight * losses.PIXEL_LOSSES[settings.pixel_loss](made, high)
        if settings.fft_weight:
            terms["fft"] = settings.fft_weight * losses.spectrum_loss(made, high)
        if settings.tv_weight:
            terms["tv"] = settings.tv_weight * losses.total_variation(made)
        if settings.grid_weight:
            scale = high.shape[-1] // low.shape[-1]
            terms["grid"] = settings.grid_weight * losses.grid_loss(made, high, scale)
        if settings.power_weight:
            terms["power"] = settings.power_weight * losses.power_loss(made, high)
        if settings.ldl_weight:
            with torch.no_grad(), autocast(self.team.place, self._precision):
                averaged = self._averaged(low)
            terms["ldl"] = settings.ldl_weight * losses.artefact_loss(made, averaged, high)
        if self.vgg is not None:
            down, right = corner
            with autocast(self.team.place, self._precision):
                with torch.no_grad():
                    wanted = self.vgg(high[..., down:, right:])
                features = self.vgg(made[..., down:, right:])
            terms["vgg"] = settings.vgg_weight * losses.likeness_loss(
                features, wanted, dict(settings.vgg_layers), settings.vgg_loss
            )
        return terms

    def _deception(self, made: Tensor, high: Tensor) -> Terms:
        """The terms that the discriminator gives the generator."""
        settings, terms = self.settings, Terms()
        if not self._has_opponent:
            return terms
        with autocast(self.team.place, self._precision):
            fake, fake_features = self.discriminator(made)
            with torch.no_grad():
                real, real_features = self.discriminator(high) if self._compares else (fake, [])
        if settings.adversarial_weight:
            terms["adversarial"] = settings.adversarial_weight * losses.deception_loss(
                settings.adversarial, fake.float(), real.float()
            )
        if settings.feature_weight:
            terms["features"] = settings.feature_weight * losses.feature_loss(fake_features, real_features)
        return terms

    @property
    def _has_opponent(self) -> bool:
        """Whether there is anything that the discriminator is for."""
        return bool(self.settings.adversarial_weight or self.settings.feature_weight)

    @property
    def _compares(self) -> bool:
        """Whether the generator's step needs the verdict on the originals too."""
        return self.settings.adversarial == "relativistic" or self.settings.feature_weight > 0

    def _judgement(self, made: Tensor, high: Tensor) -> tuple[Tensor, Terms]:
        """The discriminator's loss and scores; one pass over both, as two would break under DDP."""
        with autocast(self.team.place, self._precision):
            logits, _ = self._judge(torch.cat([high, made]))
        real, fake = logits.float().chunk(2)
        loss = losses.judgement_loss(
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
        noise = torch.randn(count * self.team.size, *rest, generator=self._labels)
        return value + self.settings.label_noise * self.team.own(noise)

    def forget_gradients(self) -> None:
        """After a step that failed half-way: it can be done again, with the same draws."""
        self.optimizer.forget_gradients()
        self.discriminator_optimizer.forget_gradients()
        self._labels.set_state(self._labels_before)

    def differs_in_parts(self) -> list[str]:
        """What looks at one part of a batch alone."""
        if not self._has_opponent:
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


def _drawn_corner(side_px: int, generator: torch.Generator) -> tuple[int, int]:
    """How far (down, right) VGG begins in the crops of a step, HR pixels; less than a sixteenth of a crop.

    Its pooling lies on a grid. One that always lay in the same way over the network's own would not see what
    repeats in its rhythm.
    """
    down, right = torch.randint(min(8, max(1, side_px // 16)), (2,), generator=generator).tolist()
    return down, right


def _adam(network: nn.Module, rate: float, settings: GanConfig) -> Optimizer:
    return Optimizer(network, "adamw", rate, 0.0, betas=settings.betas, clip_norm=settings.clip_norm)
