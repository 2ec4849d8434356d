"""Every setting of a training run, in one frozen object."""

import dataclasses
import inspect
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from upscaler.errors import UsageError, WeightsError
from upscaler.models.perceptual import LAYERS
from upscaler.models.registry import NETWORKS, PRESETS, SCALES, build
from upscaler.system import processors
from upscaler.trainer.config.gan import SMALLEST_PATCH_PX, GanConfig, PixelLoss, Schedule
from upscaler.trainer.config.ranges import (
    adam_betas,
    at_least,
    at_most_share,
    below_one,
    fraction,
    inner_fraction,
    not_negative,
    one_of,
    positive,
    range_errors,
)
from upscaler.trainer.degrade import degradations

# Settings that may change when a run is resumed: they change its length or its speed, not its result.
_FREE_ON_RESUME = {
    "minutes",
    "steps",
    "epochs",
    "patience",
    "keep",
    "lpips_trunk",
    "lpips_heads",
    "threads",
    "compiled",
    "checkpoint_every_s",
    "micro_batch",
    "checkpointing",
    "tensorboard",
    "wandb",
    "workers",
    "show_degraded",
}

# Learning rate and weight decay of Muon. Plain networks train well at 0.02; SRResNet diverged there after a
# few hundred steps, and does not at 0.01. Without decay the matrices grow with every step: after 13,000 steps
# on few images their norms had doubled in all ten layers, and rare patterns turned into bursts of noise.
_MUON = {
    "compact": (0.02, 0.1),
    "film": (0.008, 0.1),
    "srresnet": (0.01, 0.1),
    "srcnn": (0.01, 0.0),
    "srvgg": (0.02, 0.1),
}

# What ``network_size`` may name.
SIZES = ("channels", "depth", "blocks")

# Torch's generators accept slightly more, and some are seeded with slightly more than the seed.
_SEEDS = 2**63


