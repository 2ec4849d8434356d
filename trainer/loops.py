"""MAIN FLOW: a patch's way. ``pretrain`` is stage one, readable from top to bottom."""

import contextlib
import csv
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from upscaler import __version__, device, stills
from upscaler.errors import TrainingError
from upscaler.models import checkpoint
from upscaler.models.contract import Network
from upscaler.models.registry import PRESETS, build
from upscaler.trainer import losses, metrics, state
from upscaler.trainer.config import TrainConfig
from upscaler.trainer.data import Crops, Pair, Photos, load_photos
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
    """

    step: int
    share: float
    elapsed_s: float
    loss: float = math.nan
    psnr_db: float | None = None
    message: str | None = None


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
        TrainingError: The run cannot start, or its loss is no longer finite.
        UsageError: The settings are wrong, or differ from those of the run to be continued.
    """
    if config.threads:
        torch.set_num_threads(config.threads)
    place = device.pick(config.device)
    run = _Run(config, place)
    run.prepare(restart)

    patch_limit_px = max(config.patch_px, config.late_patch_px)
    photos = load_photos(config.photos, config.scale, patch_limit_px)
    for line in _data_lines(photos):
        on_report(Report(run.step, run.share(), run.elapsed_s, message=line))

    crops = Crops(photos.training, config.scale, config.seed)
    if run.crops_state is not None:
        crops.generator.set_state(run.crops_state)
    forward, note = _fast_forward(run.network, place, config.compiled)
    if note:
        on_report(Report(run.step, run.share(), run.elapsed_s, message=note))

    losses_seen: list[Tensor] = []
    last_report = last_checkpoint = last_tick = time.monotonic()
    while not (finished := run.share() >= 1) and not should_stop():
        late = run.share() >= 1 - config.late_share
        batch, patch_px = (
            (config.late_batch, config.late_patch_px) if late else (config.batch, config.patch_px)
        )
        low, high = (side.to(place, non_blocking=True) for side in crops.draw(batch, patch_px))
        made = forward(low)
        loss = losses.pixel_loss(made, high)
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
            mean_loss = _finite_mean(losses_seen, run)
            on_report(Report(run.step, run.share(), run.elapsed_s, mean_loss))
            losses_seen, last_report = [], now
        if checkpoint_due:
            run.checkpoint(crops, photos.held_out, on_report)
            last_checkpoint = time.monotonic()
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
        if config.start_from != "none":
            checkpoint.transfer(checkpoint.load(Path(config.start_from)), network)
        self.network = network.to(place, memory_format=torch.channels_last)
        self.optimizer = Optimizer(self.network, config.optimizer, *config.matrix_step())
        self.average = state.AveragedWeights(self.network, config.ema_decay)
        self.step = 0
        self.elapsed_s = 0.0
        self.crops_state: Tensor | None = None

    def share(self) -> float:
        """Share of the run done, 0..1."""
        if self.config.steps is not None:
            return min(1.0, self.step / max(1, self.config.steps))
        return min(1.0, self.elapsed_s / max(1e-9, (self.config.minutes or 0) * 60))

    def prepare(self, restart: bool) -> None:
        """Make the run's folder, and take up the saved state if there is one."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise TrainingError(f"cannot write '{self.folder}': {error.strerror}") from error
        if restart:
            for name in ("state.pt", "log.csv"):
                (self.folder / name).unlink(missing_ok=True)
        path = self.folder / "state.pt"
        if not path.exists():
            return
        saved = state.load(path)
        differing = self.config.conflicts(saved["config"])
        if differing:
            raise TrainingError(
                f"the run in '{self.folder}' was started with other settings ({', '.join(differing)})",
                "use its settings to go on, or --restart to forget it",
            )
        self.network.load_state_dict(saved["network"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.average.load(saved["average"])
        self.step, self.elapsed_s, self.crops_state = saved["step"], saved["elapsed_s"], saved["crops"]

    def checkpoint(self, crops: Crops, held_out: list[Pair], on_report: Callable[[Report], None]) -> float:
        """Save the state, validate the averaged weights, write them, log; return the Y-PSNR in dB."""
        state.save(
            self.folder / "state.pt",
            {
                "config": self.config.as_dict(),
                "network": self.network.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "average": self.average.values,
                "crops": crops.generator.get_state(),
                "step": self.step,
                "elapsed_s": self.elapsed_s,
            },
        )
        network = self._averaged()
        psnr_db = validate(network, held_out)
        checkpoint.save(Path(self.config.output), network, network.state_dict(), self._history(psnr_db))
        _write_samples(self.folder / "samples.png", network, held_out)
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
        return network.eval().to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    def _history(self, psnr_db: float) -> dict[str, Any]:
        return {
            "upscaler": __version__,
            "settings": self.config.as_dict() | self._names(),
            "device": device.describe(self.place),
            "steps": self.step,
            "minutes": round(self.elapsed_s / 60, 1),
            "degradation": "clean",
            "held_out_psnr_db": round(psnr_db, 3),
        }

    def _names(self) -> dict[str, Any]:
        """The settings that are paths, without the folders of the machine they were on."""
        return {
            "photos": [Path(folder).name for folder in self.config.photos],
            "output": Path(self.config.output).name,
            "start_from": Path(self.config.start_from).name,
        }

    def _log(self, psnr_db: float) -> None:
        path = self.folder / "log.csv"
        new = not path.exists()
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if new:
                writer.writerow(["step", "share", "elapsed_s", "held_out_psnr_db"])
            writer.writerow([self.step, f"{self.share():.4f}", f"{self.elapsed_s:.1f}", f"{psnr_db:.4f}"])


def _fast_forward(
    network: Network, place: torch.device, compiled: bool
) -> tuple[Callable[[Tensor], Tensor], str | None]:
    """The network as it is trained: half precision where it is fast, compiled where that is possible."""
    dtype = device.fast_dtype(place)
    dtype = torch.bfloat16 if dtype is torch.float16 else dtype  # fp16 gradients underflow
    note = None
    module: Callable[[Tensor], Tensor] = network
    if compiled and (place.type == "cuda" or device.has_compiler()):
        module = torch.compile(network, dynamic=False)
    elif compiled:
        note = "no C++ compiler found: training runs uncompiled, about 1.2 times slower"

    def forward(low: Tensor) -> Tensor:
        if dtype is torch.float32:
            return module(low)
        with torch.autocast(place.type, dtype):
            return module(low)

    return forward, note


def _finite_mean(values: list[Tensor], run: _Run) -> float:
    mean = float(torch.stack(values).mean())
    if not math.isfinite(mean):
        raise TrainingError(
            f"the loss is no longer finite after step {run.step}",
            f"the last good state is in '{run.folder}'; use a smaller --learning-rate",
        )
    return mean


def _data_lines(photos: Photos) -> list[str]:
    lines = [f"{len(photos.training)} photographs to train on, {len(photos.held_out)} held out"]
    if photos.left_out:
        shown = ", ".join(photos.left_out[:5]) + (", ..." if len(photos.left_out) > 5 else "")
        lines.append(f"{len(photos.left_out)} files left out: {shown}")
    return lines


@torch.inference_mode()
def run_network(network: Network, low: Tensor) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One LR picture ``(h, w, 3)`` uint8 through the network -> ``(h*scale, w*scale, 3)`` uint8."""
    batch = low.permute(2, 0, 1).unsqueeze(0).to(next(network.parameters()).device)
    high = network(batch.float().div_(255)).squeeze(0)
    return high.mul(255).round_().clamp_(0, 255).to(torch.uint8).permute(1, 2, 0).cpu().numpy()


