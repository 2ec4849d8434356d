"""What both stages share while they run: the rate, the watch over the losses, checkpoints, reports."""

import contextlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from upscaler.errors import TrainingError
from upscaler.inference import devices
from upscaler.models.contract import Network
from upscaler.models.perceptual import VGGFeatures
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photos import Photos
from upscaler.trainer.run import validation
from upscaler.trainer.run.record import Record
from upscaler.trainer.run.train_state import Run
from upscaler.trainer.run.validation import Scores
from upscaler.trainer.stages.divergence import Guard, Means, color_alarm, discriminator_alarm
from upscaler.trainer.stages.stage import Stage

# What the network is to make of LR crops, from these and their originals.
Target = Callable[[Tensor, Tensor], Tensor]

_RETURNS_AT_MOST = 3
_ROW_EVERY_S = 10.0


@dataclass(frozen=True)
class TrainingReport:
    """What the loop tells the world.

    Attributes:
        step: Steps done, both stages together.
        share: Share of the run that is done, 0..1.
        elapsed_s: Training time so far, earlier parts of a continued run included.
        stage: 1 or 2.
        means: Means of the terms of the loss and other numbers since the last report.
        scores: Of a validation, when it was just done.
        message: Something worth a line, when there is.
    """

    step: int
    share: float
    elapsed_s: float
    stage: int = 1
    means: Means = field(default_factory=dict)
    scores: Scores | None = None
    message: str | None = None


