"""MAIN FLOW: a patch's way. ``pretrain`` is stage one, readable from top to bottom."""

import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from upscaler import __version__, device
from upscaler.errors import TrainingError, UsageError
from upscaler.models import checkpoint
from upscaler.models.contract import Network
from upscaler.models.registry import PRESETS, build
from upscaler.trainer import losses, state, validation
from upscaler.trainer.config import TrainConfig
from upscaler.trainer.data import Crops, Pair, Photos, load_photos
from upscaler.trainer.forward import fast_forward
from upscaler.trainer.optimizer import Optimizer


@dataclass(frozen=True)
class Report:
    """What the loop tells the world.

    Attributes:
        step: Optimiser steps done.
        share: Share of the run that is done, 0..1.
        elapsed_s: Training time so far, earlier parts of a continued run included.
        loss: Mean of the training loss since the last report.
        psnr_db: Validation Y-PSNR, when it was just measured.
        message: Something worth a line, when there is.
        data_share: Share of the time since the last report that the training waited for crops.
    """

    step: int
    share: float
    elapsed_s: float
    loss: float = math.nan
    psnr_db: float | None = None
    message: str | None = None
    data_share: float = math.nan


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        finished: False when it was stopped early; the same command goes on.
        weights: The weight file.
        psnr_db: Last validation Y-PSNR.
        steps: Optimiser steps done.
    """

    finished: bool
    weights: Path
    psnr_db: float
    steps: int


def pretrain(
    config: TrainConfig,
    on_report: Callable[[Report], None],
    should_stop: Callable[[], bool] = lambda: False,
    restart: bool = False,
) -> Outcome:
    """Stage one: pixel and spectrum loss.

    An earlier run of the same settings is continued from its last state. The weight file is written at
    every validation, so that it always holds the newest averaged weights.

    Args:
        config: The settings.
        on_report: Called about twice a second and at every event.
        should_stop: Asked after every step; True saves the state and ends.
        restart: Forget an earlier run.

    Raises:
        TrainingError: The run cannot start, its loss is no longer finite, or the disk is full. The last
            good state stays.
        UsageError: The settings differ from those of the run to be continued.
        WeightsError: The weights to start from cannot be used.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    place = device.pick(config.device)
    run = _Run(config, place)
    run.begin(restart)

    patch_limit_px = max(config.patch_px, config.late_patch_px)
    photos = load_photos(
        config.photos,
        config.scale,
        patch_limit_px,
        degradation=config.degradation,
        low_folders=config.low_folders,
        cache_folder=_existing(Path(config.output).parent),
    )
    run.make_folder(restart)  # only now: a misspelt folder of photographs must not cost an earlier run
    for line in _opening_lines(photos, run.step, patch_limit_px) + run.show_degraded(photos):
        on_report(Report(run.step, run.share(), run.elapsed_s, message=line))

    run.require_same(photos)
    crops = Crops(photos.training, config.scale, config.seed, config.degradation, place)
    if run.crops_state is not None:
        crops.generator.set_state(run.crops_state)
    forward, note = fast_forward(run.network, place, config)
    if note:
        on_report(Report(run.step, run.share(), run.elapsed_s, message=note))

    pixel_loss = losses.PIXEL_LOSSES[config.pixel_loss]
    losses_seen: list[Tensor] = []
    drawn_s = 0.0
    last_report = last_checkpoint = last_tick = time.monotonic()
    while not (finished := run.share() >= 1) and not should_stop():
        late = run.share() >= 1 - config.late_share
        batch, patch_px = (
            (config.late_batch, config.late_patch_px) if late else (config.batch, config.patch_px)
        )
        low, high = crops.draw(batch, min(patch_px, photos.patch_px))
        high = run.network.target(low, high)
        made = forward(low)
        loss = pixel_loss(made, high)
        if config.fft_weight:
            loss = loss + config.fft_weight * losses.spectrum_loss(made, high)
        loss.backward()  # type: ignore[no-untyped-call]
        run.optimizer.step(rate_factor(run.step, run.share(), config.warmup_steps))
        run.average.follow(run.network, run.step)
        run.step += 1
        losses_seen.append(loss.detach())

        now = time.monotonic()
        run.elapsed_s += now - last_tick
        last_tick = now
        checkpoint_due = now - last_checkpoint > config.checkpoint_every_s
        if now - last_report > 0.5 or checkpoint_due:
            mean_loss = _finite_mean(losses_seen, run.step)
            data_share, drawn_s = (crops.drawing_s - drawn_s) / (now - last_report), crops.drawing_s
            on_report(Report(run.step, run.share(), run.elapsed_s, mean_loss, data_share=data_share))
            losses_seen, last_report = [], now
        if checkpoint_due:
            run.checkpoint(crops, photos.held_out, on_report)
            last_checkpoint = time.monotonic()
    if losses_seen:
        _finite_mean(losses_seen, run.step)
    psnr_db = run.checkpoint(crops, photos.held_out, on_report)
    return Outcome(finished, Path(config.output), psnr_db, run.step)