def validate(network: Network, pairs: list[Pair]) -> float:
    """Mean Y-PSNR in dB over held-out photographs."""
    border_px = network.contract.scale
    values = [
        metrics.psnr_db(
            metrics.luma(run_network(network, pair.low)), metrics.luma(pair.high.numpy()), border_px
        )
        for pair in pairs
    ]
    return float(np.mean(values))


def _write_samples(path: Path, network: Network, pairs: list[Pair], side_px: int = 192) -> None:
    """A PNG with a row per held-out photograph: bicubic, network, original; up to four rows."""
    scale = network.contract.scale
    rows = []
    for pair in pairs[:4]:
        size = min(side_px, *pair.high.shape[:2])
        size -= size % scale
        top, left = (((side - size) // 2) // scale * scale for side in pair.high.shape[:2])
        low = pair.low[top // scale : (top + size) // scale, left // scale : (left + size) // scale]
        high = pair.high[top : top + size, left : left + size].numpy()
        bicubic = stills.resize(low.numpy(), size, size)
        row = np.concatenate([bicubic, run_network(network, low), high], axis=1)
        rows.append(np.pad(row, ((0, side_px - size), (0, 3 * (side_px - size)), (0, 0))))
    with contextlib.suppress(OSError):  # a picture for the eye must not end a run
        stills.write_rgb8(path, np.concatenate(rows))