class Work:
    """What both stages share while they run: the photographs, the watch over the losses, the reports."""

    def __init__(
        self,
        run: Run,
        photos: Photos,
        crops: Crops,
        report: Callable[[TrainingReport], None],
        should_stop: Callable[[], bool],
        vgg: VGGFeatures | None,
        teacher: Network | None = None,
    ) -> None:
        self.run, self.photos, self.crops = run, photos, crops
        self.report, self.should_stop, self.vgg = report, should_stop, vgg
        self.teacher = teacher
        self.guard = Guard(run.world)
        self.micro_batch = run.config.micro_batch
        self.returns = 0
        self.scores = Scores(math.nan)
        self.record = Record(run.folder, run.step, run.config.tensorboard) if run.world.is_rank_zero else None
        self.data_wait_s = 0.0
        self._looks: list[Means] = []
        self._look_elapsed_s = self._row_elapsed_s = run.elapsed_s
        self.drift_at_start: float | None = None
        self._told_alarms: set[str] = set()

    def shape(self) -> tuple[int, int]:
        """Crops per step and process, and the side of one in LR pixels."""
        config = self.run.config
        if self.run.stage == 2:
            batch, patch_px = config.gan.batch, config.gan.patch_px
        elif self.run.share() >= 1 - config.phase2_share:
            batch, patch_px = config.phase2_batch, config.phase2_patch_px
        else:
            batch, patch_px = config.batch, config.patch_px
        return batch, min(patch_px, self.photos.patch_px)

    def part_shape(self) -> tuple[int, int]:
        """Crops that go through the networks at once, the most of them, and the side of one in LR pixels."""
        batch, patch_px = self.shape()
        return -(-batch // self._parts(batch)), patch_px

    def _parts(self, batch: int) -> int:
        return -(-batch // self.micro_batch) if self.micro_batch else 1

    def rate_factor(self) -> float:
        """Share of the peak learning rates for the next step."""
        run, config = self.run, self.run.config
        settings = config if run.stage == 1 else config.gan
        step = run.step - run.stage_step
        return run.rate_scale * rate_factor(step, run.share(), settings.warmup_steps, settings.schedule)

    def step(self, stage: Stage, lr: Tensor, hr: Tensor, target: Target) -> dict[str, Tensor]:
        """One step; when memory runs out, in training or in teaching, again in smaller parts.

        Args:
            stage: What is trained.
            lr: LR ``(B, 3, h, w)`` in [0, 1].
            hr: The originals of it.
            target: Makes of parts of both what the network is to learn.
        """
        while True:
            parts = self._parts(len(lr))
            sides = zip(lr.chunk(parts), hr.chunk(parts), strict=True)
            try:
                with _fastest_convolutions():
                    pairs = [(lr_part, target(lr_part, hr_part)) for lr_part, hr_part in sides]
                    return stage.step(pairs, self.rate_factor())
            except (RuntimeError, MemoryError) as error:
                if not devices.is_out_of_memory(error):
                    raise
                # Processes of a world wait for each other inside a step: none of them can begin it anew.
                if self.run.world.size > 1:
                    what = f"memory ran out at step {self.run.step} in one of {self.run.world.size} processes"
                    raise TrainingError(what, f"use --set micro_batch=N, or {self._less_memory()}") from error
            stage.zero_grad()
            self._take_less(len(lr), parts, stage.differs_in_parts())

    def _take_less(self, batch: int, parts: int, differing: list[str]) -> None:
        largest = -(-batch // parts)
        if largest == 1:
            what = f"{devices.describe(self.run.world.device)} has too little memory for a single crop"
            raise TrainingError(what, f"use {self._less_memory()}, or a smaller --network")
        self.micro_batch = largest // 2
        result = f"another result because of {' and '.join(differing)}" if differing else "same result"
        self.say(
            f"memory ran out: {self.micro_batch} crops at once from now on, {result}; to save more, use "
            f"{self._less_memory()}"
        )

    def _less_memory(self) -> str:
        """What to change, the setting that saves most first, under the names that the stage has."""
        config = self.run.config
        first = ["--patch", "--batch"] if self.run.stage == 1 else ["gan.patch_px", "gan.batch"]
        ways = [f"a smaller {name}" for name in first]
        if not config.checkpointing and config.network != "srcnn":
            ways.append("--checkpointing")
        return ", ".join(ways[:-1]) + f" or {ways[-1]}"

    def went_back(self, stage: Stage) -> bool:
        """Look at the losses; report, or go back to the last good state when they are broken."""
        weights = {"adversarial": self.run.config.gan.adversarial_weight}
        means, trouble = self.guard.look(self.run.step, weights)
        if trouble:
            self._go_back(stage, trouble)
            return True
        if means:
            seconds, self._look_elapsed_s = self.run.elapsed_s - self._look_elapsed_s, self.run.elapsed_s
            means["data_wait"] = self.data_wait_s / max(1e-9, seconds)
            self.data_wait_s = 0.0
            self._looks.append(means)
            if self.record is not None and self.run.elapsed_s - self._row_elapsed_s > _ROW_EVERY_S:
                self._write_row(self.record, {})
            self._report(means=means)
            self._alarm("discriminator", discriminator_alarm(means))
        return False

    def _go_back(self, stage: Stage, trouble: str) -> None:
        self.returns += 1
        if self.returns > _RETURNS_AT_MOST:
            raise TrainingError(
                f"{trouble}, for the {self.returns}th time from the same state",
                "the last good weights are kept; use a smaller --learning-rate with --restart",
            )
        self.run.go_back(stage, self.crops)
        self.guard.forget()
        # Time went back as well: what was measured since then is not to be divided by what is left of it.
        self._look_elapsed_s = self._row_elapsed_s = self.run.elapsed_s
        self.data_wait_s, self._looks = 0.0, []
        self.say(f"{trouble}: back to step {self.run.step}, with half the learning rate")

    def checkpoint(self, stage: Stage) -> bool:
        """Save the state, validate and write the averaged weights; False if it had to go back instead."""
        run = self.run
        broken = run.broken_weights()
        if broken:
            self._go_back(stage, f"weights '{broken}' are no longer finite at step {run.step}")
            return False
        self.returns = 0
        if self.record is None:
            return True
        network = run.averaged()
        self.scores = validation.validate(network, self.photos.held_out, self.vgg)
        if run.is_best(self.scores):  # before the state, which says that they are there
            run.write_weights(run.folder / f"best-stage{run.stage}.safetensors", network, self.scores)
        run.save(stage, self.crops)
        run.write_weights(run.config.stage_file(run.stage), network, self.scores)
        pictures = [run.folder / "samples.png", run.folder / "samples" / f"step_{run.step:06}.png"]
        validation.write_samples(pictures, network, self.photos.held_out)
        self._write_row(self.record, self.scores.columns())
        self.record.draw()
        self._report(scores=self.scores)
        if self.drift_at_start is None:
            self.drift_at_start = self.scores.color_drift
        self._alarm("color", color_alarm(self.scores.color_drift, self.drift_at_start))
        return True

    def _write_row(self, record: Record, scores: dict[str, float]) -> None:
        """A row of ``metrics.csv``: means of the looks since the last row, and scores."""
        run = self.run
        names = self._looks[-1] if self._looks else {}
        means = {
            name: math.fsum(look.get(name, 0.0) for look in self._looks) / len(self._looks) for name in names
        }
        where = {"step": run.step, "stage": run.stage, "share": run.share_of_run()}
        now = {"elapsed_s": run.elapsed_s, "rate_factor": self.rate_factor()}
        record.add(where | now | means | scores)
        self._looks, self._row_elapsed_s = [], run.elapsed_s

    def say(self, message: str) -> None:
        """A line for people."""
        self._report(message=message)

    def _alarm(self, kind: str, line: str | None) -> None:
        """Say an alarm when it begins, not again while it lasts."""
        if line is None:
            self._told_alarms.discard(kind)
        elif kind not in self._told_alarms:
            self._told_alarms.add(kind)
            self.say(line)

    def _report(
        self, *, means: Means | None = None, scores: Scores | None = None, message: str | None = None
    ) -> None:
        run = self.run
        self.report(
            TrainingReport(
                run.step, run.share_of_run(), run.elapsed_s, run.stage, means or {}, scores, message
            )
        )


def _fastest_convolutions() -> contextlib.AbstractContextManager[None]:
    """On a GPU: every algorithm is tried at the first step, which pays where all steps have one shape."""
    return torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=True, allow_tf32=torch.backends.cudnn.allow_tf32
    )


def rate_factor(step: int, share: float, warmup_steps: int, schedule: str = "cosine") -> float:
    """Share of the peak learning rate: a linear rise, times a function of the share of the stage done.

    A pure function of where the run is, so that there is no schedule to save or to get wrong on resume.
    """
    rise = min(1.0, (step + 1) / max(1, warmup_steps))
    if schedule == "constant":
        return rise
    if schedule == "tenth":
        return rise * (1.0 if share < 0.5 else 0.1)
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))
