"""Stage two: the generator learns to fool a discriminator; VGG features and pixels tie it to the original."""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from upscaler.errors import TrainingError, first_line
from upscaler.models import discriminator, discriminator_file, encoder, perceptual
from upscaler.models.contract import Network
from upscaler.trainer.config.gan import GanConfig
from upscaler.trainer.stages import losses
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.forward import Forward, autocast, has_batch_norm
from upscaler.trainer.stages.optimizer import Optimizer
from upscaler.trainer.stages.stage import Terms

# What computes the features: VGG19, or the small encoder that imitates it.
PerceptualNetwork = perceptual.VGGFeatures | encoder.SmallEncoder


def perceptual_network(settings: GanConfig, device: torch.device) -> PerceptualNetwork | None:
    """The perceptual network of stage two, or ``None`` when the settings use none.

    Raises:
        TrainingError: torchvision's weights cannot be had.
        WeightsError: The file cannot be used.
    """
    if not settings.vgg_weight:
        return None
    layers, after_activation = list(settings.vgg_layers), settings.vgg_after_activation
    network: PerceptualNetwork
    if settings.vgg == "small":
        network = encoder.load(encoder.SHIPPED, layers, after_activation=after_activation)
    else:
        whole = settings.vgg == "torchvision"
        state = _torchvision_weights() if whole else perceptual.read_vgg19(Path(settings.vgg))
        network = perceptual.VGGFeatures(
            layers, state, after_activation=after_activation, factor=settings.vgg_factor
        )
    network.to(device)
    network.to(memory_format=torch.channels_last)
    return network


def starting_discriminator(settings: GanConfig, hr_side_px: int) -> discriminator.Discriminator:
    """A discriminator with random weights, or those of the file that the settings name.

    Raises:
        WeightsError: The file is missing or damaged, or does not fit.
    """
    network = discriminator.build(
        settings.discriminator, channels=settings.discriminator_channels, side_px=hr_side_px
    )
    if settings.from_discriminator:
        discriminator_file.load_into(Path(settings.from_discriminator), network, settings.discriminator)
    return network


def _torchvision_weights() -> dict[str, Tensor]:
    try:
        from torchvision.models import VGG19_Weights

        state: dict[str, Tensor] = VGG19_Weights.IMAGENET1K_V1.get_state_dict(progress=False, check_hash=True)
    except (ImportError, OSError, RuntimeError) as error:  # RuntimeError: a damaged download
        reason = first_line(error)
        raise TrainingError(
            f"torchvision's VGG19 cannot be downloaded: {reason}",
            "use --vgg small, or name a file with --vgg FILE",
        ) from error
    return state


