"""Which crops the steps of a run draw: how many, and how large."""

from dataclasses import dataclass

from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.run.train_state import TrainState


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


def next_shape(config: TrainConfig, state: TrainState, largest_px: int) -> CropShape:
    """The crops of the next step.

    Args:
        config: Settings of the run.
        state: Where the run is.
        largest_px: Side of the largest crop that all photographs hold, LR pixels.
    """
    shapes = _of_stage(config, state.stage, largest_px)
    late = state.stage == 1 and state.stage_progress() >= 1 - config.phase2_share
    return shapes[-1 if late else 0]


def shapes_to_come(config: TrainConfig, state: TrainState, largest_px: int) -> list[CropShape]:
    """The crops of this stage and of those after it; arguments as for ``next_shape``."""
    numbers = [number for number in config.stage_numbers() if number >= state.stage]
    return [shape for number in numbers for shape in _of_stage(config, number, largest_px)]


def _of_stage(config: TrainConfig, stage: int, largest_px: int) -> list[CropShape]:
    if stage == 2:
        sizes = [(config.gan.batch, config.gan.patch_px)]
    else:
        sizes = [(config.batch, config.patch_px)] if config.phase2_share < 1 else []
        sizes += [(config.phase2_batch, config.phase2_patch_px)] if config.phase2_share else []
    return [CropShape(stage, batch, min(side_px, largest_px)) for batch, side_px in sizes]