@dataclass(frozen=True)
class TrainConfig:
    """Settings of a run. The defaults suit training on a CPU from scratch.

    Attributes:
        photos: Folders (searched recursively) or files with HR photographs; for a network for films also
            with videos.
        output: The weight file to write; the run folder is created beside it.
        network: A key of ``registry.PRESETS``.
        network_size: Replaces sizes of that network: ``channels``, and ``depth`` (compact) or ``blocks``
            (srresnet); ``--set network.channels=32``.
        scale: Output size over input size; 1 restores without enlarging.
        lr_dirs: Folders with LR versions of the photographs; if empty, they are made.
        pairs: ``left-hr`` and ``right-hr``: every image holds the photograph and its LR version side by side,
            in two halves of the same size; the LR half is reduced by the scale.
        align_lr: Take a shift that all given LR images share out, by whole HR pixels.
        smallest_photo_px: Photographs with a shorter side below this, HR pixels, are left out, unless crops
            are smaller still.
        valid: Folders or files with validation images; if empty, some photographs are held out.
        valid_lr_dirs: Folders with LR versions of ``valid``.
        frames_per_video: Frames of each video among the photographs that are trained on, at most; 0 leaves
            videos out.
        cache_gb: If the photographs take more than this when decoded, GB, they are read during the training,
            and at most this much of them (and at most 2 GB) is in memory; less is decoded before it.
        workers: Helper processes that read them during the training; 0: one less than there are CPU cores, at
            least one and at most eight.
        degradation: How LR images are made, as in ``degradations.parse``; empty: ``given`` with ``lr_dirs``,
            else ``photo``, for a network for films ``film``. With ``given``, photographs without an LR image
            are left out; with another degradation, their LR images are made.
        given_share: Share of the crops from photographs with an LR image in ``lr_dirs``, if others have none.
        sizes: Fractions of its own size that each photograph is reduced to; training uses all of them,
            validation the first. Several sizes get more from few photographs.
        start_from: A weight file or the name of shipped weights to start from, or ``none``.
        teacher: A weight file or the name of shipped weights, whose output stage one learns instead of the
            originals; or ``none``.
        teacher_tta: Use the self-ensemble of the teacher: closer to the original, for 8 times the work.
        stages: ``1`` (pixel loss), ``2`` (perceptual and adversarial too) or ``1,2``.
        minutes: Length of the run; set this, ``steps`` or ``epochs``. The learning rate follows it.
        steps: Length of the run in steps, both stages together.
        epochs: Length of the run in epochs, both stages together; an epoch draws as many crops as there are
            photographs.
        patience: A stage ends after this many validations without gain; 0: never.
        keep: The weights that the output holds: ``best``, by PSNR in stage one and by LPIPS in stage two, or
            ``last``.
        stage_one_share: Share of the length that stage one takes if there are two.
        batch: Crops per step.
        patch_px: Side of a crop, LR pixels.
        phase2_batch: Crops per step in phase 2, the last part of stage one.
        phase2_patch_px: Side of a crop in phase 2, LR pixels: larger crops waste less on the border.
        phase2_share: Share of stage one that is phase 2; 0 for none.
        flat_crop_drop_ratio: Share of the drawn crops that is dropped, the flattest, which teach least.
        focus: Where crops come from: ``everywhere``, or ``detail``: places with more detail are drawn more
            often, in proportion; for pages, drawings and other pictures with large empty areas.
        optimizer: ``muon`` (Muon on the convolution matrices, AdamW on the rest) or ``adamw``.
        learning_rate: Peak learning rate; ``None`` for the default of the network.
        plain_rate: Factor on the learning rates of what a network for films shares with a plain one, whose
            weights it starts from: they were annealed.
        weight_decay: Decoupled, on the matrices; ``None`` for the default of the network.
        betas: Of AdamW.
        schedule: Learning rate over the progress of the stage: ``cosine`` to zero, ``constant``, or ``tenth``
            (a tenth in the second half).
        warmup_steps: Steps of linear warm-up.
        clip_norm: Gradients are clipped to this norm; 0 turns clipping off.
        pixel_loss: ``l1``, ``mse`` (a little more PSNR at the end of a training) or ``charbonnier``.
        pixel_weight: Weight of the pixel loss.
        loss_colors: ``luma``: the pixel loss on luma plus that on half the colour differences, and the
            spectrum of luma alone; ``rgb``: both on R, G and B.
        fft_weight: Weight of the spectrum loss.
        clip_frames: Frames of the clips that a network for films learns from, at least 2; 0 for all others.
        calm_weight: Weight of the change of the error from frame to frame; for networks for films.
        ema_decay: Decay of the EMA; the averaged weights are validated and saved.
        micro_batch: Crops that go through the networks at once; gradients accumulate over the batch. 0 for
            the whole batch.
        checkpointing: Recompute the features of the body in the backward pass instead of keeping them: less
            memory, same result, more time; not compiled.
        seed: Seed of the initial weights and of the crops.
        device: As in ``devices.select``.
        precision: ``auto`` (bf16 where it is fast), ``bf16`` or ``fp32``; losses are fp32 always.
        threads: CPU threads; 0 uses torch's default. Two runs with one thread each do more work than one run
            with two.
        compiled: Compile the network if a compiler is found.
        checkpoint_every_s: Seconds between validations and saved states.
        show_degraded: Write ``degraded.png``, a page of LR images, into the run folder before training.
        lpips_trunk: File with the weights of SqueezeNet for LPIPS, as ``upscale-eval --lpips-trunk``; empty:
            those that torchvision downloaded before, if any.
        lpips_heads: File with the linear layers of LPIPS; empty: those in torchmetrics, if it is installed.
        tensorboard: Also write TensorBoard event files into the run folder.
        wandb: Also send everything to Weights & Biases.
        gan: Settings of stage two.
    """

    photos: tuple[str, ...]
    output: str
    network: str = "balanced"
    network_size: Mapping[str, int] = field(default_factory=dict)
    scale: int = one_of(SCALES, 4)
    lr_dirs: tuple[str, ...] = ()
    pairs: Literal["separate", "left-hr", "right-hr"] = "separate"
    align_lr: bool = False
    smallest_photo_px: int = positive(64)
    valid: tuple[str, ...] = ()
    valid_lr_dirs: tuple[str, ...] = ()
    frames_per_video: int = not_negative(32)
    cache_gb: float = not_negative(16.0)
    workers: int = not_negative(0)
    degradation: str = ""
    given_share: float = inner_fraction(0.5)
    sizes: tuple[float, ...] = (1.0,)
    start_from: str = "none"
    teacher: str = "none"
    teacher_tta: bool = False
    stages: Literal["1", "2", "1,2"] = "1"
    minutes: float | None = positive(None)
    steps: int | None = positive(None)
    epochs: float | None = positive(None)
    patience: int = not_negative(0)
    keep: Literal["best", "last"] = "best"
    stage_one_share: float = inner_fraction(0.5)
    batch: int = positive(16)
    patch_px: int = at_least(SMALLEST_PATCH_PX, 32)
    phase2_batch: int = positive(12)
    phase2_patch_px: int = at_least(SMALLEST_PATCH_PX, 48)
    phase2_share: float = fraction(0.3)
    flat_crop_drop_ratio: float = at_most_share(0.9, 0.25)  # at 0.9, ten times as many crops are drawn
    focus: Literal["everywhere", "detail"] = "everywhere"
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float | None = positive(None)
    plain_rate: float = positive(1.0)
    weight_decay: float | None = not_negative(None)
    betas: tuple[float, float] = adam_betas((0.9, 0.99))
    schedule: Schedule = "cosine"
    warmup_steps: int = not_negative(200)
    clip_norm: float = not_negative(1.0)
    pixel_loss: PixelLoss = "l1"
    pixel_weight: float = not_negative(1.0)
    loss_colors: Literal["luma", "rgb"] = "luma"
    fft_weight: float = not_negative(10.0)
    clip_frames: int = not_negative(0)
    calm_weight: float = not_negative(0.0)
    ema_decay: float = below_one(0.999)
    micro_batch: int = not_negative(0)
    checkpointing: bool = False
    seed: int = not_negative(0)
    device: str = "auto"
    precision: Literal["auto", "bf16", "fp32"] = "auto"
    threads: int = not_negative(0)
    compiled: bool = True
    checkpoint_every_s: float = positive(120.0)
    show_degraded: bool = False
    lpips_trunk: str = ""
    lpips_heads: str = ""
    tensorboard: bool = False
    wandb: bool = False
    gan: GanConfig = field(default_factory=GanConfig)

    def __post_init__(self) -> None:
        """Check everything at once.

        Raises:
            UsageError: Names every wrong setting.
        """
        if not self.degradation:
            usual = "film" if self.learns_clips else "photo"
            object.__setattr__(self, "degradation", degradations.GIVEN if self.has_given_lr else usual)
        errors = range_errors(self) + self.gan.validation_errors()
        errors += _network_errors(self)
        errors += _degradation_errors(self)
        errors += _sizes_errors(self)
        errors += _teacher_errors(self)
        errors += _crop_errors(self)
        errors += _film_errors(self)
        errors += [f"{name} holds a NUL character" for name, value in _texts(self) if "\0" in value]
        if self.seed >= _SEEDS:
            errors.append(f"seed must be below {_SEEDS}")
        if Path(self.output).suffix != ".safetensors":
            errors.append(f"output '{self.output}' must have the suffix .safetensors")
        if [self.minutes, self.steps, self.epochs].count(None) != 2:
            errors.append("set one of minutes, steps and epochs")
        cores = processors.count()
        errors += [
            f"{name} must be at most {cores}, the CPU cores that this process may use"
            for name in ("threads", "workers")
            if getattr(self, name) > cores
        ]
        if self.valid_lr_dirs and not self.valid:
            errors.append("valid_lr_dirs belong to the images of valid, which is not set")
        if not (self.pixel_weight or self.fft_weight):
            errors.append("pixel_weight and fft_weight are both 0: there is nothing to learn")
        if errors:
            raise UsageError("; ".join(errors))

    @property
    def has_given_lr(self) -> bool:
        """Whether LR images come from files."""
        return bool(self.lr_dirs) or self.pairs != "separate"

    def network_arguments(self) -> dict[str, Any]:
        """What builds the network, with ``registry.build``."""
        return PRESETS[self.network][1] | dict(self.network_size) | {"scale": self.scale}

    @property
    def learns_clips(self) -> bool:
        """Whether the network sees neighbouring frames, and learns from clips."""
        return PRESETS.get(self.network, ("",))[0] == "film"

    def matrix_step(self) -> tuple[float, float]:
        """Peak learning rate and decay for the convolution matrices."""
        architecture = PRESETS[self.network][0]
        rate, decay = _MUON[architecture] if self.optimizer == "muon" else (1e-3, 0.0)
        return (
            rate if self.learning_rate is None else self.learning_rate,
            decay if self.weight_decay is None else self.weight_decay,
        )

    def stage_numbers(self) -> tuple[int, ...]:
        """The stages of the run, in order."""
        return tuple(int(number) for number in self.stages.split(","))

    def largest_patch_px(self) -> int:
        """Side of the largest crops of the run, LR pixels."""
        stage_one = (self.patch_px, self.phase2_patch_px if self.phase2_share else 0)
        sides = {1: max(stage_one), 2: self.gan.patch_px}
        return max(sides[number] for number in self.stage_numbers())

    def stage_file(self, stage: int) -> Path:
        """Where the weights of a stage are written: the output itself for the last one."""
        output = Path(self.output)
        return (
            output if stage == self.stage_numbers()[-1] else output.with_stem(f"{output.stem}-stage{stage}")
        )

    def as_dict(self) -> dict[str, Any]:
        """All settings, JSON-serialisable, as a settings file has them."""
        return _plain(dataclasses.asdict(self))

    def conflicts(self, other: dict[str, Any]) -> list[str]:
        """The settings that differ from those of another run, and must not when resuming it.

        Returns:
            Such as ``batch = 5, was 4``, by name.
        """
        own = _flat(self.as_dict())
        theirs = _flat(other)
        differing = {name for name in own.keys() | theirs.keys() if own.get(name) != theirs.get(name)}
        return [
            f"{name} = {_shown(own.get(name))}, was {_shown(theirs.get(name))}"
            for name in sorted(differing - _FREE_ON_RESUME)
        ]


