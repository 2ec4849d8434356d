"""Every setting of a training run, in one frozen object."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from upscaler.errors import UsageError
from upscaler.models.registry import PRESETS
from upscaler.trainer import degrade

# Settings that may differ when a run is continued: they change its length or its speed, not its course.
_FREE_ON_RESUME = {"minutes", "steps", "threads", "compiled", "checkpoint_every_s", "show_degraded"}

# Step size of Muon: plain networks take 0.02; SRResNet diverged there after some hundred steps, and 0.01
# with decay does not.
_MUON = {"compact": (0.02, 0.0), "srresnet": (0.01, 0.1), "srcnn": (0.01, 0.0)}

_SCALES = (1, 2, 3, 4, 8)

# What states of earlier versions mean by leaving a setting out.
_UNSAID: dict[str, object] = {"degradation": "clean", "low_folders": []}

_POSITIVE = ("minutes", "steps", "batch", "late_batch", "learning_rate", "checkpoint_every_s")
_NOT_NEGATIVE = ("weight_decay", "warmup_steps", "fft_weight", "seed", "threads")

# Validation leaves out a border of one LR pixel on each side; a little has to be left.
_SMALLEST_PATCH_PX = 4


_CHOICES: dict[str, tuple[object, ...]] = {
    "scale": _SCALES,
    "optimizer": ("muon", "adamw"),
    "pixel_loss": ("l1", "mse"),
}


@dataclass(frozen=True)
class TrainConfig:
    """Settings of one run. Defaults suit a processor and a network trained from scratch.

    Attributes:
        photos: Folders (searched recursively) or files with HR photographs.
        output: The weight file to write; the run's folder stands beside it.
        network: A key of ``PRESETS``.
        scale: Output size over input size; 1 restores without enlarging.
        low_folders: Folders with the LR versions of the photographs; empty: they are made.
        degradation: How LR pictures are made, as in ``degrade.parse``; nothing: ``photo``, or ``given``
            where they come from ``low_folders``.
        start_from: A weight file to start from, or ``none``.
        minutes: Length of the run by the clock; the learning rate follows it. Exclusive with ``steps``.
        steps: Length of the run in optimiser steps.
        batch: Crops per step.
        patch_px: Side of a crop, LR pixels.
        late_batch: Crops per step in the late share of the run.
        late_patch_px: Side of a crop in the late share, LR pixels: larger ones waste less on the border.
        late_share: Share of the run, at its end, with the late crops; 0 for none.
        optimizer: ``muon`` (Muon on the convolution matrices, AdamW on the rest) or ``adamw``.
        learning_rate: Peak; ``None`` for the network's own default.
        weight_decay: Decoupled, on the matrices; ``None`` for the network's own default.
        warmup_steps: Steps of linear rise to the peak.
        pixel_loss: ``l1``, or ``mse`` (a little more PSNR at the end of a training).
        fft_weight: Weight of the spectrum term beside the L1 term (weight 1).
        ema_decay: Of the averaged weights, which are the ones written.
        seed: Of the initial weights and of the crops.
        device: As in ``device.pick``.
        threads: Processor threads; 0 leaves torch's choice. Two runs of one thread each, side by side, do
            more work than one run of two.
        compiled: Compile the network where a compiler is found.
        checkpoint_every_s: Seconds between validations and saved states.
        show_degraded: Write ``degraded.png``, a page of LR crops, into the run's folder before training.
    """

    photos: tuple[str, ...]
    output: str
    network: str = "balanced"
    scale: int = 4
    low_folders: tuple[str, ...] = ()
    degradation: str = ""
    start_from: str = "none"
    minutes: float | None = None
    steps: int | None = None
    batch: int = 16
    patch_px: int = 32
    late_batch: int = 12
    late_patch_px: int = 48
    late_share: float = 0.3
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: float | None = None
    weight_decay: float | None = None
    warmup_steps: int = 200
    pixel_loss: Literal["l1", "mse"] = "l1"
    fft_weight: float = 10.0
    ema_decay: float = 0.999
    seed: int = 0
    device: str = "auto"
    threads: int = 0
    compiled: bool = True
    checkpoint_every_s: float = 120.0
    show_degraded: bool = False

    def __post_init__(self) -> None:
        """Check everything at once.

        Raises:
            UsageError: Names every wrong setting.
        """
        if not self.degradation:
            object.__setattr__(self, "degradation", degrade.GIVEN if self.low_folders else "photo")
        wrong = [f"{name} must be above 0" for name in _POSITIVE if not _in_range(self, name, above=True)]
        wrong += [f"{name} must not be negative" for name in _NOT_NEGATIVE if not _in_range(self, name)]
        wrong += [
            f"{name} must be one of {', '.join(map(str, known))}"
            for name, known in _CHOICES.items()
            if getattr(self, name) not in known
        ]
        wrong += _wrong_degradation(self)
        if Path(self.output).suffix != ".safetensors":
            wrong.append(f"output '{self.output}' must have the suffix .safetensors")
        if self.network not in PRESETS:
            wrong.append(f"unknown network '{self.network}' (known: {', '.join(PRESETS)})")
        if min(self.patch_px, self.late_patch_px) < _SMALLEST_PATCH_PX:
            wrong.append(f"patch_px and late_patch_px must be at least {_SMALLEST_PATCH_PX}")
        if (self.minutes is None) == (self.steps is None):
            wrong.append("give either minutes or steps")
        if not 0 <= self.late_share <= 1:
            wrong.append("late_share must be between 0 and 1")
        if not 0 <= self.ema_decay < 1:
            wrong.append("ema_decay must be at least 0 and below 1")
        if wrong:
            raise UsageError("; ".join(wrong))

    def matrix_step(self) -> tuple[float, float]:
        """Peak learning rate and decay for the convolution matrices."""
        architecture = PRESETS[self.network][0]
        rate, decay = _MUON[architecture] if self.optimizer == "muon" else (1e-3, 0.0)
        return (
            rate if self.learning_rate is None else self.learning_rate,
            decay if self.weight_decay is None else self.weight_decay,
        )

    def as_dict(self) -> dict[str, Any]:
        """All settings, JSON-serialisable."""
        return dataclasses.asdict(self) | {
            "photos": list(self.photos),
            "low_folders": list(self.low_folders),
        }

    def conflicts(self, other: dict[str, Any]) -> list[str]:
        """Names of the settings in which an earlier run differs so that it cannot be continued."""
        own = self.as_dict()
        return sorted(
            name
            for name in own
            if name not in _FREE_ON_RESUME and own[name] != other.get(name, _UNSAID.get(name, own[name]))
        )


def _in_range(config: TrainConfig, name: str, *, above: bool = False) -> bool:
    """Whether a setting is finite and at least 0, or above 0; ``None`` leaves it to a default."""
    value = getattr(config, name)
    return value is None or (math.isfinite(value) and (value > 0 if above else value >= 0))


def _wrong_degradation(config: TrainConfig) -> list[str]:
    name = config.degradation
    try:
        degradation = degrade.parse(name)
    except UsageError as error:
        return [str(error)]
    if (name == degrade.GIVEN) != bool(config.low_folders):
        return ["low_folders and the degradation 'given' go together, and exclude all others"]
    if config.scale == 1 and not degradation.restorable:
        return [f"degradation {name} leaves nothing to restore at scale 1; photo, jpegN or video do"]
    return []
