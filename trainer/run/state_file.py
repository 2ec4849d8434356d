"""Reads and writes the state file and the text files of a run."""

import io
import pickle
import zipfile
import zlib
from pathlib import Path
from typing import Any

import torch

from upscaler import atomic
from upscaler.errors import TrainingError
from upscaler.trainer.data import file_names

# What zipfile, zlib and torch raise on bytes that are not a state.
_DAMAGE_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    pickle.UnpicklingError,
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    OverflowError,
)


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
    except _DAMAGE_ERRORS as error:
        raise TrainingError(f"the state '{path}' is damaged", "start over with --restart") from error
    return state
