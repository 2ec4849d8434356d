"""Pairs of photographs -> batches of LR and HR crops, rotated, degraded and on the device.

What is drawn depends only on the generator, so that a continued run draws what an unbroken one would have
drawn.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from upscaler.inference import devices
from upscaler.trainer.data.photos import PhotoPair
from upscaler.trainer.degrade import degradations

# LR pixels around a crop that is degraded as it is drawn: so that the grid of JPEG's 8-pixel blocks can lie
# anywhere over it.
_MARGIN_PX = 8

# Share of a GPU's free memory that photographs may take.
_DEVICE_SHARE = 0.4


@dataclass(frozen=True)
class CropCoordinates:
    """Where the crops of a batch are taken from; every field ``(N,)`` int64, all on one device.

    Attributes:
        photo: Number of the pair.
        top: First row, LR pixels; what lies outside the photograph repeats its edge.
        left: First column, likewise.
        symmetry: Which of the eight symmetries of the square is applied.
        variant: Which LR variant: 0 is ``lr``, from 1 on those that were prepared.
    """

    photo: Tensor
    top: Tensor
    left: Tensor
    symmetry: Tensor
    variant: Tensor

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """The fields in their order."""
        return self.photo, self.top, self.left, self.symmetry, self.variant

    def __getitem__(self, chosen: Tensor) -> "CropCoordinates":
        return CropCoordinates(*(column[chosen] for column in self.columns))

    def to(self, device: torch.device) -> "CropCoordinates":
        """The same on a device, in one transfer."""
        return CropCoordinates(*torch.stack(self.columns).to(device, non_blocking=True).unbind())


@dataclass(frozen=True)
class _Drawn:
    """A batch as ``Crops.draw`` returns it, and the state of the generator after it."""

    lr: Tensor
    hr: Tensor
    state: Tensor


@dataclass(frozen=True)
class _Ahead:
    """A batch that is being drawn ahead, and what it was drawn for."""

    state: Tensor
    batch: int
    patch_px: int
    drawn: Future[_Drawn]

    def is_for(self, state: Tensor, batch: int, patch_px: int) -> bool:
        return (batch, patch_px) == (self.batch, self.patch_px) and torch.equal(state, self.state)


class Crops:
    """Draws batches of augmented crops.

    Args:
        pairs: Photographs to draw from, each with a chance proportional to its area.
        scale: HR size over LR size.
        seed: Of the generator.
        degradation: As in ``degrade.parse``.
        device: Where crops are degraded and delivered; ``None``: on the processor. On a GPU the photographs
            are kept there too if they fit.
        flat_crop_drop_ratio: Share of the crops drawn that is left out, the flattest; at least 0, below 1.
        given_share: Share of the crops from pairs whose LR side is given, where there are others too.

    Attributes:
        generator: Decides everything that is drawn.
        drawing_s: Seconds spent in ``draw`` so far: those that the training waited.
    """

    def __init__(
        self,
        pairs: list[PhotoPair],
        scale: int,
        seed: int,
        degradation: str = "clean",
        device: torch.device | None = None,
        flat_crop_drop_ratio: float = 0.25,
        given_share: float = 0.5,
    ) -> None:
        self.pairs = pairs
        self.scale = scale
        self.generator = Generator().manual_seed(seed)
        self.drawing_s = 0.0
        self._device = device or torch.device("cpu")
        self._drawn_per_used = 1 / (1 - flat_crop_drop_ratio)
        self._degrade = degradations.parse(degradation).degrade
        self._ahead: _Ahead | None = None
        on_device = self._device.type != "cpu" and _fit(pairs, self._device)
        self._source = OnDevice(pairs, scale, self._device) if on_device else OnProcessor(pairs, scale)
        # On a GPU there is little to do, and a second thread would hold up the first.
        self._worker = None if on_device else ThreadPoolExecutor(1, "crops")
        sizes = torch.tensor([pair.lr.shape[:2] for pair in pairs])
        given = torch.tensor([pair.given for pair in pairs])
        self._areas = _shared(sizes.prod(1).float(), given, given_share)
        self._given_on_device = given.to(self._source.device)
        self._heights, self._widths = sizes.unbind(1)
        self._sizes_on_device = sizes.to(self._source.device)
        self._variants = 1 + len(pairs[0].lr_variants)

    def draw(self, batch: int, patch_px: int) -> tuple[Tensor, Tensor]:
        """Draw crops, leave out the flattest, rotate and mirror the rest, degrade them.

        Where photographs are cut on the processor, the next batch of the same shape is drawn while the
        network works on this one. That changes nothing: ``generator`` is always where the batches handed out
        have left it.

        Returns:
            LR ``(batch, 3, p, p)`` and HR ``(batch, 3, p*scale, p*scale)``, RGB fp32 in [0, 1],
            channels_last.
        """
        began = time.monotonic()
        state = self.generator.get_state()
        if self._worker is None:
            drawn = self._drawn(state, batch, patch_px)
        elif self._ahead is not None and self._ahead.is_for(state, batch, patch_px):
            drawn = self._ahead.drawn.result()
        else:
            drawn = self._worker.submit(self._drawn, state, batch, patch_px).result()
        self.generator.set_state(drawn.state)
        if self._worker is not None:
            ahead = self._worker.submit(self._drawn, drawn.state, batch, patch_px)
            self._ahead = _Ahead(drawn.state, batch, patch_px, ahead)
        self.drawing_s += time.monotonic() - began
        return drawn.lr, drawn.hr

    def _drawn(self, state: Tensor, batch: int, patch_px: int) -> _Drawn:
        """A batch from this state of the generator on, and the state after it."""
        generator = Generator()
        generator.set_state(state)
        coordinates = self._chosen(generator, batch, patch_px)
        if self._degrade is None:
            lr, hr = self._source.cut(coordinates, patch_px)
        else:
            lr, hr = self._degraded(generator, coordinates, patch_px)
        return _Drawn(self._delivered(lr), self._delivered(hr), generator.get_state())

    def _chosen(self, generator: Generator, batch: int, patch_px: int) -> CropCoordinates:
        """The roughest of what is drawn, where the photographs are; a GPU is not waited for."""
        coordinates = self._coordinates(generator, round(batch * self._drawn_per_used), patch_px)
        symmetry = torch.randint(8, (batch,), generator=generator)
        variant = torch.zeros_like(symmetry)
        if self._variants > 1:
            shares = torch.rand(batch, generator=generator)
            variant = 1 + (shares * (self._variants - 1)).long()
        symmetry, variant = torch.stack([symmetry, variant]).to(self._source.device, non_blocking=True)
        coordinates = coordinates.to(self._source.device)
        rough = _roughness(self._source.cut_lr(coordinates, patch_px))
        used = rough.argsort(descending=True, stable=True)[:batch].sort().values
        return replace(coordinates[used], symmetry=symmetry, variant=variant)

    def _coordinates(self, generator: Generator, count: int, patch_px: int) -> CropCoordinates:
        photo = torch.multinomial(self._areas, count, replacement=True, generator=generator)
        down, right = torch.rand(count, 2, generator=generator, dtype=torch.float64).unbind(1)
        top = (down * (self._heights[photo] - patch_px + 1)).long()
        left = (right * (self._widths[photo] - patch_px + 1)).long()
        upright = torch.zeros_like(photo)
        return CropCoordinates(photo, top, left, symmetry=upright, variant=upright)

    def _degraded(
        self, generator: Generator, coordinates: CropCoordinates, patch_px: int
    ) -> tuple[Tensor, Tensor]:
        """Crops degraded with what is around them, then cut to size anywhere in it."""
        assert self._degrade is not None, "else they are cut from what was prepared"
        wide_px = patch_px + _MARGIN_PX
        heights, widths = self._sizes_on_device[coordinates.photo].unbind(1)
        top, left = _inside(coordinates.top, wide_px, heights), _inside(coordinates.left, wide_px, widths)
        around = self._source.cut(replace(coordinates, top=top, left=left), wide_px)
        lr, hr = (side.to(self._device, non_blocking=True) for side in around)
        degraded, hr = self._degrade(lr, hr, self.scale, generator)
        given = self._given_on_device[coordinates.photo].to(self._device).view(-1, 1, 1, 1)
        lr = torch.where(given, lr, degraded)
        corners = torch.randint(_MARGIN_PX, (len(lr), 2), generator=generator).tolist()
        return _windows(lr, corners, patch_px, 1), _windows(hr, corners, patch_px, self.scale)

    def _delivered(self, crops: Tensor) -> Tensor:
        """``(B, 3, h, w)`` uint8 -> fp32 in [0, 1], channels_last, on the device."""
        crops = crops.to(self._device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return crops.float().div_(255)


def _shared(areas: Tensor, given: Tensor, given_share: float) -> Tensor:
    """Chances of the pairs, ``(N,)``: by area among those that are given, and among the others."""
    if not given.any() or given.all():
        return areas
    own, others = areas * given, areas * ~given
    return given_share * own / own.sum() + (1 - given_share) * others / others.sum()


def _inside(start: Tensor, side_px: int, length: Tensor) -> Tensor:
    """Where longer spans with these starts in them begin: in the photograph, or centred on a smaller one."""
    room = length - side_px
    return torch.where(room >= 0, start.minimum(room), room.div(2, rounding_mode="floor"))


def _windows(batch: Tensor, corners: list[list[int]], patch_px: int, scale: int) -> Tensor:
    """The square at each picture's own corner, ``(B, 3, h, w)`` -> ``(B, 3, p*scale, p*scale)``."""
    side = patch_px * scale
    squares = [
        picture[top * scale : top * scale + side, left * scale : left * scale + side]
        for picture, (top, left) in zip(batch.permute(0, 2, 3, 1), corners, strict=True)
    ]
    return torch.stack(squares).permute(0, 3, 1, 2)  # as pixels lie in memory: half the time