def rate_factor(step: int, share: float, warmup_steps: int) -> float:
    """Share of the peak learning rate: a linear rise, times a cosine over the share of the run done.

    A pure function of where the run is, so that there is no schedule to save or to get wrong on resume.
    """
    rise = min(1.0, (step + 1) / max(1, warmup_steps))
    return rise * 0.5 * (1 + math.cos(math.pi * min(1.0, share)))


class _Run:
    """What a run carries from step to step, and how it is kept on disk."""

    def __init__(self, config: TrainConfig, place: torch.device) -> None:
        self.config = config
        self.place = place
        self.folder = Path(config.output).with_suffix(".run")
        torch.manual_seed(config.seed)
        architecture, arguments = PRESETS[config.network]
        network = build(architecture, arguments | {"scale": config.scale})
        self.network = _channels_last(network.to(place))
        self.optimizer = Optimizer(self.network, config.optimizer, *config.matrix_step())
        self.average = state.AveragedWeights(self.network, config.ema_decay)
        self.step = 0
        self.elapsed_s = 0.0
        self.crops_state: Tensor | None = None
        self.photos_fingerprint: int | None = None

    def share(self) -> float:
        """Share of the run done, 0..1."""
        if self.config.steps is not None:
            return min(1.0, self.step / max(1, self.config.steps))
        return min(1.0, self.elapsed_s / max(1e-9, (self.config.minutes or 0) * 60))

    def begin(self, restart: bool) -> None:
        """Take up the saved state if there is one, else the weights to start from. Writes nothing."""
        path = self.folder / "state.pt"
        if path.exists() and not restart:
            self._resume(path)
        elif self.config.start_from != "none":
            checkpoint.transfer(checkpoint.load(Path(self.config.start_from)), self.network)
            self.average = state.AveragedWeights(self.network, self.config.ema_decay)

    def _resume(self, path: Path) -> None:
        saved = state.load(path)
        try:
            differing = self.config.conflicts(saved["config"])
            if differing:
                raise UsageError(
                    f"the run in '{self.folder}' was started with other settings ({', '.join(differing)})",
                    "use its settings to go on, or --restart to forget it",
                )
            self.network.load_state_dict(saved["network"])
            self.optimizer.load_state_dict(saved["optimizer"])
            self.average.load(saved["average"])
            self.step, self.elapsed_s, self.crops_state = saved["step"], saved["elapsed_s"], saved["crops"]
            self.photos_fingerprint = saved["photos"]
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            reason = str(error).strip().rpartition("\n")[2].strip()
            raise TrainingError(
                f"the state '{path}' is not of this network and optimizer: {reason}",
                "start anew with --restart",
            ) from error

    def require_same(self, photos: Photos) -> None:
        """Refuse to go on with other photographs: what was held out might then be trained on."""
        if self.photos_fingerprint not in (None, photos.fingerprint()):
            raise UsageError(
                f"the photographs are not those that the run in '{self.folder}' was started with",
                "put them back to go on, or --restart to forget the run",
            )
        self.photos_fingerprint = photos.fingerprint()

    def make_folder(self, restart: bool) -> None:
        """Make the run's folder, and forget what an earlier run left there if that is wanted."""
        if Path(self.config.output).is_dir():
            raise TrainingError(f"'{self.config.output}' is a folder", "name a file that does not exist yet")
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if restart:
                for name in ("state.pt", "log.csv"):
                    (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise TrainingError(f"cannot write '{self.folder}': {error.strerror}") from error

    def show_degraded(self, photos: Photos) -> list[str]:
        """Write what is left out, and the page of degraded crops if that is wanted; lines worth telling."""
        lines = []
        if photos.left_out:
            listing = self.folder / "left-out.txt"
            state.write_text(listing, "\n".join(photos.left_out) + "\n")
            lines.append(f"what is left out, and why: {listing}")
        if self.config.show_degraded:
            page = self.folder / "degraded.png"
            validation.write_degraded(page, photos.training, self.config.scale, self.config.degradation)
            lines.append(f"what LR pictures look like: {page}")
        return lines

    def checkpoint(self, crops: Crops, held_out: list[Pair], on_report: Callable[[Report], None]) -> float:
        """Save the state, validate the averaged weights, write them, log; return the Y-PSNR in dB."""
        self._require_finite()
        state.save(
            self.folder / "state.pt",
            {
                "config": self.config.as_dict(),
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average.values,
                "crops": crops.generator.get_state(),
                "photos": self.photos_fingerprint,
                "step": self.step,
                "elapsed_s": self.elapsed_s,
            },
        )
        network = self._averaged()
        psnr_db = validation.validate(network, held_out)
        checkpoint.save(Path(self.config.output), network, network.state_dict(), self._history(psnr_db))
        validation.write_samples(self.folder / "samples.png", network, held_out)
        self._log(psnr_db)
        on_report(Report(self.step, self.share(), self.elapsed_s, psnr_db=psnr_db))
        return psnr_db

    def _averaged(self) -> Network:
        """A copy of the network with the averaged weights, rounded to the fp16 of the weight file."""
        architecture, _ = PRESETS[self.config.network]
        network = build(architecture, self.network.arguments).to(self.place)
        network.load_state_dict(
            {
                name: tensor.half().float() if tensor.is_floating_point() else tensor
                for name, tensor in self.average.values.items()
            }
        )
        return _channels_last(network.eval())

    def _require_finite(self) -> None:
        """Stop before broken weights replace the last good state: a loss can be finite, its gradient not.

        Finite in fp16, as the weight file has them; values beyond that have diverged by any measure.
        """
        for weights in (self.network.state_dict(), self.average.values):
            for name, tensor in weights.items():
                if not tensor.half().isfinite().all():
                    raise _diverged(f"the weights ('{name}') are no longer finite at step {self.step}")

    def _history(self, psnr_db: float) -> dict[str, Any]:
        return {
            "upscaler": __version__,
            "settings": self.config.as_dict() | self._names(),
            "device": device.describe(self.place),
            "steps": self.step,
            "minutes": round(self.elapsed_s / 60, 1),
            "degradation": self.config.degradation,
            "held_out_psnr_db": round(psnr_db, 3),
        }

    def _names(self) -> dict[str, Any]:
        """The settings that are paths, without the folders of the machine they were on."""
        return {
            "photos": [Path(folder).name for folder in self.config.photos],
            "low_folders": [Path(folder).name for folder in self.config.low_folders],
            "output": Path(self.config.output).name,
            "start_from": Path(self.config.start_from).name,
        }

    def _log(self, psnr_db: float) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        try:
            with path.open("a", newline="") as file:
                writer = csv.writer(file)
                if new:
                    writer.writerow(["step", "share", "elapsed_s", "held_out_psnr_db"])
                writer.writerow([self.step, f"{self.share():.4f}", f"{self.elapsed_s:.1f}", f"{psnr_db:.4f}"])
        except OSError as error:
            raise TrainingError(f"cannot write '{path}': {error.strerror}") from error


def _channels_last(network: Network) -> Network:
    network.to(memory_format=torch.channels_last)  # changes it in place
    return network


def _finite_mean(values: list[Tensor], last_step: int) -> float:
    """Mean of the losses of the steps up to ``last_step``; raises when one of them is not finite."""
    stacked = torch.stack(values).cpu()
    broken = stacked.isfinite().logical_not().nonzero().flatten().tolist()
    if broken:
        raise _diverged(f"the loss is no longer finite at step {last_step - len(values) + 1 + broken[0]}")
    return float(stacked.mean())


def _diverged(what: str) -> TrainingError:
    return TrainingError(what, "the last good weights are kept; use a smaller --learning-rate with --restart")


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())


def _opening_lines(photos: Photos, step: int, wanted_px: int) -> list[str]:
    lines = [f"going on from step {step}"] if step else []
    lines.append(f"{len(photos.training)} photographs to train on, {len(photos.held_out)} held out")
    if photos.left_out:
        shown = ", ".join(photos.left_out[:5]) + (", ..." if len(photos.left_out) > 5 else "")
        lines.append(f"{len(photos.left_out)} files left out: {shown}")
    if photos.patch_px < wanted_px:
        lines.append(
            f"crops have at most {photos.patch_px} LR pixels a side: too few photographs hold {wanted_px}"
        )
    if photos.mapped:
        lines.append("photographs are kept in a file beside the output: memory does not hold them")
    return lines
