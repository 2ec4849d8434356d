"""Decoded photographs, in memory or on a GPU, and how crops are cut from them."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from upscaler.inference import devices
from upscaler.trainer.data.photo_pairs import PhotoPair

# Share of a GPU's free memory that photographs may take.
_DEVICE_SHARE = 0.4


@dataclass(frozen=True)
class CropCoordinates:
    """Where the crops of a batch come from; every field is ``(N,)`` int64, all on one device.

    Attributes:
        photo: Index of the photograph.
        top: First row, LR pixels; beyond the border of the photograph, its edge repeats.
        left: First column, likewise.
        symmetry: One of the eight symmetries of the square, 0 to 7.
        variant: LR version: 0 is ``PhotoPair.lr``, from 1 on ``PhotoPair.lr_variants``.
    """

    photo: Tensor
    top: Tensor
    left: Tensor
    symmetry: Tensor
    variant: Tensor

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """The fields, in order."""
        return self.photo, self.top, self.left, self.symmetry, self.variant

    def __getitem__(self, chosen: Tensor) -> "CropCoordinates":
        return CropCoordinates(*(column[chosen] for column in self.columns))

    def to(self, device: torch.device) -> "CropCoordinates":
        """The coordinates on another device, in one transfer."""
        return CropCoordinates(*torch.stack(self.columns).to(device, non_blocking=True).unbind())


class CropStore(Protocol):
    """Holds photographs and cuts crops from them.

    Attributes:
        device: Where the photographs are, and coordinates and crops are expected.
    """

    device: torch.device

    def cut(self, coordinates: CropCoordinates, side_px: int) -> tuple[Tensor, Tensor]:
        """LR ``(N, C, side_px, side_px)`` and HR ``(N, C, side_px*scale, side_px*scale)``, RGB uint8.

        C is 3, of clips 3 times the number of their frames.
        """

    def cut_lr(self, coordinates: CropCoordinates, side_px: int) -> Tensor:
        """The LR crops of ``cut``."""


def crop_store(pairs: list[PhotoPair], scale: int, device: torch.device) -> CropStore:
    """A store on the device if it is a GPU with enough memory for the photographs, else in main memory."""
    images = (image for pair in pairs for image in (pair.lr, pair.hr, *pair.lr_variants))
    size_bytes = sum(image.numel() for image in images)
    if device.type != "cpu" and size_bytes < _DEVICE_SHARE * devices.free_memory_bytes(device):
        return DeviceStore(pairs, scale, device)
    return MemoryStore(pairs, scale)


def _rotated(crop: Tensor, symmetry: int) -> Tensor:
    """A square ``(p, p, ...)`` under one of its eight symmetries."""
    crop = torch.rot90(crop, symmetry % 4, (0, 1))
    return crop.flip(1) if symmetry >= 4 else crop


class MemoryStore:
    """Cuts crops from photographs in memory, one at a time; see ``CropStore``."""

    device = torch.device("cpu")

    def __init__(self, pairs: list[PhotoPair], scale: int) -> None:
        self._hr = [pair.hr for pair in pairs]
        self._lr = [(pair.lr, *pair.lr_variants) for pair in pairs]
        self._scale = scale

    def cut(self, coordinates: CropCoordinates, side_px: int) -> tuple[Tensor, Tensor]:
        """See ``CropStore``."""
        hr = [
            _rotated(_square(self._hr[photo], top, left, side_px, self._scale), symmetry)
            for photo, top, left, symmetry, _ in _rows(coordinates)
        ]
        return self.cut_lr(coordinates, side_px), torch.stack(hr).permute(0, 3, 1, 2)

    def cut_lr(self, coordinates: CropCoordinates, side_px: int) -> Tensor:
        """See ``CropStore``."""
        lr = [
            _rotated(_square(self._lr[photo][variant], top, left, side_px, 1), symmetry)
            for photo, top, left, symmetry, variant in _rows(coordinates)
        ]
        return torch.stack(lr).permute(0, 3, 1, 2)


def _rows(coordinates: CropCoordinates) -> list[list[int]]:
    """``[photo, top, left, symmetry, variant]`` of each crop."""
    rows: list[list[int]] = torch.stack(coordinates.columns, 1).tolist()
    return rows


def _square(image: Tensor, top: int, left: int, side_px: int, scale: int) -> Tensor:
    """A square of ``(H, W, C)``; position and side in LR pixels."""
    for axis, start in enumerate((top * scale, left * scale)):
        length, side = image.shape[axis], side_px * scale
        if 0 <= start <= length - side:
            image = image.narrow(axis, start, side)
        else:
            inside = torch.arange(start, start + side).clamp_(0, length - 1)
            image = image.index_select(axis, inside)
    return image


class DeviceStore:
    """Cuts all crops of a batch at once, from photographs on a GPU; see ``CropStore``."""

    def __init__(self, pairs: list[PhotoPair], scale: int, device: torch.device) -> None:
        self.device = device
        self._scale = scale
        self._hr = _Pixels([pair.hr for pair in pairs], device)
        self._lr = _Pixels([side for pair in pairs for side in (pair.lr, *pair.lr_variants)], device)
        variants = torch.tensor([1 + len(pair.lr_variants) for pair in pairs])
        self._first_lr = (variants.cumsum(0) - variants).to(device)

    def cut(self, coordinates: CropCoordinates, side_px: int) -> tuple[Tensor, Tensor]:
        """See ``CropStore``."""
        return self.cut_lr(coordinates, side_px), self._hr.squares(
            coordinates.photo, coordinates, side_px, self._scale
        )

    def cut_lr(self, coordinates: CropCoordinates, side_px: int) -> Tensor:
        """See ``CropStore``."""
        return self._lr.squares(
            self._first_lr[coordinates.photo] + coordinates.variant, coordinates, side_px, 1
        )


class _Pixels:
    """Images of different sizes and C channels as one tensor of pixels, ``(N, C)`` uint8."""

    def __init__(self, images: list[Tensor], device: torch.device) -> None:
        sizes = torch.tensor([image.shape[:2] for image in images])
        areas = sizes.prod(1)
        self._heights, self._widths = (side.to(device) for side in sizes.unbind(1))
        self._starts = (areas.cumsum(0) - areas).to(device)
        channels = images[0].shape[2]
        self._pixels = torch.empty(int(areas.sum()), channels, dtype=torch.uint8, device=device)
        for image, start in zip(images, (areas.cumsum(0) - areas).tolist(), strict=True):
            self._pixels[start : start + image.shape[0] * image.shape[1]].copy_(image.reshape(-1, channels))

    def squares(self, indices: Tensor, coordinates: CropCoordinates, side_px: int, scale: int) -> Tensor:
        """Squares of ``side_px`` LR pixels from the images of these indices, ``(B, C, side, side)``."""
        side = side_px * scale
        plain = torch.arange(side * side, device=self._pixels.device).view(side, side)
        symmetries = torch.stack([_rotated(plain, symmetry) for symmetry in range(8)])
        rotated = symmetries[coordinates.symmetry]  # (B, side, side)
        last_row, last_column = (
            (lengths[indices] - 1).view(-1, 1, 1) for lengths in (self._heights, self._widths)
        )
        rows = (coordinates.top * scale).view(-1, 1, 1) + rotated // side
        columns = (coordinates.left * scale).view(-1, 1, 1) + rotated % side
        rows, columns = rows.clamp(min=0).minimum(last_row), columns.clamp(min=0).minimum(last_column)
        where = self._starts[indices].view(-1, 1, 1) + rows * (last_column + 1) + columns
        return self._pixels[where].permute(0, 3, 1, 2)