def _roughness(crops: Tensor) -> Tensor:
    """Sum of the steps between neighbouring pixels, ``(N, 3, p, p)`` uint8 -> ``(N,)``, in whole numbers.

    So it is the same on every device, and so are the crops chosen by it.
    """
    red, green, blue = crops.to(torch.int16).unbind(1)
    grey = red + green + blue
    return grey.diff(dim=1).abs().sum((1, 2)) + grey.diff(dim=2).abs().sum((1, 2))


def _rotated(crop: Tensor, symmetry: int) -> Tensor:
    """One of the eight symmetries of the square, ``(p, p, ...)``."""
    crop = torch.rot90(crop, symmetry % 4, (0, 1))
    return crop.flip(1) if symmetry >= 4 else crop


class OnProcessor:
    """Cuts crops out of photographs in memory, one after the other."""

    device = torch.device("cpu")

    def __init__(self, pairs: list[PhotoPair], scale: int) -> None:
        self._hr = [pair.hr for pair in pairs]
        self._lr = [(pair.lr, *pair.lr_variants) for pair in pairs]
        self._scale = scale

    def cut(self, coordinates: CropCoordinates, side_px: int) -> tuple[Tensor, Tensor]:
        """LR ``(B, 3, side_px, side_px)`` and HR ``(B, 3, side_px*scale, side_px*scale)``, uint8."""
        hr = [
            _rotated(_square(self._hr[photo], top, left, side_px, self._scale), symmetry)
            for photo, top, left, symmetry, _ in _rows(coordinates)
        ]
        return self.cut_lr(coordinates, side_px), torch.stack(hr).permute(0, 3, 1, 2)

    def cut_lr(self, coordinates: CropCoordinates, side_px: int) -> Tensor:
        """The LR side of ``cut``."""
        lr = [
            _rotated(_square(self._lr[photo][variant], top, left, side_px, 1), symmetry)
            for photo, top, left, symmetry, variant in _rows(coordinates)
        ]
        return torch.stack(lr).permute(0, 3, 1, 2)


