"""Where decoded photographs are kept: in memory, or in a file that is mapped into it."""

import os
import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from upscaler.errors import TrainingError
from upscaler.inference import devices

# Share of the free memory that photographs may take; the rest is for the training.
_MEMORY_SHARE = 0.5


class Cache:
    """Keeps pictures.

    Args:
        needed_bytes: What all pictures together will take; what goes beyond is kept in memory.
        folder: Where a file goes, or the nearest existing folder above; ``None``: where temporary files go.

    Attributes:
        mapped: Whether they lie in a file, which the system reads as needed. It has no name and is gone when
            the process ends, however that happens.

    Raises:
        TrainingError: A file is needed, and the disk has no room for it.
    """

    def __init__(self, needed_bytes: int, folder: Path | None) -> None:
        self.mapped = needed_bytes > _available_bytes() * _MEMORY_SHARE
        self._used = 0
        self._buffer = torch.empty(0, dtype=torch.uint8)
        if self.mapped:
            self._buffer = _mapped(needed_bytes, folder)

    def keep(self, picture: Tensor) -> Tensor:
        """The same picture, uint8, kept; the one given is no longer needed."""
        end = self._used + picture.numel()
        if end > self._buffer.numel():
            return picture
        place = self._buffer[self._used : end].view(picture.shape)
        self._used = end
        return place.copy_(picture)


def _available_bytes() -> int:
    """Memory that can be had, what the system uses to remember files included."""
    meminfo = Path("/proc/meminfo")
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return devices.free_memory_bytes(torch.device("cpu"))


def _mapped(size_bytes: int, folder: Path | None) -> Tensor:
    try:
        with tempfile.TemporaryFile(dir=folder and _existing(folder)) as file:
            if hasattr(os, "posix_fallocate"):  # a full disk found later would kill the process
                os.posix_fallocate(file.fileno(), 0, size_bytes)
            else:
                file.truncate(size_bytes)
            return torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="r+", shape=(size_bytes,)))
    except OSError as error:
        raise TrainingError(
            f"photographs of {size_bytes / 1e9:.1f} GB fit neither into memory nor beside the output: "
            f"{error.strerror}",
            "use fewer photographs, or another place for the output",
        ) from error


def _existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    return next(parent for parent in (folder, *folder.absolute().parents) if parent.is_dir())
