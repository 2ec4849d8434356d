"""Experiment trackers: TensorBoard event files and Weights & Biases."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from upscaler.errors import TrainingError, first_line


class Tracker(Protocol):
    """Takes the numbers and pictures of a run."""

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """Record numbers by name."""

    def picture(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """Record a picture, RGB ``(H, W, 3)``."""

    def flush(self) -> None:
        """Write what is buffered."""


class TensorBoard:
    """Event files in the run folder; see ``Tracker``.

    Raises:
        TrainingError: TensorBoard is not installed.
    """

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrainingError(
                "TensorBoard is not installed",
                "pip install 'upscaler[tensorboard]', or leave out --tensorboard",
            ) from error
        self._writer: Any = SummaryWriter(folder)

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """See ``Tracker``."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def picture(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """See ``Tracker``."""
        self._writer.add_image(name, pixels, step, dataformats="HWC")

    def flush(self) -> None:
        """See ``Tracker``."""
        self._writer.flush()


class WeightsAndBiases:
    """A run of the project ``upscaler``, named after the output; see ``Tracker``.

    Account, server and offline mode are those of wandb's own settings, such as ``WANDB_MODE``.

    Args:
        folder: The run folder, in whose ``wandb`` wandb keeps its files.
        settings: Settings of the run.

    Raises:
        TrainingError: wandb is not installed, or refuses.
    """

    def __init__(self, folder: Path, settings: dict[str, Any]) -> None:
        try:
            import wandb
        except ImportError as error:
            raise TrainingError(
                "wandb is not installed", "pip install 'upscaler[wandb]', or leave out --wandb"
            ) from error
        self._wandb: Any = wandb
        try:
            self._run: Any = wandb.init(
                project="upscaler", name=folder.stem, dir=str(folder), config=settings
            )
        except Exception as error:  # wandb has no common class of errors
            raise TrainingError(
                f"wandb cannot start: {first_line(error)}", "try WANDB_MODE=offline"
            ) from error

    def scalars(self, step: int, values: dict[str, float]) -> None:
        """See ``Tracker``."""
        self._run.log(values | {"step": step})

    def picture(self, step: int, name: str, pixels: NDArray[np.uint8]) -> None:
        """See ``Tracker``."""
        self._run.log({name: self._wandb.Image(pixels), "step": step})

    def flush(self) -> None:
        """See ``Tracker``; wandb writes in a process of its own, which ends with this one."""
