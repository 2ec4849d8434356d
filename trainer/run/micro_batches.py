"""Splits a batch into micro-batches, and makes them smaller when memory runs out."""

import contextlib
from collections.abc import Callable

import torch
from torch import Tensor

from upscaler.errors import TrainingError
from upscaler.inference import devices
from upscaler.trainer.config.config import TrainConfig
from upscaler.trainer.run.counting import counted
from upscaler.trainer.stages.distributed import World
from upscaler.trainer.stages.stage import MicroBatch, Stage, Terms


class MicroBatches:
    """How many crops go through the networks at once.

    Args:
        config: Settings of the run; ``micro_batch`` is the size to start with.
        world: The processes of the run.
        on_message: Called with a line for the user when the size changes.
    """

    def __init__(self, config: TrainConfig, world: World, on_message: Callable[[str], None]) -> None:
        self._config, self._world, self._on_message = config, world, on_message
        self._limit = config.micro_batch

    def sizes(self, batch: int) -> set[int]:
        """Sizes of the micro-batches of a batch: one, or two if the last one is smaller."""
        size = -(-batch // self._count(batch))
        return {size, batch % size or size}

    def run(
        self, stage: Stage, lr: Tensor, hr: Tensor, update: Callable[[list[MicroBatch]], Terms], *, step: int
    ) -> Terms:
        """Call ``update`` with the micro-batches of a batch; when memory runs out, again with smaller ones.

        Args:
            stage: Where a failed step is cancelled.
            lr: LR crops ``(N, 3, h, w)``.
            hr: HR crops ``(N, 3, h*scale, w*scale)``.
            update: Forward, loss, backward and step; where it runs out of memory, it has changed no weights.
            step: Number of the step, for messages.

        Raises:
            TrainingError: A single crop does not fit, or one of several processes ran out of memory.
        """
        while True:
            count = self._count(len(lr))
            try:
                with _benchmark_convolutions():
                    return update(list(zip(lr.chunk(count), hr.chunk(count), strict=True)))
            except (RuntimeError, MemoryError) as error:
                if not devices.is_out_of_memory(error):
                    raise
                # Processes wait for each other inside a step: none of them can repeat it alone.
                if self._world.size > 1:
                    raise TrainingError(
                        f"out of memory at step {step} in one of {self._world.size} processes",
                        f"use --set micro_batch=N, or {self._ways_to_save(stage)}",
                    ) from error
            stage.cancel_step()
            self._halve(-(-len(lr) // count), stage)

    def _count(self, batch: int) -> int:
        return -(-batch // self._limit) if self._limit else 1

    def _halve(self, largest: int, stage: Stage) -> None:
        if largest == 1:
            raise TrainingError(
                f"{devices.describe(self._world.device)} has too little memory for a single crop",
                f"use {self._ways_to_save(stage)}, or a smaller --network",
            )
        self._limit = largest // 2
        parts = stage.batch_dependent_parts()
        result = f"different result because of {' and '.join(parts)}" if parts else "same result"
        self._on_message(
            f"out of memory: continuing with {counted(self._limit, 'crop')} at a time ({result}); to save "
            f"more, use {self._ways_to_save(stage)}"
        )

    def _ways_to_save(self, stage: Stage) -> str:
        """Settings that save memory, the most effective first."""
        names = ["--patch", "--batch"] if stage.number == 1 else ["gan.patch_px", "gan.batch"]
        ways = [f"a smaller {name}" for name in names]
        if not self._config.checkpointing and self._config.network != "srcnn":
            ways.append("--checkpointing")
        return ", ".join(ways[:-1]) + f" or {ways[-1]}"


def _benchmark_convolutions() -> contextlib.AbstractContextManager[None]:
    """On a GPU, cuDNN tries every algorithm at the first step; that pays because all steps have one shape."""
    return torch.backends.cudnn.flags(
        enabled=torch.backends.cudnn.enabled, benchmark=True, allow_tf32=torch.backends.cudnn.allow_tf32
    )