def _shown(value: object) -> str:
    """A setting for the user."""
    return "not set" if value is None else str(value)


def _flat(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with ``gan.NAME`` instead of the table ``gan``."""
    gan = settings.get("gan", {})
    return {name: value for name, value in settings.items() if name != "gan"} | {
        f"gan.{name}": value for name, value in gan.items()
    }


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The settings with tuples as lists, on all levels."""
    return {
        name: _plain(value) if isinstance(value, dict) else list(value) if isinstance(value, tuple) else value
        for name, value in settings.items()
    }


def _texts(settings: object) -> Iterator[tuple[str, str]]:
    """Name and value of every setting that is text, and of every text in one that is several."""
    for field_ in dataclasses.fields(settings):  # type: ignore[arg-type]  # a dataclass
        value = getattr(settings, field_.name)
        if dataclasses.is_dataclass(value):
            yield from _texts(value)
        for text in value if isinstance(value, tuple) else (value,):
            if isinstance(text, str):
                yield field_.name, text


def _film_errors(config: TrainConfig) -> list[str]:
    """What a network for films cannot learn from, and what no other can."""
    if not config.learns_clips:
        return (
            ["clip_frames, calm_weight and plain_rate are for networks for films"]
            if config.clip_frames or config.calm_weight or config.plain_rate != 1
            else []
        )
    degradation = config.degradation
    known = degradation == "clean" or re.fullmatch(r"film|video\d*", degradation)
    possible = {
        "degradation clean, film, video or videoN": bool(known),
        "stages 1": config.stages == "1",
        "no teacher": config.teacher == "none",
        "no given LR images": not config.has_given_lr,
        "one size": len(config.sizes) == 1,
        "clip_frames of at least 2": config.clip_frames > 1,
    }
    needed = [what for what, holds in possible.items() if not holds]
    return [f"network {config.network} needs {', '.join(needed)}"] if needed else []


def _network_errors(config: TrainConfig) -> list[str]:
    if config.network not in PRESETS:
        return [f"unknown network '{config.network}' (known: {', '.join(PRESETS)})"]
    architecture = PRESETS[config.network][0]
    possible = [name for name in SIZES if name in inspect.signature(NETWORKS[architecture]).parameters]
    wrong = [f"network.{name}" for name in config.network_size if name not in possible]
    if wrong:
        known = ", ".join(f"network.{name}" for name in possible) or "none"
        return [f"network {config.network} has no {', '.join(wrong)} (known: {known})"]
    if config.network_size and config.scale in SCALES:
        try:
            with torch.device("meta"):  # without memory
                build(architecture, config.network_arguments())
        except WeightsError as error:
            return [f"{error.message}: {error.hint}"]
    if config.checkpointing and PRESETS[config.network][0] == "srcnn":
        return ["checkpointing saves nothing with network srcnn, which has three layers"]
    return []


def _sizes_errors(config: TrainConfig) -> list[str]:
    if not config.sizes or not all(0 < share <= 1 for share in config.sizes):
        return ["sizes must be fractions above 0 and at most 1"]
    if config.has_given_lr and config.sizes != (1.0,):
        return ["sizes cannot be combined with lr_dirs and pairs"]
    if config.pairs != "separate" and (config.lr_dirs or config.degradation != degradations.GIVEN):
        return ["pairs cannot be combined with lr_dirs and a degradation"]
    return []


def _teacher_errors(config: TrainConfig) -> list[str]:
    if config.teacher == "none":
        return ["teacher_tta needs a teacher"] if config.teacher_tta else []
    return ["teacher is for stage one, which stages = 2 skips"] if config.stages == "2" else []


def _crop_errors(config: TrainConfig) -> list[str]:
    """Crops too small for the networks of stage two."""
    gan, side_px = config.gan, config.gan.patch_px * config.scale
    if "2" not in config.stages:
        return []
    needed_px = {f"vgg_layers {name}": 2 ** (int(name[4]) - 1) for name in gan.vgg_layers if name in LAYERS}
    if not gan.vgg_weight:
        needed_px = {}
    if gan.adversarial_weight or gan.feature_weight:
        if gan.discriminator != "srgan":
            needed_px[f"discriminator {gan.discriminator}"] = 8
        elif _smallest_micro_batch(gan.batch, config.micro_batch) == 1:
            needed_px["discriminator srgan with single crops"] = 17
    return [
        f"gan.{what} needs crops of at least {least_px} HR pixels, so gan.patch_px must be larger"
        for what, least_px in needed_px.items()
        if side_px < least_px
    ]


def _smallest_micro_batch(batch: int, micro_batch: int) -> int:
    """Crops in the smallest micro-batch of a batch."""
    batch = max(1, batch)
    parts = -(-batch // micro_batch) if micro_batch > 0 else 1
    size = -(-batch // parts)
    return batch % size or size


def _degradation_errors(config: TrainConfig) -> list[str]:
    name = config.degradation
    try:
        degradation = degradations.parse(name)
    except UsageError as error:
        return [str(error)]
    if name == degradations.GIVEN and not config.has_given_lr:
        return ["degradation 'given' needs LR images: set lr_dirs"]
    if config.lr_dirs and name != degradations.GIVEN and degradation.degrade is None:
        return [f"degradation {name} cannot be mixed with the LR images of lr_dirs"]
    if config.scale == 1 and not degradation.restorable:
        return [f"degradation {name} leaves nothing to restore at scale 1: use photo, jpegN or video"]
    return []