class AdversarialStage:
    """See ``Stage``. Batch norm in the generator keeps the statistics of stage one.

    Args:
        network: The network in training.
        generator: The same, as wrapped for several processes.
        forward: The same, compiled and in the precision of the training.
        ema_forward: The same with the averaged weights, for LDL; called only if that loss has a weight.
        settings: Settings of stage two.
        hr_side_px: Side of the HR crops.
        world: The processes of the run.
        precision: As in ``forward.autocast``.
        seed: For the discriminator's initial weights and the label noise.
        vgg: The network of ``perceptual_network``.
    """

    number = 2

    def __init__(  # noqa: PLR0913 - what it consists of
        self,
        network: Network,
        *,
        generator: nn.Module,
        forward: Forward,
        ema_forward: Forward,
        settings: GanConfig,
        hr_side_px: int,
        world: World,
        precision: str,
        seed: int,
        vgg: PerceptualNetwork | None,
    ) -> None:
        self.settings = settings
        self.world = world
        self.vgg = vgg
        self.generator = generator.eval()
        self._network, self._forward, self._ema_forward = network, forward, ema_forward
        self._precision = precision
        self.optimizer = _adam(network, settings.learning_rate, settings)
        torch.manual_seed(seed + 1)
        self._discriminator = starting_discriminator(settings, hr_side_px).to(world.device)
        self._discriminator.to(memory_format=torch.channels_last)
        needed = settings.adversarial_weight or settings.feature_weight
        self.discriminator = world.wrap(self._discriminator) if needed else None
        self.discriminator_optimizer = _adam(
            self._discriminator, settings.discriminator_learning_rate, settings
        )
        self._random = torch.Generator().manual_seed(seed + 2)
        self._state_before_step = self._random.get_state()
        self._vgg_offset_px = (0, 0)
        self._steps = 0

    def begin_step(self, hr_side_px: int) -> None:
        """See ``Stage``."""
        self._state_before_step = self._random.get_state()
        self._vgg_offset_px = _draw_vgg_offset(hr_side_px, self._random)

    def target(self, lr: Tensor, hr: Tensor) -> Tensor:
        """See ``Stage``."""
        target = self._network.training_target(lr, hr)
        return sharpened(target, self.settings.sharpening) if self.settings.sharpening else target

    def forward(self, lr: Tensor) -> Tensor:
        """See ``Stage``."""
        return self._forward(lr)

    def generator_losses(self, sr: Tensor, lr: Tensor, hr: Tensor) -> Terms:
        """See ``Stage``."""
        terms = self._pixel_terms(sr, lr, hr)
        if self.vgg is not None:
            terms["vgg"] = self.settings.vgg_weight * self._perceptual_loss(self.vgg, sr, hr)
        if self.discriminator is not None:
            terms |= self._adversarial_terms(sr, lr, hr)
        return terms

    def _pixel_terms(self, sr: Tensor, lr: Tensor, hr: Tensor) -> Terms:
        """The terms that no other network is needed for."""
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
                ema_sr = self._ema_forward(lr)
            terms["ldl"] = settings.ldl_weight * losses.ldl_loss(sr, ema_sr, hr)
        return terms

    def _perceptual_loss(self, vgg: PerceptualNetwork, sr: Tensor, hr: Tensor) -> Tensor:
        """See ``losses.perceptual_loss``; VGG sees the crops from the offset of the step on."""
        down, right = self._vgg_offset_px
        with autocast(self.world.device, self._precision):
            with torch.no_grad():
                hr_features = vgg(hr[..., down:, right:])
            sr_features = vgg(sr[..., down:, right:])
        return losses.perceptual_loss(
            sr_features, hr_features, dict(self.settings.vgg_layers), self.settings.vgg_loss
        )

    def _adversarial_terms(self, sr: Tensor, lr: Tensor, hr: Tensor) -> Terms:
        """The terms that the discriminator, with its weights fixed, gives the generator."""
        settings, terms = self.settings, Terms()
        # Two of the losses and the feature loss compare with the originals.
        compares = settings.adversarial in ("relativistic", "paired") or settings.feature_weight > 0
        self._discriminator.requires_grad_(False)
        with autocast(self.world.device, self._precision):
            fake, fake_features = self._discriminator(sr, lr)
            with torch.no_grad():
                real, real_features = self._discriminator(hr, lr) if compares else (fake, [])
        if settings.adversarial_weight:
            terms["adversarial"] = settings.adversarial_weight * losses.generator_loss(
                settings.adversarial, fake.float(), real.float()
            )
        if settings.feature_weight:
            terms["features"] = settings.feature_weight * losses.feature_loss(fake_features, real_features)
        return terms

    def discriminator_losses(self, sr: Tensor, lr: Tensor, hr: Tensor) -> tuple[Tensor, Terms]:
        """See ``Stage``; the scores are mean probabilities of being an original."""
        assert self.discriminator is not None, "there is no adversarial term"
        self._discriminator.requires_grad_(True)
        with autocast(self.world.device, self._precision):
            # One pass: two would break under DDP.
            logits, _ = self.discriminator(torch.cat([hr, sr]), torch.cat([lr, lr]))
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
        return loss, {"discriminator": loss} | scores

    def _noisy_labels(self, logits: Tensor, value: float) -> Tensor:
        """Normal noise around the label; every process draws that of all, so that their draws stay alike."""
        count, *rest = logits.shape
        noise = torch.randn(count * self.world.size, *rest, generator=self._random)
        return value + self.settings.label_noise * self.world.shard(noise)

    def update_weights(self, rate_factor: float) -> Tensor:
        """See ``Stage``; while the discriminator warms up, the generator stays."""
        if self._warms_up():
            self.optimizer.zero_grad()
            gradient_norm = torch.zeros(())
        else:
            gradient_norm = self.optimizer.step(rate_factor)
        self._steps += 1
        if self.discriminator is not None:
            self.discriminator_optimizer.step(rate_factor)
        return gradient_norm

    def _warms_up(self) -> bool:
        """Whether only the discriminator learns yet: a fresh one's gradients would undo stage one first."""
        return self.discriminator is not None and self._steps < self.settings.discriminator_warmup_steps

    def cancel_step(self) -> None:
        """See ``Stage``."""
        self.optimizer.zero_grad()
        self.discriminator_optimizer.zero_grad()
        self._random.set_state(self._state_before_step)

    def batch_dependent_parts(self) -> list[str]:
        """See ``Stage``."""
        if self.discriminator is None:
            return []
        relativistic = self.settings.adversarial == "relativistic" and self.settings.adversarial_weight
        found = ["the relativistic loss"] if relativistic else []
        return found + (["the discriminator's batch norm"] if has_batch_norm(self._discriminator) else [])

    def state_dict(self) -> dict[str, Any]:
        """See ``Stage``."""
        return {
            "optimizer": self.optimizer.state_dict(),
            "discriminator": self._discriminator.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
            "labels": self._random.get_state(),
            "stage_steps": self._steps,
        }

    def save_discriminator(self, path: Path) -> None:
        """See ``Stage``.

        Raises:
            WeightsError: The file cannot be written.
        """
        if self.discriminator is not None:
            discriminator_file.save(path, self._discriminator, self.settings.discriminator)

    def load_state_dict(self, saved: dict[str, Any]) -> None:
        """See ``Stage``."""
        self.optimizer.load_state_dict(saved["optimizer"])
        self._discriminator.load_state_dict(saved["discriminator"])
        self.discriminator_optimizer.load_state_dict(saved["discriminator_optimizer"])
        self._random.set_state(saved["labels"])
        self._steps = saved["stage_steps"]


