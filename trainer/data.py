"""A folder of HR photographs -> batches of LR and HR crops.

Photographs are decoded once and kept as uint8 in memory; LR versions are made once per photograph. What is
drawn depends only on the generator, so that a continued run draws what an unbroken one would have drawn.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from upscaler import stills
from upscaler.errors import TrainingError, UpscalerError
from upscaler.jobs import PICTURE_SUFFIXES
from upscaler.trainer.degrade import reduce

# Of every four crops drawn the flattest one is not used: it teaches nothing.
_DRAWN_PER_USED = 4 / 3


@dataclass(frozen=True)
class Pair:
    """One photograph twice: ``low`` ``(h, w, 3)`` and ``high`` ``(h*scale, w*scale, 3)``, RGB uint8."""

    name: str
    low: Tensor
    high: Tensor


@dataclass(frozen=True)
class Photos:
    """What was found in the folders.

    Attributes:
        training: Pairs to draw crops from.
        held_out: Pairs never drawn from, for validation.
        left_out: ``name: reason`` for every file that cannot be used.
    """

    training: list[Pair]
    held_out: list[Pair]
    left_out: list[str]

    def fingerprint(self) -> int:
        """A number that changes when a photograph is added, removed, renamed or resized."""
        known = [(pair.name, *pair.high.shape) for pair in (*self.training, *self.held_out)]
        return zlib.crc32(repr(known).encode())


def load_photos(
    folders: tuple[str, ...], scale: int, patch_px: int, on_photo: Callable[[int, int], None] | None = None
) -> Photos:
    """Decode every photograph and make its LR version.

    Args:
        folders: Folders, searched recursively, or single files.
        scale: HR size over LR size.
        patch_px: Smallest LR side that is of use.
        on_photo: Called with (done, total) after each file.

    Raises:
        TrainingError: A folder is missing, or fewer than two photographs are left.
    """
    paths = _find(folders)
    pairs: list[Pair] = []
    left_out: list[str] = []
    for index, path in enumerate(paths):
        try:
            pairs.append(_pair(path, scale, patch_px))
        except UpscalerError as error:
            left_out.append(f"{path.name}: {error.message}")
        if on_photo:
            on_photo(index + 1, len(paths))
    if len(pairs) < 2:
        reasons = f"; {len(left_out)} left out, the first is {left_out[0]}" if left_out else ""
        raise TrainingError(
            f"only {len(pairs)} usable photographs in {', '.join(folders)}{reasons}",
            f"training needs at least two, each at least {patch_px * scale} pixels high and wide",
        )
    # About 2 % held out, evenly spread, so that every part of a sorted folder is represented.
    every = max(2, len(pairs) // min(16, max(1, len(pairs) // 50)))
    return Photos(
        training=[pair for index, pair in enumerate(pairs) if index % every != every - 1],
        held_out=[pair for index, pair in enumerate(pairs) if index % every == every - 1],
        left_out=left_out,
    )


def _find(folders: tuple[str, ...]) -> list[Path]:
    paths: list[Path] = []
    for folder in map(Path, folders):
        if folder.is_file():
            paths.append(folder)
        elif folder.is_dir():
            found = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
            paths += sorted(path for path in found if path.is_file())
        else:
            raise TrainingError(f"no folder '{folder}'", "name a folder with photographs")
    # A photograph named twice, or by way of two folders, must not be both trained on and held out.
    return list({path.resolve(): path for path in paths}.values())


def _pair(path: Path, scale: int, patch_px: int) -> Pair:
    pixels = stills.read_rgb8(path)
    height, width = (side - side % scale for side in pixels.shape[:2])
    if min(height, width) < patch_px * scale:
        raise TrainingError(f"{pixels.shape[1]}x{pixels.shape[0]} is smaller than a crop")
    high = torch.from_numpy(pixels[:height, :width].copy())
    low = reduce(high.permute(2, 0, 1).unsqueeze(0), scale)
    return Pair(path.name, low.squeeze(0).permute(1, 2, 0).contiguous(), high)


class Crops:
    """Draws batches of augmented crops.

    Args:
        pairs: Photographs to draw from, each with a chance proportional to its area.
        scale: HR size over LR size.
        seed: Of the generator.
    """

    def __init__(self, pairs: list[Pair], scale: int, seed: int) -> None:
        self.pairs = pairs
        self.scale = scale
        self.generator = torch.Generator().manual_seed(seed)
        self._areas = torch.tensor([pair.low.shape[0] * pair.low.shape[1] for pair in pairs]).float()

    def draw(self, batch: int, patch_px: int) -> tuple[Tensor, Tensor]:
        """Draw crops, leave out the flattest quarter, turn and mirror the rest.

        Returns:
            LR ``(batch, 3, p, p)`` and HR ``(batch, 3, p*scale, p*scale)``, RGB fp32 in [0, 1],
            channels_last.
        """
        places = self._places(round(batch * _DRAWN_PER_USED), patch_px)
        lows = torch.stack([self._cut(place, patch_px)[0] for place in places])  # (N, p, p, 3)
        used = _roughness(lows).argsort(descending=True)[:batch].sort().values.tolist()
        turns = torch.randint(8, (batch,), generator=self.generator).tolist()
        pairs = [
            [_turned(crop, turn) for crop in self._cut(places[index], patch_px)]
            for index, turn in zip(used, turns, strict=True)
        ]
        return _stacked([low for low, _ in pairs]), _stacked([high for _, high in pairs])

    def _places(self, count: int, patch_px: int) -> list[tuple[int, int, int]]:
        photos = torch.multinomial(self._areas, count, replacement=True, generator=self.generator).tolist()
        shares = torch.rand(count, 2, generator=self.generator, dtype=torch.float64).tolist()
        places = []
        for photo, (down, right) in zip(photos, shares, strict=True):
            height, width = self.pairs[photo].low.shape[:2]
            places.append((photo, int(down * (height - patch_px + 1)), int(right * (width - patch_px + 1))))
        return places

    def _cut(self, place: tuple[int, int, int], patch_px: int) -> tuple[Tensor, Tensor]:
        photo, top, left = place
        pair, scale = self.pairs[photo], self.scale
        low = pair.low[top : top + patch_px, left : left + patch_px]
        high = pair.high[top * scale : (top + patch_px) * scale, left * scale : (left + patch_px) * scale]
        return low, high


def _roughness(crops: Tensor) -> Tensor:
    """Mean absolute step between neighbouring pixels, ``(N, p, p, 3)`` uint8 -> ``(N,)``."""
    values = crops.float().mean(-1)
    return values.diff(dim=1).abs().mean((1, 2)) + values.diff(dim=2).abs().mean((1, 2))


def _turned(crop: Tensor, turn: int) -> Tensor:
    """One of the eight symmetries of the square, ``(p, p, 3)``."""
    crop = torch.rot90(crop, turn % 4, (0, 1))
    return crop.flip(1) if turn >= 4 else crop


def _stacked(crops: list[Tensor]) -> Tensor:
    return torch.stack(crops).permute(0, 3, 1, 2).float().div_(255)
