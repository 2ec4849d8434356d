"""Everything a run carries from step to step: the network, its EMA, and how far the run is."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upscaler.errors import TrainingError, UsageError, last_line
from upscaler.models import find_weights, transfer, weight_file
from upscaler.models.contract import Network
from upscaler.models.registry import PRESETS, build
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photos import Photos
from upscaler.trainer.run import state_file
from upscaler.trainer.run.scores import Scores
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.ema import Ema
from upscaler.trainer.stages.optimizer import rate_factor
from upscaler.trainer.stages.stage import Stage


class TrainState:
    """The state of a run, in memory and on disk.

    Args:
        config: Settings of the run.
        world: The processes of the run.
        path: The state file.

    Attributes:
        network: The generator.
        ema: Its averaged weights.
        stage: 1 or 2.
        step: Steps done, both stages together.
        elapsed_s: Training time so far, earlier parts of a resumed run included.
        stage_step: The step at which the stage began.
        stage_elapsed_s: The training time at which the stage began.
        rate_scale: Factor on the learning rates; halved whenever a loss diverges.
        crops: Crops drawn so far.
        stage_crops: Crops drawn when the stage began.
        photographs: Photographs to train on; 0 until they are loaded.
        bicubic: Scores of bicubic upsampling.
        start_scores: Scores with which the stage began.
        best: The best scores of the stage.
        validations_without_gain: Since the best ones.
    """

    def __init__(self, config: TrainConfig, world: World, path: Path) -> None:
        self.config, self.world, self.path = config, world, path
        torch.manual_seed(config.seed)
        network = build(PRESETS[config.network][0], config.network_arguments())
        network.gradient_checkpointing = config.checkpointing
        self.network = _channels_last(network.to(world.device))
        self.stage = config.stage_numbers()[0]
        self.ema = Ema(self.network, self._ema_decay())
        self.step = 0
        self.elapsed_s = 0.0
        self.stage_step = 0
        self.stage_elapsed_s = 0.0
        self.rate_scale = 1.0
        self.crops = self.stage_crops = self.photographs = 0
        self.bicubic: Scores | None = None
        self.start_scores: Scores | None = None
        self.best: Scores | None = None
        self.validations_without_gain = 0
        self._photos_fingerprint: int | None = None
        self._loaded: dict[str, Any] | None = None  # until the stage has loaded its part

    @property
    def is_resumed(self) -> bool:
        """Whether it was loaded from disk, and the stage has not loaded its part yet."""
        return self._loaded is not None

    # Progress

    def stage_progress(self) -> float:
        """Fraction of the stage that is done, 0 to 1; 1 also when it ran out of patience."""
        config = self.config
        if self.is_out_of_patience():
            return 1.0
        first_of_two = config.stages == "1,2" and self.stage == 1
        part = config.stage_one_share if first_of_two else 1.0
        if config.steps is not None:
            return _fraction(self.step, self.stage_step, part * config.steps)
        if config.epochs is not None:
            return _fraction(self.crops, self.stage_crops, part * config.epochs * self.photographs)
        return _fraction(self.elapsed_s, self.stage_elapsed_s, part * (config.minutes or 0) * 60)

    def run_progress(self) -> float:
        """Fraction of the whole run that is done, 0 to 1."""
        if self.config.steps is not None:
            return _fraction(self.step, 0, self.config.steps)
        if self.config.epochs is not None:
            return _fraction(self.crops, 0, self.config.epochs * self.photographs)
        return _fraction(self.elapsed_s, 0, (self.config.minutes or 0) * 60)

    def epoch(self) -> float:
        """How often as many crops were drawn as there are photographs."""
        return self.crops / max(1, self.photographs)

    def rate_factor(self) -> float:
        """Share of the peak learning rates for the next step."""
        settings = self.config if self.stage == 1 else self.config.gan
        return self.rate_scale * rate_factor(
            self.step - self.stage_step,
            self.stage_progress(),
            warmup_steps=settings.warmup_steps,
            schedule=settings.schedule,
        )

    def is_out_of_patience(self) -> bool:
        """Whether the stage ends because validations no longer gain anything."""
        return 0 < self.config.patience <= self.validations_without_gain

    def enter_stage(self, stage: int) -> None:
        """Start the next stage from the averaged weights of this one."""
        self.network.load_state_dict(self.ema.values)
        self.stage = stage
        self.stage_step, self.stage_elapsed_s = self.step, self.elapsed_s
        self.stage_crops = self.crops
        self.ema = Ema(self.network, self._ema_decay())
        self.start_scores = self.best = None
        self.validations_without_gain = 0

    def is_best(self, scores: Scores) -> bool:
        """Whether these are the best scores of the stage so far; counts validations without gain."""
        better = scores.is_better_than(self.best, self.stage)
        self.validations_without_gain = 0 if better else self.validations_without_gain + 1
        if better:
            self.best = scores
        return better

    # Start, save, restore

    def start(self, *, restart: bool) -> None:
        """Load the saved state if there is one, else the weights to start from. Writes nothing.

        Raises:
            TrainingError: The saved state is damaged, or belongs to another network.
            UsageError: The saved state belongs to other settings, or stage two has no weights to start from.
            WeightsError: The weights to start from cannot be used.
        """
        if not restart and self.world.broadcast_object(self.path.exists()):
            saved = self._read()
            self._require_same_settings(saved)
            self._restore(saved)
        elif self.config.start_from != "none":
            transfer.transfer_body(self._start_weights(), self.network)
            self.ema = Ema(self.network, self._ema_decay())
        elif self.stage == 2:
            raise UsageError(
                "stage two starts from trained weights", "name them with --from, or use --stages 1,2"
            )

    def require_same_photos(self, photos: Photos) -> None:
        """Refuse to resume with other photographs: what was held out might then be trained on.

        Raises:
            UsageError: They are not those that the run was started with.
        """
        if self._photos_fingerprint not in (None, photos.fingerprint()):
            raise UsageError(
                f"the photographs are not those that the run in '{self.path.parent}' was started with",
                "restore them, or use --restart to start over",
            )
        self._photos_fingerprint = photos.fingerprint()
        self.photographs = photos.photographs

    def save(self, stage: Stage, crops: Crops) -> None:
        """Write the state atomically; rank 0 only."""
        if not self.world.is_rank_zero:
            return
        common = {
            "config": self.config.as_dict(),
            "network": self.network.state_dict(),
            "ema": self.ema.values,
            "crops": crops.state(),
            "photos": self._photos_fingerprint,
            "stage": self.stage,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "stage_step": self.stage_step,
            "stage_elapsed_s": self.stage_elapsed_s,
            "rate_scale": self.rate_scale,
            "drawn": self.crops,
            "stage_drawn": self.stage_crops,
            "photographs": self.photographs,
            "bicubic": _columns(self.bicubic),
            "start_scores": _columns(self.start_scores),
            "best": _columns(self.best),
            "validations_without_gain": self.validations_without_gain,
        }
        state_file.save(self.path, common | stage.state_dict())

    def restore_stage(self, stage: Stage, crops: Crops) -> None:
        """Load the part of a loaded state that belongs to the stage and to the crops, if there is one.

        Raises:
            TrainingError: It belongs to another optimizer or discriminator.
        """
        if self._loaded is None:
            return
        with self._mismatch_is_an_error():
            stage.load_state_dict(self._loaded)
            crops.restore(self._loaded["crops"])
        self._loaded = None

    def rewind(self, stage: Stage, crops: Crops) -> None:
        """Return to the state on disk, with half the learning rates from there on."""
        rate_scale = self.rate_scale
        self._restore(self._read())
        self.restore_stage(stage, crops)
        self.rate_scale = rate_scale / 2

    def _read(self) -> dict[str, Any]:
        saved: dict[str, Any] = self.world.broadcast_object(
            state_file.load(self.path) if self.world.is_rank_zero else None
        )
        return saved

    def _restore(self, saved: dict[str, Any]) -> None:
        """Load a state, except the part that belongs to the stage."""
        with self._mismatch_is_an_error():
            self.stage = saved["stage"]
            self.network.load_state_dict(saved["network"])
            self.ema = Ema(self.network, self._ema_decay())
            self.ema.load(saved["ema"])
            self.step, self.elapsed_s = saved["step"], saved["elapsed_s"]
            self.stage_step, self.stage_elapsed_s = saved["stage_step"], saved["stage_elapsed_s"]
            self.rate_scale, self.photographs = saved["rate_scale"], saved["photographs"]
            self.crops, self.stage_crops = saved["drawn"], saved["stage_drawn"]
            self.bicubic, self.start_scores, self.best = (
                None if saved[name] is None else Scores(**saved[name])
                for name in ("bicubic", "start_scores", "best")
            )
            self.validations_without_gain = saved["validations_without_gain"]
            self._photos_fingerprint = saved["photos"]
            _ = saved["crops"], saved["optimizer"]  # `restore_stage` needs them: fail now if they are missing
            self._loaded = saved

    @contextlib.contextmanager
    def _mismatch_is_an_error(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise TrainingError(
                f"the state '{self.path}' does not fit this network and optimizer: {last_line(error)}",
                "start over with --restart",
            ) from error

    def _require_same_settings(self, saved: dict[str, Any]) -> None:
        with self._mismatch_is_an_error():
            differing = self.config.conflicts(saved["config"])
        if differing:
            raise UsageError(
                f"the run in '{self.path.parent}' was started with other settings ({'; '.join(differing)})",
                "use its settings to resume it, or --restart to start over",
            )

    def _start_weights(self) -> weight_file.WeightFile:
        """The named weights of the nearest scale, of those that fit the network if any do."""
        files = find_weights.weight_files(self.config.start_from)
        weights = [transfer.load_start(path) for path in files.values()]
        fitting = [file for file in weights if transfer.body_matches(file, self.network)]
        return min(fitting or weights, key=lambda file: abs(file.scale - self.config.scale))

    # Weights

    def ema_forward(self, lr: Tensor) -> Tensor:
        """The output with the averaged weights, ``(N, 3, h, w)`` -> ``(N, 3, h*scale, w*scale)``."""
        sr: Tensor = torch.func.functional_call(self.network, self.ema.values, (lr,))
        return sr

    def ema_network(self) -> Network:
        """A copy of the network with the averaged weights, rounded to the fp16 of the weight file."""
        architecture, _ = PRESETS[self.config.network]
        network = build(architecture, self.network.arguments).to(self.world.device)
        network.load_state_dict(
            {
                name: tensor.half().float() if tensor.is_floating_point() else tensor
                for name, tensor in self.ema.values.items()
            }
        )
        return _channels_last(network.eval())

    def non_finite_weights(self) -> str | None:
        """The name of a weight tensor that is not finite in fp16, the precision of the weight file.

        A loss can be finite and its gradient not; weights beyond fp16 have diverged by any measure.
        """
        for weights in (self.network.state_dict(), self.ema.values):
            for name, tensor in weights.items():
                if not tensor.half().isfinite().all():
                    return name
        return None

    def _ema_decay(self) -> float:
        return self.config.ema_decay if self.stage == 1 else self.config.gan.ema_decay


def _columns(scores: Scores | None) -> dict[str, float] | None:
    return None if scores is None else scores.columns()


def _fraction(now: float, start: float, end: float) -> float:
    """How far ``now`` is from ``start`` to ``end``, 0 to 1; 1 if they do not lie apart."""
    return 1.0 if end <= start or now >= end else max(0.0, (now - start) / (end - start))


def _channels_last(network: Network) -> Network:
    network.to(memory_format=torch.channels_last)  # in place
    return network
