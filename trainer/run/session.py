"""A training session: draws crops, keeps the time, watches the losses, and decides when to save or rewind."""

import time
from collections.abc import Callable

from torch import Tensor

from upscaler.errors import TrainingError
from upscaler.models.contract import Network
from upscaler.models.encoder import SmallEncoder
from upscaler.models.perceptual import VGGFeatures
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photos import Photos
from upscaler.trainer.run import crop_shapes
from upscaler.trainer.run.checkpoints import Checkpoints
from upscaler.trainer.run.crop_shapes import CropShape
from upscaler.trainer.run.journal import Journal
from upscaler.trainer.run.micro_batches import MicroBatches
from upscaler.trainer.run.report import TrainingReport
from upscaler.trainer.run.run_folder import RunFolder
from upscaler.trainer.run.train_state import TrainState
from upscaler.trainer.run.validation import Judges
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.divergence import LossMonitor
from upscaler.trainer.stages.stage import Stage

_CHECK_EVERY_S = 0.5
_MAX_REWINDS = 3  # from the same state

# A longer step does not count as training: the process was stopped, or the machine asleep.
_LONGEST_STEP_S = 120.0


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
        journal: Where to say a line.
        checkpoints: Score the weights, keep the best and write them.
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
        self.vgg, self.teacher = vgg, teacher
        self.crops = crops
        self.journal = Journal(config, state, folder.path, on_report, is_rank_zero=world.is_rank_zero)
        self.checkpoints = Checkpoints(
            config, state, folder=folder, photos=photos, judges=judges, journal=self.journal
        )
        self.micro_batches = MicroBatches(config, world, self.journal.say)
        self.losses = LossMonitor(world)
        self._largest_px = photos.patch_px
        self._should_stop = should_stop
        self._rewinds = self._saved_step = 0
        now = time.monotonic()
        self._last_tick = self._last_check = self._last_checkpoint = now
        self._data_wait_s, self._checked_at_s = 0.0, state.elapsed_s

    # For each step

    def crop_shape(self) -> CropShape:
        """The crops of the next step."""
        return crop_shapes.next_shape(self.config, self.state, self._largest_px)

    def shapes_to_come(self) -> list[CropShape]:
        """The crops of this stage and of those after it."""
        return crop_shapes.shapes_to_come(self.config, self.state, self._largest_px)

    def draw_crops(self) -> tuple[Tensor, Tensor]:
        """This process's LR and HR crops for the next step, as ``Crops.draw`` returns them."""
        shape = self.crop_shape()
        start = time.monotonic()
        drawn = self.crops.draw(shape.batch * self.world.size, shape.patch_px)
        lr, hr = (self.world.shard(crops) for crops in drawn)
        self._data_wait_s += time.monotonic() - start
        for line in self.crops.left_out():
            self.journal.say(f"left out: {line}")
        return lr, hr

    # Between steps

    def begin_stage(self, stage: Stage) -> None:
        """Load the stage's part of a resumed state, or score and save what the stage begins with."""
        if self.state.is_resumed:
            self.state.restore_stage(stage, self.crops)
        else:
            if self.world.is_rank_zero:
                self.checkpoints.score_start()
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
                self.journal.say(f"stage {stage.number} ends: no gain in {self.config.patience} validations")
                ends = finished = True
            if finished and self.world.is_rank_zero:
                self.checkpoints.say_how_it_ended()
            return not ends

    def _tick(self) -> tuple[bool, bool, bool]:
        """Whether to stop, to check the losses, and to save; the same in every process."""
        now = time.monotonic()
        stop, (self.state.elapsed_s, check, save) = self.world.decide(
            self.state.elapsed_s + min(now - self._last_tick, _LONGEST_STEP_S),
            now - self._last_check > _CHECK_EVERY_S,
            now - self._last_checkpoint > self.config.checkpoint_every_s,
            stop=self._should_stop(),
        )
        self._last_tick = now
        return stop, bool(check), bool(save)

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
            self.journal.add_means(means)
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
        self._checked_at_s, self._data_wait_s = self.state.elapsed_s, 0.0
        self.journal.rewound()
        self.journal.say(f"{trouble}: returning to step {self.state.step} with half the learning rate")

    def _checkpointed(self, stage: Stage) -> bool:
        """Validate, save the state and write the averaged weights; False if it had to rewind instead."""
        state = self.state
        broken = state.non_finite_weights()
        if broken:
            self._rewind(stage, f"weights '{broken}' are no longer finite at step {state.step}")
            return False
        self._rewinds = 0
        if self.world.is_rank_zero:
            network, is_best = self.checkpoints.score()
            state.save(stage, self.crops)  # after the best weights: it says that they exist
            self.checkpoints.write(network, stage, is_best=is_best)
        (without_gain,) = self.world.broadcast(state.validations_without_gain)
        state.validations_without_gain = int(without_gain)
        self._last_checkpoint, self._saved_step = time.monotonic(), state.step
        return True
