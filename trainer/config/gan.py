"""Every setting of stage two, and how values are checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from upscaler.models.discriminator import KINDS
from upscaler.models.discriminator import Kind as Discriminator
from upscaler.models.encoder import IMITATED
from upscaler.models.perceptual import LAYERS

Schedule = Literal["cosine", "constant", "tenth"]

# Validation leaves out a border of one LR pixel on each side; a little has to be left.
SMALLEST_PATCH_PX = 4

PIXEL_LOSSES = ("l1", "mse", "charbonnier")
SCHEDULES = ("cosine", "constant", "tenth")
_POSITIVE_GAN = (
    *("batch", "discriminator_channels", "learning_rate", "discriminator_learning_rate", "vgg_factor"),
)
_NOT_NEGATIVE_GAN = (
    *(
        "warmup_steps",
        "discriminator_warmup_steps",
        "pixel_weight",
        "vgg_weight",
        "adversarial_weight",
        "feature_weight",
        "tv_weight",
    ),
    *("grid_weight", "power_weight", "ldl_weight", "fft_weight", "label_noise", "clip_norm"),
)

_CHOICES_GAN: dict[str, tuple[object, ...]] = {
    "schedule": SCHEDULES,
    "discriminator": KINDS,
    "pixel_loss": PIXEL_LOSSES,
    "vgg_loss": ("l1", "mse"),
    "adversarial": ("vanilla", "relativistic", "hinge"),
}


@dataclass(frozen=True)
class GanConfig:
    """Settings of stage two: the table ``[gan]`` of a settings file.

    The loss of the generator is the sum of the terms, each times its weight; a weight of 0 leaves a term out.

    Attributes:
        batch: Crops per step.
        patch_px: Side of a crop, LR pixels.
        learning_rate: Peak of the generator's Adam.
        discriminator_learning_rate: Peak of the discriminator's Adam.
        betas: Of both.
        schedule: As in ``TrainConfig``, over the share of this stage.
        warmup_steps: As in ``TrainConfig``.
        clip_norm: As in ``TrainConfig``, for each of the two networks.
        discriminator: ``patch`` (a verdict per patch, spectral norm; the cheapest), ``unet`` (a verdict per
            pixel, spectral norm) or ``srgan`` (the paper's).
        discriminator_channels: Features of its first layer.
        discriminator_warmup_steps: Steps at the start of the stage in which only the discriminator learns.
        pixel_loss: ``l1``, ``mse`` or ``charbonnier``.
        pixel_weight: Of the pixel loss.
        vgg: ``small`` (the encoder that ships, which imitates conv1_2, conv2_2 and conv3_4), ``torchvision``
            (its VGG19, downloaded once), or a file with weights of VGG19 under torchvision's names, whole or
            the first layers.
        vgg_layers: Convolutions whose features are compared, and the weight of each.
        vgg_weight: Of their sum.
        vgg_after_activation: Compare features after the ReLU, else before it.
        vgg_loss: ``l1`` or ``mse``.
        vgg_factor: What features are multiplied by; ``None`` divides each layer's by its mean.
        adversarial: ``vanilla``, ``relativistic`` or ``hinge``.
        adversarial_weight: Of the adversarial loss; 0 trains without a discriminator.
        real_label: Target of the discriminator for originals (not for ``hinge``).
        fake_label: The same for enlargements.
        label_noise: Standard deviation of normal noise on both.
        feature_weight: Of the L1 difference of the discriminator's features.
        tv_weight: Of the total variation.
        grid_weight: Of the L1 of patterns that repeat with every LR pixel.
        power_weight: Of the L1 of logarithmic power spectra.
        ldl_weight: Of L1 where artefacts are likely.
        fft_weight: Of the L1 difference of the spectra.
        ema_decay: Of the averaged weights.
    """

    batch: int = 8
    patch_px: int = 32
    learning_rate: float = 1e-4
    discriminator_learning_rate: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.99)
    schedule: Schedule = "cosine"
    warmup_steps: int = 0
    clip_norm: float = 1.0
    discriminator: Discriminator = "unet"
    discriminator_channels: int = 32
    discriminator_warmup_steps: int = 0
    pixel_loss: Literal["l1", "mse", "charbonnier"] = "l1"
    pixel_weight: float = 1.0
    vgg: str = "small"
    vgg_layers: Mapping[str, float] = field(
        default_factory=lambda: {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0}
    )
    vgg_weight: float = 0.4
    vgg_after_activation: bool = False
    vgg_loss: Literal["l1", "mse"] = "l1"
    vgg_factor: float | None = None
    adversarial: Literal["vanilla", "relativistic", "hinge"] = "vanilla"
    adversarial_weight: float = 0.1
    real_label: float = 1.0
    fake_label: float = 0.0
    label_noise: float = 0.0
    feature_weight: float = 0.0
    tv_weight: float = 0.0
    grid_weight: float = 15.0
    power_weight: float = 0.3
    ldl_weight: float = 0.0
    fft_weight: float = 0.0
    ema_decay: float = 0.999

    def validation_errors(self) -> list[str]:
        """A line for every setting that cannot be, named as in a settings file."""
        wrong = range_errors(self, _POSITIVE_GAN, _NOT_NEGATIVE_GAN, _CHOICES_GAN)
        if self.patch_px < SMALLEST_PATCH_PX:
            wrong.append(f"patch_px must be at least {SMALLEST_PATCH_PX}")
        unknown = [name for name in self.vgg_layers if name not in LAYERS]
        if unknown:
            wrong.append(f"vgg_layers has no layer {', '.join(unknown)}")
        if any(not (math.isfinite(weight) and weight >= 0) for weight in self.vgg_layers.values()):
            wrong.append("vgg_layers must have weights of at least 0")
        wrong += self._beyond_small_encoder()
        if self.vgg_weight and not self.vgg_layers:
            wrong.append("vgg_layers must name a layer, or vgg_weight be 0")
        if not all(math.isfinite(label) for label in (self.real_label, self.fake_label)):
            wrong.append("real_label and fake_label must be numbers")
        labels = (self.real_label, self.fake_label, self.label_noise)
        if self.adversarial == "hinge" and labels != (1.0, 0.0, 0.0):
            wrong.append(
                "real_label, fake_label and label_noise are not for adversarial = hinge: it has none"
            )
        if not (self.pixel_weight or self.vgg_weight or self.fft_weight):
            wrong.append("pixel_weight, vgg_weight and fft_weight are all 0: nothing ties it to the input")
        return [f"gan.{line}" for line in wrong]

    def _beyond_small_encoder(self) -> list[str]:
        """What only the whole VGG19 can do."""
        if self.vgg != "small" or not self.vgg_weight:
            return []
        beyond = [name for name in self.vgg_layers if name in LAYERS and name not in IMITATED]
        asked = ([f"vgg_layers {', '.join(beyond)}"] if beyond else []) + (
            ["vgg_factor"] if self.vgg_factor is not None else []
        )
        needs = "need" if len(asked) > 1 else "needs"
        return [f"{' and '.join(asked)} {needs} the whole VGG19: --vgg torchvision or FILE"] if asked else []


class Checked(Protocol):
    """What the settings of both stages have in common."""

    @property
    def betas(self) -> tuple[float, float]:
        """Of Adam."""

    @property
    def ema_decay(self) -> float:
        """Of the averaged weights."""


def range_errors(
    config: Checked,
    positive: tuple[str, ...],
    not_negative: tuple[str, ...],
    choices: dict[str, tuple[object, ...]],
) -> list[str]:
    """A line for every setting out of its range."""
    wrong = [f"{name} must be above 0" for name in positive if not _in_range(config, name, above=True)]
    wrong += [f"{name} must not be negative" for name in not_negative if not _in_range(config, name)]
    if len(config.betas) != 2 or not all(0 <= beta < 1 for beta in config.betas):
        wrong.append("betas must be two numbers of at least 0 and below 1")
    if not 0 <= config.ema_decay < 1:
        wrong.append("ema_decay must be at least 0 and below 1")
    return wrong + [
        f"{name} must be one of {', '.join(map(str, known))}"
        for name, known in choices.items()
        if getattr(config, name) not in known
    ]


def _in_range(config: object, name: str, *, above: bool = False) -> bool:
    """Whether a setting is finite and at least 0, or above 0; ``None`` leaves it to a default."""
    value = getattr(config, name)
    finite = value is None or isinstance(value, int) or math.isfinite(value)  # no float holds every integer
    return finite and (value is None or (value > 0 if above else value >= 0))
