"""A folder of HR photographs -> batches of LR and HR crops.

Photographs are decoded once and kept as uint8 in memory, with their clean LR versions; other degradations are
made of the crops as they are drawn, or (coded video) once per photograph. What is drawn depends only on the
generator, so that a continued run draws what an unbroken one would have drawn.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from upscaler import stills
from upscaler.errors import TrainingError, UpscalerError
from upscaler.jobs import PICTURE_SUFFIXES
from upscaler.trainer import degrade, h264
from upscaler.trainer.degrade import reduce

# Of every four crops drawn the flattest one is not used: it teaches nothing.
_DRAWN_PER_USED = 4 / 3

# LR pixels around a crop that is degraded as it is drawn: so that the grid of JPEG's 8-pixel blocks can lie
# anywhere over it.
_MARGIN_PX = 8

# Films coded per photograph for `video`; each has its own quality and motion.
_FILMS = 3

# What held-out photographs are degraded with, whatever the seed of the run: scores stay comparable.
_HELD_OUT_SEED = 20_160_915


@dataclass(frozen=True)
class Pair:
    """One photograph twice: ``low`` ``(h, w, 3)`` and ``high`` ``(h*scale, w*scale, 3)``, RGB uint8.

    ``damaged`` are versions of ``low`` that were prepared, to be drawn from instead.
    """

    name: str
    low: Tensor
    high: Tensor
    damaged: tuple[Tensor, ...] = ()


@dataclass(frozen=True)
class Photos:
    """What was found in the folders.

    Attributes:
        training: Pairs to draw crops from.
        held_out: Pairs never drawn from, for validation; degraded as the training is.
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
    folders: tuple[str, ...],
    scale: int,
    patch_px: int,
    on_photo: Callable[[int, int], None] | None = None,
    degradation: str = "clean",
) -> Photos:
    """Decode every photograph and make its LR version.

    Args:
        folders: Folders, searched recursively, or single files.
        scale: HR size over LR size.
        patch_px: Smallest LR side that is of use.
        on_photo: Called with (done, total) after each file.
        degradation: As in ``degrade.parse``.

    Raises:
        TrainingError: A folder is missing, or fewer than two photographs are left.
    """
    paths = _find(folders)
    pairs: list[Pair] = []
    left_out: list[str] = []
    for index, path in enumerate(paths):
        try:
            pair = _pair(path, scale, patch_px)
            pairs.append(_filmed(pair, scale) if degradation == "video" else pair)
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
        held_out=[
            _degraded(pair, scale, degradation)
            for index, pair in enumerate(pairs)
            if index % every == every - 1
        ],
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


def _filmed(pair: Pair, scale: int) -> Pair:
    """With versions out of coded films, which are those of this name whatever else is in the folder."""
    generator = Generator().manual_seed(zlib.crc32(pair.name.encode()))
    films = h264.versions(pair.high.permute(2, 0, 1), scale, _FILMS, generator)
    return replace(pair, damaged=tuple(films))


def _degraded(pair: Pair, scale: int, degradation: str) -> Pair:
    """With the LR version that the network will be judged by, the same in every run."""
    if pair.damaged:
        return replace(pair, low=pair.damaged[0])
    damage = degrade.parse(degradation).damage
    if damage is None:
        return pair
    generator = Generator().manual_seed(_HELD_OUT_SEED + zlib.crc32(pair.name.encode()))
    low = damage(pair.high.permute(2, 0, 1).unsqueeze(0), scale, generator)[0]
    return replace(pair, low=low.permute(1, 2, 0).contiguous())


