"""The sizes of photographs: of all of them or, where they are many, of a sample.

Opening 70,000 files takes a minute of a busy machine, and many minutes of a disk that was not read before.
"""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from upscaler.trainer.data.sources import Source

Size = tuple[int, int]  # height, width

# A mean over so many is off by a few per cent.
_MOST_OPENED = 2_000


@dataclass(frozen=True)
class PhotoSizes:
    """What is known of the sizes of photographs.

    Attributes:
        count: Number of photographs.
        opened: Size by index of those whose headers were read; ``None`` where that failed.
    """

    count: int
    opened: Mapping[int, Size | None]

    @property
    def known(self) -> list[Size]:
        """The sizes that could be read."""
        return [size for size in self.opened.values() if size]

    @property
    def per_opened(self) -> float:
        """How many photographs each one that was opened stands for."""
        return self.count / max(1, len(self.opened))

    def of_opened(self, found: Sequence[Source]) -> tuple[list[Source], list[Size | None]]:
        """The photographs that were opened, and the size of each."""
        return [found[index] for index in self.opened], list(self.opened.values())


def read_sizes(found: Sequence[Source], size_of: Callable[[Source], Size | None]) -> PhotoSizes:
    """The sizes of all, or of 2,000 of them, which are the same ones in every run.

    At random, not every so many: folders often alternate between a photograph and its thumbnail.

    Args:
        found: The photographs.
        size_of: Reads a header.
    """
    indices: Sequence[int] = range(len(found))
    if len(indices) > _MOST_OPENED:
        indices = sorted(random.Random(0).sample(indices, _MOST_OPENED))
    return PhotoSizes(len(found), {index: size_of(found[index]) for index in indices})
