"""The state of a run on disk: everything that is needed to go on as if it had never stopped."""

import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from upscaler import atomic
from upscaler.errors import TrainingError
from upscaler.trainer.data import file_names

# What zipfile, zlib and torch raise on bytes that are not, or no longer, a state.
_SIGNS_OF_DAMAGE = (
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
)


class AveragedWeights:
    """Exponential moving average of all parameters and buffers of a network.

    Args:
        network: Whose weights are followed.
        decay: Share of the old average kept per step; warmed up, so that short runs are not stale.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}

    @torch.no_grad()
    def follow(self, network: nn.Module, step: int) -> None:
        """Move towards the network's weights after step number ``step`` (from 0)."""
        decay = min(self.decay, (1 + step) / (10 + step))
        state = dict(network.named_parameters()) | dict(network.named_buffers())  # faster than state_dict
        floating = [name for name, tensor in state.items() if tensor.is_floating_point()]
        torch._foreach_lerp_(
            [self.values[name] for name in floating], [state[name] for name in floating], 1 - decay
        )
        for name in state.keys() - set(floating):
            self.values[name].copy_(state[name])

    def load(self, values: dict[str, Tensor]) -> None:
        """Take up saved averages."""
        for name, tensor in values.items():
            self.values[name].copy_(tensor)


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a state atomically: the old one stays until the new one is complete.

    Raises:
        TrainingError: It cannot be written, for example because the disk is full.
    """
    content = io.BytesIO()  # in memory first: torch reports a full disk as a RuntimeError without a reason
    torch.save(state, content)
    try:
        atomic.write_bytes(path, content.getvalue())
    except OSError as error:
        raise TrainingError(f"cannot write '{path}': {error.strerror}") from error


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically.

    Raises:
        TrainingError: It cannot be written.
    """
    try:
        atomic.write_bytes(path, file_names.encoded(text))
    except OSError as error:
        raise TrainingError(f"cannot write '{path}': {error.strerror}") from error


def load(path: Path) -> dict[str, Any]:
    """Read a state; runs no code from the file.

    Raises:
        TrainingError: The file is damaged, or cannot be read.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise TrainingError(f"cannot read '{path}': {error.strerror}") from error
    try:
        # Checksums first: unpickling damaged bytes can fail in any way, or even succeed.
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(damaged)
        state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except _SIGNS_OF_DAMAGE as error:
        raise TrainingError(f"the state '{path}' is damaged", "start anew with --restart") from error
    return state
