"""Keeps decoded photographs in memory or in a memory-mapped file."""

import tempfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from upscaler.errors import TrainingError
from upscaler.system import disk, memory

# Share of the free memory that photographs may take; training needs the rest.
_MEMORY_SHARE = 0.5


class Cache:
    """Keeps images.

    Args:
        needed_bytes: Estimated size of all images; what exceeds it is kept in memory.
        folder: Where a file goes, or the nearest existing folder above; ``None``: where temporary files go.

    Attributes:
        mapped: Whether they are in a file. It has no name, and disappears when the process ends.

    Raises:
        TrainingError: A file is needed, and the disk has no room for it.
    """

    def __init__(self, needed_bytes: int, folder: Path | None) -> None:
        self.mapped = needed_bytes > memory.available_bytes() * _MEMORY_SHARE
        self._used = 0
        self._buffer = torch.empty(0, dtype=torch.uint8)
        if self.mapped:
            self._buffer = _mapped(needed_bytes, folder)

    def keep(self, image: Tensor) -> Tensor:
        """Copy an image, uint8 of any shape, into the cache and return it from there."""
        end = self._used + image.numel()
        if end > self._buffer.numel():
            return image
        kept = self._buffer[self._used : end].view(image.shape)
        self._used = end
        return kept.copy_(image)


def _mapped(size_bytes: int, folder: Path | None) -> Tensor:
    try:
        with tempfile.TemporaryFile(dir=folder and disk.existing_folder(folder)) as file:
            disk.reserve(file, size_bytes)
            return torch.from_numpy(np.memmap(file, dtype=np.uint8, mode="r+", shape=(size_bytes,)))
    except OSError as error:
        raise TrainingError(
            f"{size_bytes / 1e9:.1f} GB of photographs fit neither into memory nor on the output disk: "
            f"{error.strerror}",
            "use fewer photographs, or another disk for the output",
        ) from error
