"""A training session: draws crops, keeps the time, watches the losses, validates, saves and reports."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from upscaler import __version__
from upscaler.errors import TrainingError
from upscaler.inference import devices
from upscaler.models.contract import Network
from upscaler.models.encoder import SmallEncoder
from upscaler.models.perceptual import VGGFeatures
from upscaler.trainer.config import resolve
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photos import Photos
from upscaler.trainer.run import sample_sheets, validation
from upscaler.trainer.run.micro_batches import MicroBatches
from upscaler.trainer.run.record import Record
from upscaler.trainer.run.report import TrainingReport
from upscaler.trainer.run.run_folder import RunFolder
from upscaler.trainer.run.scores import Scores, deciding_text
from upscaler.trainer.run.tracking import TensorBoard, Tracker, WeightsAndBiases
from upscaler.trainer.run.train_state import TrainState
from upscaler.trainer.run.validation import Judges
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.divergence import LossMonitor, Means, color_alarm, discriminator_alarm
from upscaler.trainer.stages.optimizer import rate_factor
from upscaler.trainer.stages.stage import Stage

_CHECK_EVERY_S = 0.5
_ROW_EVERY_S = 10.0
_MAX_REWINDS = 3  # from the same state

# A stage with fewer steps has not learned anything.
_FEW_STEPS = 50

# A longer step does not count as training: the process was stopped, or the machine asleep.
_LONGEST_STEP_S = 120.0


@dataclass(frozen=True)
class CropShape:
    """The crops of a step.

    Attributes:
        stage: The stage.
        batch: How many, per process.
        patch_px: Side of one, LR pixels.
    """

    stage: int
    batch: int
    patch_px: int


class TrainingSession:
    """What both stages share while they run.

    Args:
        config: Settings of the run.
        world: The processes of the run.
        folder: Where the files of the run go.
        state: Where the run is.
        photos: Photographs to train on and to validate with.
        crops: Draws from the photographs to train on.
        on_report: Called with every report.
        should_stop: Asked before every step; True saves the state and ends the run.
        vgg: The perceptual network of stage two.
        judges: For the perceptual scores of validations.
        teacher: The network that stage one learns from, if it does not learn from the originals.

    Attributes:
        scores: Scores of the last validation.
    """

    def __init__(  # noqa: PLR0913 - what it consists of
        self,
        config: TrainConfig,
        world: World,
        *,
        folder: RunFolder,
        state: TrainState,
        photos: Photos,
        crops: Crops,
        on_report: Callable[[TrainingReport], None],
        should_stop: Callable[[], bool],
        vgg: VGGFeatures | SmallEncoder | None = None,
        judges: Judges | None = None,
        teacher: Network | None = None,
    ) -> None:
        self.config, self.world, self.state = config, world, state
        self.vgg, self.teacher, self._judges = vgg, teacher, judges
        self.crops = crops
        self.micro_batches = MicroBatches(config, world, self.say)
        self.losses = LossMonitor(world)
        self.scores = Scores(math.nan)
        self._folder, self._photos = folder, photos
        self._on_report, self._should_stop = on_report, should_stop
        self._record = None
        if world.is_rank_zero:
            self._record = Record(folder.path, state.step, _trackers(config, folder.path))
        self._rewinds = self._saved_step = 0
        self._alarms: set[str] = set()
        self._first_color_drift: float | None = None
        now = time.monotonic()
        self._last_tick = self._last_check = self._last_checkpoint = now
        self._data_wait_s = 0.0
        self._checked_at_s = self._row_at_s = state.elapsed_s
        self._means_since_row: list[Means] = []

    # For each step

    def crop_shape(self) -> CropShape:
        """The crops of the next step."""
        shapes = self._shapes_of(self.state.stage)
        late = self.state.stage == 1 and self.state.stage_progress() >= 1 - self.config.phase2_share
        return shapes[-1 if late else 0]

    def shapes_to_come(self) -> list[CropShape]:
        """The crops of this stage and of those after it."""
        numbers = [number for number in self.config.stage_numbers() if number >= self.state.stage]
        return [shape for number in numbers for shape in self._shapes_of(number)]

    def _shapes_of(self, stage: int) -> list[CropShape]:
        config = self.config
        if stage == 2:
            sizes = [(config.gan.batch, config.gan.patch_px)]
        else:
            sizes = [(config.batch, config.patch_px)] if config.phase2_share < 1 else []
            sizes += [(config.phase2_batch, config.phase2_patch_px)] if config.phase2_share else []
        return [CropShape(stage, batch, min(side_px, self._photos.patch_px)) for batch, side_px in sizes]

    def draw_crops(self) -> tuple[Tensor, Tensor]:
        """This process's LR and HR crops for the next step, as ``Crops.draw`` returns them."""
        shape = self.crop_shape()
        start = time.monotonic()
        drawn = self.crops.draw(shape.batch * self.world.size, shape.patch_px)
        lr, hr = (self.world.shard(crops) for crops in drawn)
        self._data_wait_s += time.monotonic() - start
        return lr, hr

    def rate_factor(self) -> float:
        """Share of the peak learning rates for the next step."""
        state = self.state
        settings = self.config if state.stage == 1 else self.config.gan
        return state.rate_scale * rate_factor(
            state.step - state.stage_step,
            state.stage_progress(),
            warmup_steps=settings.warmup_steps,
            schedule=settings.schedule,
        )

    # Between steps

    def begin_stage(self, stage: Stage) -> None:
        """Load the stage's part of a resumed state, or score and save what the stage begins with."""
        if self.state.is_resumed:
            self.state.restore_stage(stage, self.crops)
        else:
            if self.world.is_rank_zero:
                self._score_start()
            self.state.save(stage, self.crops)  # to return to if a loss diverges
        self._saved_step = self.state.step
        self.losses.reset()
        now = time.monotonic()
        self._last_tick = self._last_check = self._last_checkpoint = now

    def continues(self, stage: Stage) -> bool:
        """Keep the time, check the losses and save when it is time; False when the stage ends here."""
        while True:
            stop, check, save = self._tick()
            save = save and self.state.step > self._saved_step
            finished = self.state.stage_progress() >= 1
            ends = finished or stop
            if (ends or save or check) and self._rewound_after_check(stage):
                continue
            if (ends or save) and not self._checkpointed(stage):
                continue
            if not ends and self.state.is_out_of_patience():
                self.say(f"stage {stage.number} ends: no gain in {self.config.patience} validations")
                ends = finished = True
            if finished:
                self._say_how_it_ended(stage.number)
            return not ends

    def _tick(self) -> tuple[bool, bool, bool]:
        """Whether to stop, to check the losses, and to save; the same in every process."""
        now = time.monotonic()
        self.state.elapsed_s, stop, check, save = self.world.broadcast(
            self.state.elapsed_s + min(now - self._last_tick, _LONGEST_STEP_S),
            self._should_stop(),
            now - self._last_check > _CHECK_EVERY_S,
            now - self._last_checkpoint > self.config.checkpoint_every_s,
        )
        self._last_tick = now
        return bool(stop), bool(check), bool(save)

    def _rewound_after_check(self, stage: Stage) -> bool:
        """Report the losses since the last check, or rewind when they diverge; True if it rewound."""
        self._last_check = self._last_tick
        weights = {"adversarial": self.config.gan.adversarial_weight}
        means, trouble = self.losses.check(self.state.step, weights)
        if trouble:
            self._rewind(stage, trouble)
            return True
        if means:
            elapsed_s = self.state.elapsed_s
            means["data_wait"] = self._data_wait_s / max(1e-9, elapsed_s - self._checked_at_s)
            self._checked_at_s, self._data_wait_s = elapsed_s, 0.0
            self._means_since_row.append(means)
            if elapsed_s - self._row_at_s > _ROW_EVERY_S:
                self._write_row({})
            self._report(means=means)
            self._alarm("discriminator", discriminator_alarm(means))
        return False

    def _rewind(self, stage: Stage, trouble: str) -> None:
        self._rewinds += 1
        if self._rewinds > _MAX_REWINDS:
            raise TrainingError(
                f"{trouble}, for the {self._rewinds}th time from the same state",
                "the last good weights are kept; use a smaller --learning-rate with --restart",
            )
        self.state.rewind(stage, self.crops)
        self.losses.reset()
        # The training time went back as well: restart what is measured from it.
        self._checked_at_s = self._row_at_s = self.state.elapsed_s
        self._data_wait_s, self._means_since_row = 0.0, []
        self.say(f"{trouble}: returning to step {self.state.step} with half the learning rate")

    def _checkpointed(self, stage: Stage) -> bool:
        """Validate, save the state and write the averaged weights; False if it had to rewind instead."""
        state = self.state
        broken = state.non_finite_weights()
        if broken:
            self._rewind(stage, f"weights '{broken}' are no longer finite at step {state.step}")
            return False
        self._rewinds = 0
        if self.world.is_rank_zero:
            network = state.ema_network()
            self.scores = validation.validate(network, self._photos.held_out, self._judges)
            metadata = self._training_metadata()
            is_best = state.is_best(self.scores)
            if is_best:  # before the state, which says that they exist
                self._folder.write_weights(self._folder.best_weights_path(state.stage), network, metadata)
            state.save(stage, self.crops)
            if is_best or self.config.keep == "last":
                self._folder.write_weights(self.config.stage_file(state.stage), network, metadata)
            else:
                self._folder.write_best_as_output(state.stage)
            self._folder.write_discriminator(stage)
            self._show_validation(network, {})
        (without_gain,) = self.world.broadcast(state.validations_without_gain)
        state.validations_without_gain = int(without_gain)
        self._last_checkpoint, self._saved_step = time.monotonic(), state.step
        return True

    def _score_start(self) -> None:
        """Score the weights that the stage begins with, which may stay the best; and bicubic, once."""
        state, columns = self.state, {}
        network = state.ema_network()
        if state.bicubic is None:
            scale = self.config.scale
            state.bicubic = validation.bicubic_scores(self._photos.held_out, scale, self._judges)
            found = state.bicubic.columns()
            columns = {f"bicubic_{name}": found[name] for name in found if name != "color_drift"}
        if state.step == 0:  # later stages begin where the one before was scored
            self.scores = validation.validate(network, self._photos.held_out, self._judges)
        state.start_scores = self.scores
        state.is_best(self.scores)
        best = self._folder.best_weights_path(state.stage)
        self._folder.write_weights(best, network, self._training_metadata())
        if state.step == 0:
            self._show_validation(network, columns)

    def _say_how_it_ended(self, stage: int) -> None:
        """The last score of a stage beside those of bicubic, of its start and of its best weights."""
        state = self.state
        if not self.world.is_rank_zero or state.best is None:
            return
        last, best = (deciding_text(scores, stage) for scores in (self.scores, state.best))
        compared = {
            "bicubic" if self.config.scale > 1 else "LR": state.bicubic,
            "started at": state.start_scores,
        }
        notes = [f"{name} {deciding_text(scores, stage)}" for name, scores in compared.items() if scores]
        kept = self.config.stage_file(stage)
        best_file = self._folder.best_weights_path(stage) if self.config.keep == "last" else kept
        steps = state.step - state.stage_step
        self.say(f"stage {stage}: {last} ({', '.join(notes)}, best {best} in {best_file}), {steps:,} steps")
        if steps < _FEW_STEPS:
            self.say(f"stage {stage} hardly ran: raise --minutes, --steps or --epochs")

    def _show_validation(self, network: Network, more_columns: dict[str, float]) -> None:
        folder = self._folder.path
        paths = [folder / "samples.png", folder / "samples" / f"step_{self.state.step:06}.png"]
        page = sample_sheets.write_samples(paths, network, self._photos.held_out)
        self._write_row(self.scores.columns() | more_columns)
        if self._record is not None:
            self._record.draw(page)
        self._report(scores=self.scores)
        if self._first_color_drift is None:
            self._first_color_drift = self.scores.color_drift
        self._alarm("color", color_alarm(self.scores.color_drift, self._first_color_drift))

    def _training_metadata(self) -> dict[str, Any]:
        """How the weights were trained, JSON-serialisable."""
        return {
            "upscaler": __version__,
            "settings": resolve.public(self.config),
            "device": devices.describe(self.world.device),
            "processes": self.world.size,
            "stage": self.state.stage,
            "steps": self.state.step,
            "minutes": round(self.state.elapsed_s / 60, 1),
            "degradation": self.config.degradation,
            "photographs": self._photos.photographs,
            "held_out": len(self._photos.held_out),
        } | self.scores.metadata()

    # Reports

    def _write_row(self, scores: dict[str, float]) -> None:
        """Add a row to ``metrics.csv``: means of the checks since the last row, and scores."""
        if self._record is None:
            return
        state, checks = self.state, self._means_since_row
        names = checks[-1] if checks else {}
        means = {name: math.fsum(check.get(name, 0.0) for check in checks) / len(checks) for name in names}
        position = {
            "step": state.step,
            "stage": state.stage,
            "epoch": state.epoch(),
            "progress": state.run_progress(),
            "elapsed_s": state.elapsed_s,
            "rate_factor": self.rate_factor(),
        }
        self._record.add(position | means | scores)
        self._means_since_row, self._row_at_s = [], state.elapsed_s

    def say(self, message: str) -> None:
        """Report a line for the user."""
        self._report(message=message)

    def _alarm(self, kind: str, line: str | None) -> None:
        """Report an alarm when it starts, and not again while it lasts."""
        if line is None:
            self._alarms.discard(kind)
        elif kind not in self._alarms:
            self._alarms.add(kind)
            self.say(line)

    def _report(
        self, *, means: Means | None = None, scores: Scores | None = None, message: str | None = None
    ) -> None:
        state = self.state
        self._on_report(
            TrainingReport(
                step=state.step,
                progress=state.run_progress(),
                elapsed_s=state.elapsed_s,
                stage=state.stage,
                epoch=state.epoch(),
                means=means or {},
                scores=scores,
                message=message,
            )
        )


def _trackers(config: TrainConfig, folder: Path) -> list[Tracker]:
    trackers: list[Tracker] = [TensorBoard(folder)] if config.tensorboard else []
    return [*trackers, WeightsAndBiases(folder, resolve.public(config))] if config.wandb else trackers