def _rows(coordinates: CropCoordinates) -> list[list[int]]:
    """Photo, top, left, symmetry and variant of each crop."""
    rows: list[list[int]] = torch.stack(coordinates.columns, 1).tolist()
    return rows


def _square(picture: Tensor, top: int, left: int, side_px: int, scale: int) -> Tensor:
    for axis, start in enumerate((top * scale, left * scale)):
        length, side = picture.shape[axis], side_px * scale
        if 0 <= start <= length - side:
            picture = picture.narrow(axis, start, side)
        else:
            inside = torch.arange(start, start + side).clamp_(0, length - 1)
            picture = picture.index_select(axis, inside)
    return picture


def _fit(pairs: list[PhotoPair], device: torch.device) -> bool:
    sides = (side for pair in pairs for side in (pair.lr, pair.hr, *pair.lr_variants))
    return sum(side.numel() for side in sides) < _DEVICE_SHARE * devices.free_memory_bytes(device)


class OnDevice:
    """Cuts crops out of photographs that lie on the device as rows of pixels, all of a batch in one step."""

    def __init__(self, pairs: list[PhotoPair], scale: int, device: torch.device) -> None:
        self.device = device
        self._scale = scale
        self._hr = _Pixels([pair.hr for pair in pairs], device)
        self._lr = _Pixels([side for pair in pairs for side in (pair.lr, *pair.lr_variants)], device)
        variants = torch.tensor([1 + len(pair.lr_variants) for pair in pairs])
        self._first_lr = (variants.cumsum(0) - variants).to(device)

    def cut(self, coordinates: CropCoordinates, side_px: int) -> tuple[Tensor, Tensor]:
        """As ``OnProcessor.cut``, on the device, from coordinates there."""
        return self.cut_lr(coordinates, side_px), self._hr.squares(
            coordinates.photo, coordinates, side_px, self._scale
        )

    def cut_lr(self, coordinates: CropCoordinates, side_px: int) -> Tensor:
        """The LR side of ``cut``."""
        return self._lr.squares(
            self._first_lr[coordinates.photo] + coordinates.variant, coordinates, side_px, 1
        )