def sharpened(images: Tensor, amount: float) -> Tensor:
    """Unsharp masking, as Real-ESRGAN (arXiv 2107.10833, section 3.3) sharpens what its generator learns.

    Args:
        images: ``(N, 3, H, W)`` in [0, 1].
        amount: Share of the detail, what a 5x5 binomial blur removes, that is added.

    Returns:
        The same shape and range.
    """
    row = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0], device=images.device) / 16
    kernel = (row[:, None] * row).expand(images.shape[1], 1, 5, 5)
    smooth = F.conv2d(F.pad(images, (2, 2, 2, 2), mode="replicate"), kernel, groups=images.shape[1])
    return (images + amount * (images - smooth)).clamp(0, 1)


def _draw_vgg_offset(side_px: int, generator: torch.Generator) -> tuple[int, int]:
    """How many HR pixels (down, right) VGG skips in the crops of a step: less than a sixteenth of a crop.

    VGG pools on a grid. If that grid always coincided with the generator's own, VGG would not see a pattern
    of the same period.
    """
    down, right = torch.randint(min(8, max(1, side_px // 16)), (2,), generator=generator).tolist()
    return down, right


def _adam(network: nn.Module, rate: float, settings: GanConfig) -> Optimizer:
    return Optimizer(network, "adamw", rate, 0.0, betas=settings.betas, clip_norm=settings.clip_norm)
