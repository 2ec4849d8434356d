"""What a run will take, from trial steps: time per step, steps and epochs, memory, disk."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from upscaler.inference import devices
from upscaler.system import memory
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.run.crop_shapes import CropShape

# A page of samples, PNG: at most 16 rows of four squares of 192 pixels.
_SAMPLES_BYTES = 1_600_000

# A shorter run is over before its forecast helps.
_SHORTEST_MINUTES, _SHORTEST_STEPS = 1.0, 200


@dataclass(frozen=True)
class StageForecast:
    """What a stage will take.

    Attributes:
        stage: 1 or 2.
        step_s: Mean seconds per step.
        steps: Steps in its part of the run's length.
        crops: Crops drawn in these.
    """

    stage: int
    step_s: float
    steps: float
    crops: float


def is_worthwhile(config: TrainConfig) -> bool:
    """Whether the run is long enough."""
    if config.minutes is not None:
        return config.minutes >= _SHORTEST_MINUTES
    return config.steps is None or config.steps >= _SHORTEST_STEPS


def stages(
    config: TrainConfig, step_s: Mapping[CropShape, float], photographs: int, processes: int
) -> list[StageForecast]:
    """The forecast of every stage.

    Args:
        config: Settings of the run.
        step_s: Seconds per step for each kind of crops.
        photographs: Photographs to train on.
        processes: Processes that train together, each with its own crops.
    """
    found = []
    for number in config.stage_numbers():
        share = config.stage_one_share if number == 1 else 1 - config.stage_one_share
        share = share if len(config.stage_numbers()) == 2 else 1.0
        shapes = [shape for shape in step_s if shape.stage == number]
        late = config.phase2_share if number == 1 and len(shapes) == 2 else 0.0
        parts = [(shapes[0], share * (1 - late))] + ([(shapes[1], share * late)] if late else [])
        steps = {
            shape: part * _per_run(config, shape, step_s[shape], photographs, processes)
            for shape, part in parts
        }
        total = sum(steps.values())
        seconds = sum(count * step_s[shape] for shape, count in steps.items())
        crops = sum(count * shape.batch * processes for shape, count in steps.items())
        found.append(StageForecast(number, seconds / total, total, crops))
    return found


def _per_run(config: TrainConfig, shape: CropShape, step_s: float, photographs: int, processes: int) -> float:
    """Steps with these crops if the whole run had no others."""
    if config.steps is not None:
        return config.steps
    if config.epochs is not None:
        return config.epochs * photographs / (shape.batch * processes)
    return (config.minutes or 0) * 60 / step_s


def lines(
    config: TrainConfig,
    found: list[StageForecast],
    *,
    photographs: int,
    device: torch.device,
    state_bytes: int,
) -> list[str]:
    """The forecast for the user; called after the trial steps, whose memory it reports.

    Args:
        config: Settings of the run.
        found: From ``stages``.
        photographs: Photographs to train on.
        device: Where the networks are.
        state_bytes: Size of the networks and their averages.
    """
    text = [
        f"forecast of stage {each.stage}: {_duration(each.step_s)} per step, {each.steps:,.0f} steps, "
        f"{each.crops / photographs:,.1f} epochs, {_duration(each.steps * each.step_s)}"
        for each in found
    ]
    seconds = sum(each.steps * each.step_s for each in found)
    disk_bytes = 3 * state_bytes + _SAMPLES_BYTES * (2 + seconds / config.checkpoint_every_s)
    held = [f"{memory.peak_bytes() / 1e9:.1f} GB of memory"]
    if device.type == "cuda":
        held.append(f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f} GB on {devices.describe(device)}")
    text.append(f"forecast: {' and '.join([*held, f'{max(disk_bytes, 1e7) / 1e9:.2f} GB on disk'])}")
    return text


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