class _Pixels:
    """Pictures as one long row of pixels."""

    def __init__(self, pictures: list[Tensor], device: torch.device) -> None:
        sizes = torch.tensor([picture.shape[:2] for picture in pictures])
        areas = sizes.prod(1)
        self._heights, self._widths = (side.to(device) for side in sizes.unbind(1))
        self._starts = (areas.cumsum(0) - areas).to(device)
        self._pixels = torch.empty(int(areas.sum()), 3, dtype=torch.uint8, device=device)
        for picture, start in zip(pictures, (areas.cumsum(0) - areas).tolist(), strict=True):
            self._pixels[start : start + picture.shape[0] * picture.shape[1]].copy_(picture.reshape(-1, 3))

    def squares(self, numbers: Tensor, coordinates: CropCoordinates, side_px: int, scale: int) -> Tensor:
        """Squares of so many LR pixels of the numbered pictures at their coordinates, rotated."""
        side = side_px * scale
        plain = torch.arange(side * side, device=self._pixels.device).view(side, side)
        rotated = torch.stack([_rotated(plain, symmetry) for symmetry in range(8)])[
            coordinates.symmetry
        ]  # (B, side, side)
        last_row, last_column = (
            (lengths[numbers] - 1).view(-1, 1, 1) for lengths in (self._heights, self._widths)
        )
        rows = (coordinates.top * scale).view(-1, 1, 1) + rotated // side
        columns = (coordinates.left * scale).view(-1, 1, 1) + rotated % side
        rows, columns = rows.clamp(min=0).minimum(last_row), columns.clamp(min=0).minimum(last_column)
        where = self._starts[numbers].view(-1, 1, 1) + rows * (last_column + 1) + columns
        return self._pixels[where].permute(0, 3, 1, 2)
