"""Every setting of stage two."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from upscaler.models.discriminator import Kind as DiscriminatorKind
from upscaler.models.encoder import IMITATED
from upscaler.models.perceptual import LAYERS
from upscaler.trainer.config.ranges import (
    adam_betas,
    at_least,
    below_one,
    finite,
    not_negative,
    positive,
    range_errors,
)

Schedule = Literal["cosine", "constant", "tenth"]
PixelLoss = Literal["l1", "mse", "charbonnier"]

# Validation ignores a border of one LR pixel on each side; something must remain.
SMALLEST_PATCH_PX = 4


@dataclass(frozen=True)
class GanConfig:
    """Settings of stage two: the table ``[gan]`` of a settings file.

    The generator minimises the weighted sum of the loss terms; a weight of 0 turns a term off.

    Attributes:
        batch: Crops per step.
        patch_px: Side of a crop, LR pixels.
        learning_rate: Peak of the generator's Adam.
        discriminator_learning_rate: Peak of the discriminator's Adam.
        betas: Of both optimizers.
        schedule: As in ``TrainConfig``, over the progress of this stage.
        warmup_steps: As in ``TrainConfig``.
        clip_norm: As in ``TrainConfig``, for each of the two networks.
        discriminator: ``patch`` (a logit per patch, spectral norm; the cheapest), ``patch-input`` (the same,
            and it sees the LR image, too), ``unet`` (a logit per pixel, spectral norm) or ``srgan`` (the
            paper's).
        from_discriminator: File with the weights that it starts from, ``NAME-discriminator.safetensors`` of
            another training; empty: random ones.
        discriminator_channels: Features of its first layer.
        discriminator_warmup_steps: Steps at the start of the stage in which only the discriminator learns.
        sharpening: How much the targets are sharpened: this times their detail, what a 5x5 blur removes, is
            added.
        pixel_loss: ``l1``, ``mse`` or ``charbonnier``.
        pixel_weight: Weight of the pixel loss.
        vgg: ``small`` (the encoder that ships, which imitates conv1_2, conv2_2 and conv3_4), ``torchvision``
            (its VGG19, downloaded once), or a file with weights of VGG19 under torchvision's names, whole or
            the first layers.
        vgg_layers: Convolutions whose features are compared, and the weight of each.
        vgg_weight: Weight of the perceptual loss.
        vgg_after_activation: Compare features after the ReLU instead of before it.
        vgg_loss: ``l1`` or ``mse``.
        vgg_factor: Factor on the features; ``None`` divides those of each layer by their mean.
        adversarial: ``vanilla``, ``relativistic``, ``paired`` (SR against the HR of the same place) or
            ``hinge``.
        adversarial_weight: Weight of the generator loss; 0 trains without a discriminator.
        real_label: Target of the discriminator for HR (not for ``hinge`` and ``paired``).
        fake_label: The same for SR.
        label_noise: Standard deviation of normal noise on both labels.
        feature_weight: Weight of the L1 difference of the discriminator's features.
        tv_weight: Weight of the total variation.
        grid_weight: Weight of the L1 of errors that repeat with every LR pixel.
        power_weight: Weight of the L1 difference of log power spectra.
        ldl_weight: Weight of the L1 where artifacts are likely (LDL).
        fft_weight: Weight of the spectrum loss.
        ema_decay: Decay of the EMA.
    """

    batch: int = positive(8)
    patch_px: int = at_least(SMALLEST_PATCH_PX, 32)
    learning_rate: float = positive(1e-4)
    discriminator_learning_rate: float = positive(1e-4)
    betas: tuple[float, float] = adam_betas((0.9, 0.99))
    schedule: Schedule = "cosine"
    warmup_steps: int = not_negative(0)
    clip_norm: float = not_negative(1.0)
    discriminator: DiscriminatorKind = "patch"
    from_discriminator: str = ""
    discriminator_channels: int = positive(32)
    discriminator_warmup_steps: int = not_negative(0)
    sharpening: float = not_negative(0.0)
    pixel_loss: PixelLoss = "l1"
    pixel_weight: float = not_negative(1.0)
    vgg: str = "small"
    vgg_layers: Mapping[str, float] = field(
        default_factory=lambda: {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0}
    )
    vgg_weight: float = not_negative(1.0)
    vgg_after_activation: bool = False
    vgg_loss: Literal["l1", "mse"] = "l1"
    vgg_factor: float | None = positive(None)
    adversarial: Literal["vanilla", "relativistic", "paired", "hinge"] = "vanilla"
    adversarial_weight: float = not_negative(0.1)
    real_label: float = finite(1.0)
    fake_label: float = finite(0.0)
    label_noise: float = not_negative(0.0)
    feature_weight: float = not_negative(0.0)
    tv_weight: float = not_negative(0.0)
    grid_weight: float = not_negative(5.0)
    power_weight: float = not_negative(0.03)
    ldl_weight: float = not_negative(0.0)
    fft_weight: float = not_negative(0.0)
    ema_decay: float = below_one(0.999)

    def validation_errors(self) -> list[str]:
        """A line for every wrong setting, named as in a settings file."""
        errors = range_errors(self)
        unknown = [name for name in self.vgg_layers if name not in LAYERS]
        if unknown:
            errors.append(f"vgg_layers has no layer {', '.join(unknown)}")
        if any(not (math.isfinite(weight) and weight >= 0) for weight in self.vgg_layers.values()):
            errors.append("vgg_layers must have weights of at least 0")
        errors += self._small_encoder_errors()
        if self.vgg_weight and not self.vgg_layers:
            errors.append("vgg_layers must name a layer, or vgg_weight be 0")
        labels = (self.real_label, self.fake_label, self.label_noise)
        if self.adversarial in ("hinge", "paired") and labels != (1.0, 0.0, 0.0):
            kind = self.adversarial
            errors.append(f"real_label, fake_label and label_noise have no effect with adversarial = {kind}")
        if not (self.pixel_weight or self.vgg_weight or self.fft_weight):
            errors.append("pixel_weight, vgg_weight and fft_weight are all 0: nothing ties SR to the input")
        return [f"gan.{line}" for line in errors]

    def _small_encoder_errors(self) -> list[str]:
        """Settings that only the whole VGG19 supports."""
        if self.vgg != "small" or not self.vgg_weight:
            return []
        beyond = [name for name in self.vgg_layers if name in LAYERS and name not in IMITATED]
        settings = [f"vgg_layers {', '.join(beyond)}"] if beyond else []
        settings += ["vgg_factor"] if self.vgg_factor is not None else []
        if not settings:
            return []
        need = "need" if len(settings) > 1 else "needs"
        return [f"{' and '.join(settings)} {need} the whole VGG19: --vgg torchvision or FILE"]