class Crops:
    """Draws batches of augmented crops.

    Args:
        pairs: Photographs to draw from, each with a chance proportional to its area.
        scale: HR size over LR size.
        seed: Of the generator.
        degradation: As in ``degrade.parse``.
        place: Where crops are degraded and delivered; ``None``: on the processor.
    """

    def __init__(
        self,
        pairs: list[Pair],
        scale: int,
        seed: int,
        degradation: str = "clean",
        place: torch.device | None = None,
    ) -> None:
        self.pairs = pairs
        self.scale = scale
        self.generator = Generator().manual_seed(seed)
        self.place = place or torch.device("cpu")
        self._damage = degrade.parse(degradation).damage
        self._areas = torch.tensor([pair.low.shape[0] * pair.low.shape[1] for pair in pairs]).float()

    def draw(self, batch: int, patch_px: int) -> tuple[Tensor, Tensor]:
        """Draw crops, leave out the flattest quarter, turn and mirror the rest, degrade them.

        Returns:
            LR ``(batch, 3, p, p)`` and HR ``(batch, 3, p*scale, p*scale)``, RGB fp32 in [0, 1],
            channels_last.
        """
        places = self._places(round(batch * _DRAWN_PER_USED), patch_px)
        lows = torch.stack([self._cut(place, patch_px)[0] for place in places])  # (N, p, p, 3)
        used = _roughness(lows).argsort(descending=True)[:batch].sort().values.tolist()
        turns = torch.randint(8, (batch,), generator=self.generator).tolist()
        chosen = [(places[index], turn) for index, turn in zip(used, turns, strict=True)]
        if self._damage is not None:
            return self._damaged(chosen, patch_px)
        pairs = [[_turned(crop, turn) for crop in self._given(place, patch_px)] for place, turn in chosen]
        low, high = (torch.stack(side).permute(0, 3, 1, 2) for side in zip(*pairs, strict=True))
        return self._delivered(low), self._delivered(high)

    def _given(self, place: tuple[int, int, int], patch_px: int) -> tuple[Tensor, Tensor]:
        """The crop at a place, LR out of any of the versions that were prepared."""
        low, high = self._cut(place, patch_px)
        photo, top, left = place
        versions = self.pairs[photo].damaged
        if versions:
            version = versions[int(torch.randint(len(versions), (1,), generator=self.generator))]
            low = version[top : top + patch_px, left : left + patch_px]
        return low, high

    def _damaged(
        self, chosen: list[tuple[tuple[int, int, int], int]], patch_px: int
    ) -> tuple[Tensor, Tensor]:
        """Crops degraded with what is around them, then cut to size anywhere in it."""
        assert self._damage is not None, "else they are cut from what was prepared"
        around = [_turned(self._around(place, patch_px + _MARGIN_PX), turn) for place, turn in chosen]
        high = torch.stack(around).to(self.place, non_blocking=True).permute(0, 3, 1, 2)
        low = self._damage(high, self.scale, self.generator)
        corners = torch.randint(_MARGIN_PX, (len(chosen), 2), generator=self.generator).tolist()
        return tuple(  # type: ignore[return-value]  # of two
            self._delivered(
                torch.stack(
                    [
                        side[index, :, top * by : (top + patch_px) * by, left * by : (left + patch_px) * by]
                        for index, (top, left) in enumerate(corners)
                    ]
                )
            )
            for side, by in ((low, 1), (high, self.scale))
        )

    def _around(self, place: tuple[int, int, int], side_px: int) -> Tensor:
        """HR pixels of a square of so many LR pixels around a place.

        It lies inside the photograph if that is so large; else the photograph's edges repeat.
        """
        photo, *corner = place
        high = self.pairs[photo].high
        for axis, start in enumerate(corner):
            length = high.shape[axis] // self.scale
            first = (length - side_px) // 2 if length < side_px else min(start, length - side_px)
            indices = torch.arange(first * self.scale, (first + side_px) * self.scale)
            inside = 0 <= first <= length - side_px
            high = (
                high.narrow(axis, first * self.scale, len(indices))
                if inside
                else high.index_select(axis, indices.clamp_(0, high.shape[axis] - 1))
            )
        return high

    def _delivered(self, crops: Tensor) -> Tensor:
        """``(B, 3, h, w)`` uint8 -> fp32 in [0, 1], channels_last, on the device."""
        crops = crops.to(self.place, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return crops.float().div_(255)

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
