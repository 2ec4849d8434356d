"""What a run carries from step to step, and how it is kept on disk."""

import contextlib
import math
import platform
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upscaler import __version__
from upscaler.errors import TrainingError, UsageError, WeightsError
from upscaler.folder_lock import FolderLock
from upscaler.inference import devices
from upscaler.models import find_weights, transfer, weight_file
from upscaler.models.contract import Network
from upscaler.models.registry import PRESETS, build
from upscaler.trainer.config import resolve
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.data.crops import Crops
from upscaler.trainer.data.photos import Photos
from upscaler.trainer.run import model_card, run_folder, state_file, validation
from upscaler.trainer.run.validation import Scores
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.stage import Stage

# States written before there was a stage two lack these.
_STAGE_ONE: dict[str, Any] = {
    "stage": 1,
    "stage_step": 0,
    "stage_elapsed_s": 0.0,
    "rate_scale": 1.0,
    "best": math.inf,
}


class Run:
    """The generator, its averaged weights, and where the run is.

    Attributes:
        folder: Of everything but the weight files.
        stage: 1 or 2.
        step: Steps done, both stages together.
        elapsed_s: Training time so far, earlier parts of a continued run included.
        rate_scale: What the learning rates are lowered to after trouble.
        best: How bad the best weights of the stage are; smaller is better.
        saved: The state that was taken up, until the stage has taken up its part.
    """

    def __init__(self, config: TrainConfig, world: World) -> None:
        self.config = config
        self.world = world
        self.folder = run_folder.beside(config.output)
        torch.manual_seed(config.seed)
        architecture, arguments = PRESETS[config.network]
        network = build(architecture, arguments | {"scale": config.scale})
        network.gradient_checkpointing = config.checkpointing
        self.network = _channels_last(network.to(world.device))
        self.stage = config.stage_numbers()[0]
        self.average = state_file.AveragedWeights(self.network, self._ema_decay())
        self.step = 0
        self.elapsed_s = 0.0
        self.stage_step, self.stage_elapsed_s = 0, 0.0
        self.rate_scale = 1.0
        self.best = math.inf
        self.photos_fingerprint: int | None = None
        self.photo_counts = (0, 0)
        self.saved: dict[str, Any] | None = None

    def share(self) -> float:
        """Share of the stage that is done, 0..1."""
        config = self.config
        first_of_two = config.stages == "1,2" and self.stage == 1
        part = config.stage_one_share if first_of_two else 1.0
        if config.steps is not None:
            return _share(self.step, self.stage_step, part * config.steps)
        return _share(self.elapsed_s, self.stage_elapsed_s, part * (config.minutes or 0) * 60)

    def share_of_run(self) -> float:
        """Share of the whole run that is done, 0..1."""
        if self.config.steps is not None:
            return _share(self.step, 0, self.config.steps)
        return _share(self.elapsed_s, 0, (self.config.minutes or 0) * 60)

    def begin(self, restart: bool) -> None:
        """Take up the saved state if there is one, else the weights to start from. Writes nothing."""
        path = self.state_path
        if not restart and self.world.broadcast_object(path.exists()):
            saved = self.world.broadcast_object(state_file.load(path) if self.world.is_rank_zero else None)
            self._require_same_settings(saved)
            self.restore(saved)
        elif self.config.start_from != "none":
            transfer.transfer_body(self._start_weights(), self.network)
            self.average = state_file.AveragedWeights(self.network, self._ema_decay())
        elif self.stage == 2:
            raise UsageError(
                "stage two starts from trained weights", "name them with --from, or use --stages 1,2"
            )

    @property
    def state_path(self) -> Path:
        """The file of the state."""
        return self.folder / "state.pt"

    def _start_weights(self) -> weight_file.WeightFile:
        """Of the named weights those of the nearest scale, of those that fit the network if any do."""
        files = find_weights.weight_files(self.config.start_from)
        weights = [weight_file.load(path) for path in files.values()]
        fitting = [file for file in weights if transfer.body_matches(file, self.network)]
        return min(fitting or weights, key=lambda file: abs(file.scale - self.config.scale))

    def _ema_decay(self) -> float:
        return self.config.ema_decay if self.stage == 1 else self.config.gan.ema_decay

    def _require_same_settings(self, saved: dict[str, Any]) -> None:
        differing = self.config.conflicts(saved["config"]) if "config" in saved else []
        if differing:
            raise UsageError(
                f"the run in '{self.folder}' was started with other settings ({', '.join(differing)})",
                "use its settings to go on, or --restart to forget it",
            )

    def restore(self, saved: dict[str, Any]) -> None:
        """Take up a state, except what belongs to the stage.

        Raises:
            TrainingError: It is of another network.
        """
        with self._state_must_fit():
            saved = _STAGE_ONE | saved
            self.stage = saved["stage"]
            self.network.load_state_dict(saved["network"])
            self.average = state_file.AveragedWeights(self.network, self._ema_decay())
            self.average.load(saved["average"])
            self.step, self.elapsed_s = saved["step"], saved["elapsed_s"]
            self.stage_step, self.stage_elapsed_s = saved["stage_step"], saved["stage_elapsed_s"]
            self.rate_scale, self.best = saved["rate_scale"], saved["best"]
            self.photos_fingerprint = saved["photos"]
            _ = saved["config"], saved["crops"], saved["optimizer"]  # needed later; named now if they lack
            self.saved = saved

    def restore_stage(self, stage: Stage, crops: Crops) -> None:
        """Take up the rest of the state that ``restore`` took up, if there is one.

        Raises:
            TrainingError: It is of another optimizer or discriminator.
        """
        if self.saved is None:
            return
        with self._state_must_fit():
            stage.load_state_dict(self.saved)
            crops.generator.set_state(self.saved["crops"])
        self.saved = None

    def go_back(self, stage: Stage, crops: Crops) -> None:
        """Take up the last state on disk, with half the learning rates from there on."""
        rate_scale = self.rate_scale
        self.restore(
            self.world.broadcast_object(state_file.load(self.state_path) if self.world.is_rank_zero else None)
        )
        self.restore_stage(stage, crops)
        self.rate_scale = rate_scale / 2

    @contextlib.contextmanager
    def _state_must_fit(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = str(error).strip().rpartition("\n")[2].strip()
            raise TrainingError(
                f"the state '{self.state_path}' is not of this network and optimizer: {reason}",
                "start anew with --restart",
            ) from error

    def enter(self, stage: int) -> None:
        """Begin the next stage with the averaged weights of this one."""
        self.network.load_state_dict(self.average.values)
        self.stage = stage
        self.stage_step, self.stage_elapsed_s = self.step, self.elapsed_s
        self.average = state_file.AveragedWeights(self.network, self._ema_decay())
        self.best = math.inf

    def require_same(self, photos: Photos) -> None:
        """Refuse to go on with other photographs: what was held out might then be trained on."""
        if self.photos_fingerprint not in (None, photos.fingerprint()):
            raise UsageError(
                f"the photographs are not those that the run in '{self.folder}' was started with",
                "put them back to go on, or --restart to forget the run",
            )
        self.photos_fingerprint = photos.fingerprint()
        self.photo_counts = photos.photographs, len(photos.held_out)

    @contextlib.contextmanager
    def own_folder(self, restart: bool) -> Iterator[None]:
        """Make the run's folder, keep other runs out of it, and empty it if that is wanted."""
        with contextlib.ExitStack() as held:
            # The first process does it; the others wait for it.
            wrong = self.world.broadcast_object(
                self._make_folder(restart, held) if self.world.is_rank_zero else None
            )
            if wrong:
                raise TrainingError(*wrong)
            yield

    def _make_folder(self, restart: bool, held: contextlib.ExitStack) -> tuple[str, str] | None:
        """What is wrong, and what to do about it, if something is."""
        if Path(self.config.output).is_dir():
            return f"'{self.config.output}' is a folder", "name a file that does not exist yet"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            held.callback(FolderLock(self.folder).release)
            if restart:
                run_folder.forget(self.folder)
        except BlockingIOError:
            return f"another upscale-train is at work on '{self.config.output}'", "wait, or stop it"
        except OSError as error:
            return f"cannot write '{self.folder}': {error.strerror}", ""
        return None

    def show_degraded(self, photos: Photos) -> list[str]:
        """Write what is left out, and the page of degraded crops if that is wanted; lines worth telling."""
        if not self.world.is_rank_zero:
            return []
        lines = []
        if photos.left_out:
            listing = self.folder / "left-out.txt"
            state_file.write_text(listing, "\n".join(photos.left_out) + "\n")
            lines.append(f"what is left out, and why: {listing}")
        if self.config.show_degraded:
            page = self.folder / "degraded.png"
            validation.write_degraded(page, photos.training, self.config.scale, self.config.degradation)
            lines.append(f"what LR pictures look like: {page}")
        return lines

    def save(self, stage: Stage, crops: Crops) -> None:
        """Write the state, atomically."""
        if not self.world.is_rank_zero:
            return
        common = {
            "config": self.config.as_dict(),
            "network": self.network.state_dict(),
            "average": self.average.values,
            "crops": crops.generator.get_state(),
            "photos": self.photos_fingerprint,
            "stage": self.stage,
            "step": self.step,
            "elapsed_s": self.elapsed_s,
            "stage_step": self.stage_step,
            "stage_elapsed_s": self.stage_elapsed_s,
            "rate_scale": self.rate_scale,
            "best": self.best,
        }
        state_file.save(self.state_path, common | stage.state_dict())

    def broken_weights(self) -> str | None:
        """The name of weights that are not finite in fp16, as the weight file has them, if there are any.

        A loss can be finite and its gradient not; values beyond fp16 have diverged by any measure.
        """
        for weights in (self.network.state_dict(), self.average.values):
            for name, tensor in weights.items():
                if not tensor.half().isfinite().all():
                    return name
        return None

    def average_forward(self, lr: Tensor) -> Tensor:
        """The network's answer with the averaged weights as they are."""
        hr: Tensor = torch.func.functional_call(self.network, self.average.values, (lr,))
        return hr

    def averaged(self) -> Network:
        """A copy of the network with the averaged weights, rounded to the fp16 of the weight file."""
        architecture, _ = PRESETS[self.config.network]
        network = build(architecture, self.network.arguments).to(self.world.device)
        network.load_state_dict(
            {
                name: tensor.half().float() if tensor.is_floating_point() else tensor
                for name, tensor in self.average.values.items()
            }
        )
        return _channels_last(network.eval())

    def write_settings(self) -> None:
        """Write ``config.toml``: every setting of this run, for ``--config``, and what it runs with."""
        versions = {
            "upscaler": __version__,
            "torch": torch.__version__,
            "Python": platform.python_version(),
            "device": devices.describe(self.world.device),
        }
        state_file.write_text(self.folder / "config.toml", resolve.as_toml(self.config, versions))

    def write_weights(self, path: Path, network: Network, scores: Scores) -> None:
        """Write a weight file that says how it came to be, and its model card."""
        history = self.history(scores)
        try:
            weight_file.save(path, network, network.state_dict(), history)
        except WeightsError as error:
            raise TrainingError(error.message, error.hint) from error
        state_file.write_text(path.with_suffix(".md"), model_card.text(path.stem, network, history))

    def is_best(self, scores: Scores) -> bool:
        """Whether these are the best of the stage so far: the highest PSNR, in stage two the least unlike."""
        badness = -scores.psnr_db if scores.vgg_distance is None or self.stage == 1 else scores.vgg_distance
        better = badness < self.best
        self.best = min(self.best, badness)
        return better

    def history(self, scores: Scores) -> dict[str, Any]:
        """How the weights came to be; JSON-serialisable."""
        return {
            "upscaler": __version__,
            "settings": resolve.public(self.config),
            "device": devices.describe(self.world.device),
            "processes": self.world.size,
            "stage": self.stage,
            "steps": self.step,
            "minutes": round(self.elapsed_s / 60, 1),
            "degradation": self.config.degradation,
            "photographs": self.photo_counts[0],
            "held_out": self.photo_counts[1],
        } | scores.rounded()


def _share(now: float, start: float, end: float) -> float:
    """How far ``now`` is from ``start`` to ``end``, 0..1; 1 when there is no way to go."""
    return 1.0 if end <= start or now >= end else max(0.0, (now - start) / (end - start))


def _channels_last(network: Network) -> Network:
    network.to(memory_format=torch.channels_last)  # changes it in place
    return network
