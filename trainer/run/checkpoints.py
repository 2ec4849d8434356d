"""What happens at a checkpoint: score the averaged weights, keep the best, write them, show them."""

import math
from typing import Any

from upscaler import __version__
from upscaler.inference import devices
from upscaler.models.contract import Network
from upscaler.trainer.config import resolve
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.data.photos import Photos
from upscaler.trainer.run import sample_sheets, validation
from upscaler.trainer.run.counting import counted
from upscaler.trainer.run.journal import Journal
from upscaler.trainer.run.run_folder import RunFolder
from upscaler.trainer.run.scores import Scores, deciding_text
from upscaler.trainer.run.train_state import TrainState
from upscaler.trainer.run.validation import Judges
from upscaler.trainer.stages.stage import Stage

# A stage with fewer steps has not learned anything.
_FEW_STEPS = 50


class Checkpoints:
    """The checkpoints of a run; of rank 0 alone, except for ``last_scores``.

    Args:
        config: Settings of the run.
        state: Where the run is.
        folder: Where the files of the run go.
        photos: Photographs to train on and to validate with.
        judges: For the perceptual scores.
        journal: Where the scores are told.

    Attributes:
        last_scores: Scores of the last validation; PSNR is NaN before the first and in other processes.
    """

    def __init__(
        self,
        config: TrainConfig,
        state: TrainState,
        *,
        folder: RunFolder,
        photos: Photos,
        judges: Judges | None,
        journal: Journal,
    ) -> None:
        self._config, self._state, self._folder = config, state, folder
        self._photos, self._judges, self._journal = photos, judges, journal
        self.last_scores = Scores(math.nan)

    def score_start(self) -> None:
        """Score the weights that the stage begins with, which may stay the best; and bicubic, once."""
        state, columns = self._state, {}
        network = state.ema_network()
        if state.bicubic is None:
            scale = self._config.scale
            state.bicubic = validation.bicubic_scores(self._photos.held_out, scale, self._judges)
            found = state.bicubic.columns()
            columns = {f"bicubic_{name}": found[name] for name in found if name != "color_drift"}
        if state.step == 0:  # later stages begin where the one before was scored
            self.last_scores = self._scored(network)
        state.start_scores = self.last_scores
        state.is_best(self.last_scores)
        self._write_best(network)
        if state.step == 0:
            self._show(network, columns)

    def score(self) -> tuple[Network, bool]:
        """Score the averaged weights, and keep them if they are the best of the stage.

        Returns:
            The network with these weights, and whether they are the best.
        """
        network = self._state.ema_network()
        self.last_scores = self._scored(network)
        is_best = self._state.is_best(self.last_scores)
        if is_best:
            self._write_best(network)
        return network, is_best

    def write(self, network: Network, stage: Stage, *, is_best: bool) -> None:
        """Write the output of the stage: this network, or the best one; and show the validation.

        Args:
            network: With the averaged weights.
            stage: The stage, which may have a discriminator to write.
            is_best: Whether these weights are the best.
        """
        folder = self._folder
        if is_best or self._config.keep == "last":
            folder.write_weights(self._config.stage_file(stage.number), network, self._training_metadata())
        else:
            folder.write_best_as_output(stage.number)
        folder.write_discriminator(stage)
        self._show(network, {})

    def say_how_it_ended(self) -> None:
        """Say the last score of a stage beside those of bicubic, of its start and of its best weights."""
        state, stage = self._state, self._state.stage
        if state.best is None:
            return
        last, best = (deciding_text(scores, stage) for scores in (self.last_scores, state.best))
        compared = {
            "bicubic" if self._config.scale > 1 else "LR": state.bicubic,
            "started at": state.start_scores,
        }
        notes = [f"{name} {deciding_text(scores, stage)}" for name, scores in compared.items() if scores]
        kept = self._config.stage_file(stage)
        best_file = self._folder.best_weights_path(stage) if self._config.keep == "last" else kept
        steps = state.step - state.stage_step
        compared_text = ", ".join([*notes, f"best {best} in {best_file}"])
        self._journal.say(f"stage {stage}: {last} ({compared_text}), {counted(steps, 'step')}")
        if steps < _FEW_STEPS and not state.is_out_of_patience():
            self._journal.say(f"stage {stage} hardly ran: raise --minutes, --steps or --epochs")

    def _scored(self, network: Network) -> Scores:
        return validation.validate(network, self._photos.held_out, self._judges)

    def _write_best(self, network: Network) -> None:
        path = self._folder.best_weights_path(self._state.stage)
        self._folder.write_weights(path, network, self._training_metadata())

    def _show(self, network: Network, more_columns: dict[str, float]) -> None:
        folder = self._folder.path
        paths = [folder / "samples.png", folder / "samples" / f"step_{self._state.step:06}.png"]
        samples = sample_sheets.write_samples(paths, network, self._photos.held_out)
        self._journal.add_scores(self.last_scores, samples, more_columns)

    def _training_metadata(self) -> dict[str, Any]:
        """How the weights were trained, JSON-serialisable."""
        return {
            "upscaler": __version__,
            "settings": resolve.public(self._config),
            "device": devices.describe(self._state.world.device),
            "processes": self._state.world.size,
            "stage": self._state.stage,
            "steps": self._state.step,
            "minutes": round(self._state.elapsed_s / 60, 1),
            "degradation": self._config.degradation,
            "photographs": self._photos.photographs,
            "held_out": len(self._photos.held_out),
        } | self.last_scores.metadata()
