"""Pairs of photographs -> batches of LR and HR crops, turned, degraded and on the device.

What is drawn depends only on the generator, so that a continued run draws what an unbroken one would have
drawn.
"""

import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from upscaler.inference import devices
from upscaler.trainer.data.photos import Pair
from upscaler.trainer.degrade import degradations

# LR pixels around a crop that is degraded as it is drawn: so that the grid of JPEG's 8-pixel blocks can lie
# anywhere over it.
_MARGIN_PX = 8

# Share of a GPU's free memory that photographs may take.
_DEVICE_SHARE = 0.4


@dataclass(frozen=True)
class Places:
    """Where the crops of a batch are taken from; every field ``(N,)`` int64, all on one device.

    Attributes:
        photo: Number of the pair.
        top: First row, LR pixels; what lies outside the photograph repeats its edge.
        left: First column, likewise.
        turn: Which of the eight symmetries of the square is applied.
        version: Which LR version: 0 is ``low``, from 1 on those that were prepared.
    """

    photo: Tensor
    top: Tensor
    left: Tensor
    turn: Tensor
    version: Tensor

    @property
    def columns(self) -> tuple[Tensor, ...]:
        """The fields in their order."""
        return self.photo, self.top, self.left, self.turn, self.version

    def __getitem__(self, chosen: Tensor) -> "Places":
        return Places(*(column[chosen] for column in self.columns))

    def to(self, place: torch.device) -> "Places":
        """The same on a device, in one transfer."""
        return Places(*torch.stack(self.columns).to(place, non_blocking=True).unbind())


@dataclass(frozen=True)
class _Drawn:
    """A batch as ``Crops.draw`` returns it, and the state of the generator after it."""

    low: Tensor
    high: Tensor
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
        place: Where crops are degraded and delivered; ``None``: on the processor. On a GPU the photographs
            are kept there too if they fit.
        flat_crop_drop_ratio: Share of the crops drawn that is left out, the flattest; at least 0, below 1.

    Attributes:
        generator: Decides everything that is drawn.
        drawing_s: Seconds spent in ``draw`` so far: those that the training waited.
    """

    def __init__(
        self,
        pairs: list[Pair],
        scale: int,
        seed: int,
        degradation: str = "clean",
        place: torch.device | None = None,
        flat_crop_drop_ratio: float = 0.25,
    ) -> None:
        self.pairs = pairs
        self.scale = scale
        self.generator = Generator().manual_seed(seed)
        self.drawing_s = 0.0
        self._place = place or torch.device("cpu")
        self._drawn_per_used = 1 / (1 - flat_crop_drop_ratio)
        self._damage = degradations.parse(degradation).damage
        self._ahead: _Ahead | None = None
        on_device = self._place.type != "cpu" and _fit(pairs, self._place)
        self._source = OnDevice(pairs, scale, self._place) if on_device else OnProcessor(pairs, scale)
        # On a GPU there is little to do, and a second thread would hold up the first.
        self._worker = None if on_device else ThreadPoolExecutor(1, "crops")
        sizes = torch.tensor([pair.low.shape[:2] for pair in pairs])
        self._areas = sizes.prod(1).float()
        self._heights, self._widths = sizes.unbind(1)
        self._sizes_there = sizes.to(self._source.place)
        self._versions = 1 + len(pairs[0].damaged)

    def draw(self, batch: int, patch_px: int) -> tuple[Tensor, Tensor]:
        """Draw crops, leave out the flattest, turn and mirror the rest, degrade them.

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
        return drawn.low, drawn.high

    def _drawn(self, state: Tensor, batch: int, patch_px: int) -> _Drawn:
        """A batch from this state of the generator on, and the state after it."""
        generator = Generator()
        generator.set_state(state)
        places = self._chosen(generator, batch, patch_px)
        if self._damage is None:
            low, high = self._source.cut(places, patch_px)
        else:
            low, high = self._damaged(generator, places, patch_px)
        return _Drawn(self._delivered(low), self._delivered(high), generator.get_state())

    def _chosen(self, generator: Generator, batch: int, patch_px: int) -> Places:
        """The roughest of what is drawn, where the photographs are; a GPU is not waited for."""
        places = self._places(generator, round(batch * self._drawn_per_used), patch_px)
        turn = torch.randint(8, (batch,), generator=generator)
        version = torch.zeros_like(turn)
        if self._versions > 1:
            shares = torch.rand(batch, generator=generator)
            version = 1 + (shares * (self._versions - 1)).long()
        turn, version = torch.stack([turn, version]).to(self._source.place, non_blocking=True)
        places = places.to(self._source.place)
        rough = _roughness(self._source.lows(places, patch_px))
        used = rough.argsort(descending=True, stable=True)[:batch].sort().values
        return replace(places[used], turn=turn, version=version)

    def _places(self, generator: Generator, count: int, patch_px: int) -> Places:
        photo = torch.multinomial(self._areas, count, replacement=True, generator=generator)
        down, right = torch.rand(count, 2, generator=generator, dtype=torch.float64).unbind(1)
        top = (down * (self._heights[photo] - patch_px + 1)).long()
        left = (right * (self._widths[photo] - patch_px + 1)).long()
        upright = torch.zeros_like(photo)
        return Places(photo, top, left, turn=upright, version=upright)

    def _damaged(self, generator: Generator, places: Places, patch_px: int) -> tuple[Tensor, Tensor]:
        """Crops degraded with what is around them, then cut to size anywhere in it."""
        assert self._damage is not None, "else they are cut from what was prepared"
        wide_px = patch_px + _MARGIN_PX
        heights, widths = self._sizes_there[places.photo].unbind(1)
        top, left = _inside(places.top, wide_px, heights), _inside(places.left, wide_px, widths)
        around = self._source.cut(replace(places, top=top, left=left), wide_px)
        low, high = (side.to(self._place, non_blocking=True) for side in around)
        low, high = self._damage(low, high, self.scale, generator)
        corners = torch.randint(_MARGIN_PX, (len(low), 2), generator=generator).tolist()
        return _windows(low, corners, patch_px, 1), _windows(high, corners, patch_px, self.scale)

    def _delivered(self, crops: Tensor) -> Tensor:
        """``(B, 3, h, w)`` uint8 -> fp32 in [0, 1], channels_last, on the device."""
        crops = crops.to(self._place, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return crops.float().div_(255)


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


def _turned(crop: Tensor, turn: int) -> Tensor:
    """One of the eight symmetries of the square, ``(p, p, ...)``."""
    crop = torch.rot90(crop, turn % 4, (0, 1))
    return crop.flip(1) if turn >= 4 else crop


class OnProcessor:
    """Cuts crops out of photographs in memory, one after the other."""

    place = torch.device("cpu")

    def __init__(self, pairs: list[Pair], scale: int) -> None:
        self._high = [pair.high for pair in pairs]
        self._low = [(pair.low, *pair.damaged) for pair in pairs]
        self._scale = scale

    def cut(self, places: Places, side_px: int) -> tuple[Tensor, Tensor]:
        """LR ``(B, 3, side_px, side_px)`` and HR ``(B, 3, side_px*scale, side_px*scale)``, uint8."""
        high = [
            _turned(_square(self._high[photo], top, left, side_px, self._scale), turn)
            for photo, top, left, turn, _ in _rows(places)
        ]
        return self.lows(places, side_px), torch.stack(high).permute(0, 3, 1, 2)

    def lows(self, places: Places, side_px: int) -> Tensor:
        """The LR side of ``cut``."""
        low = [
            _turned(_square(self._low[photo][version], top, left, side_px, 1), turn)
            for photo, top, left, turn, version in _rows(places)
        ]
        return torch.stack(low).permute(0, 3, 1, 2)


def _rows(places: Places) -> list[list[int]]:
    """Photo, top, left, turn and version of each crop."""
    rows: list[list[int]] = torch.stack(places.columns, 1).tolist()
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


def _fit(pairs: list[Pair], place: torch.device) -> bool:
    sides = (side for pair in pairs for side in (pair.low, pair.high, *pair.damaged))
    return sum(side.numel() for side in sides) < _DEVICE_SHARE * devices.free_memory_bytes(place)


class OnDevice:
    """Cuts crops out of photographs that lie on the device as rows of pixels, all of a batch in one step."""

    def __init__(self, pairs: list[Pair], scale: int, place: torch.device) -> None:
        self.place = place
        self._scale = scale
        self._high = _Pixels([pair.high for pair in pairs], place)
        self._low = _Pixels([side for pair in pairs for side in (pair.low, *pair.damaged)], place)
        versions = torch.tensor([1 + len(pair.damaged) for pair in pairs])
        self._first_low = (versions.cumsum(0) - versions).to(place)

    def cut(self, places: Places, side_px: int) -> tuple[Tensor, Tensor]:
        """As ``OnProcessor.cut``, on the device, from places there."""
        return self.lows(places, side_px), self._high.squares(places.photo, places, side_px, self._scale)

    def lows(self, places: Places, side_px: int) -> Tensor:
        """The LR side of ``cut``."""
        return self._low.squares(self._first_low[places.photo] + places.version, places, side_px, 1)


class _Pixels:
    """Pictures as one long row of pixels."""

    def __init__(self, pictures: list[Tensor], place: torch.device) -> None:
        sizes = torch.tensor([picture.shape[:2] for picture in pictures])
        areas = sizes.prod(1)
        self._heights, self._widths = (side.to(place) for side in sizes.unbind(1))
        self._starts = (areas.cumsum(0) - areas).to(place)
        self._pixels = torch.empty(int(areas.sum()), 3, dtype=torch.uint8, device=place)
        for picture, start in zip(pictures, (areas.cumsum(0) - areas).tolist(), strict=True):
            self._pixels[start : start + picture.shape[0] * picture.shape[1]].copy_(picture.reshape(-1, 3))

    def squares(self, numbers: Tensor, places: Places, side_px: int, scale: int) -> Tensor:
        """Squares of so many LR pixels of the numbered pictures at their places, turned."""
        side = side_px * scale
        plain = torch.arange(side * side, device=self._pixels.device).view(side, side)
        turned = torch.stack([_turned(plain, turn) for turn in range(8)])[places.turn]  # (B, side, side)
        last_row, last_column = (
            (lengths[numbers] - 1).view(-1, 1, 1) for lengths in (self._heights, self._widths)
        )
        rows = (places.top * scale).view(-1, 1, 1) + turned // side
        columns = (places.left * scale).view(-1, 1, 1) + turned % side
        rows, columns = rows.clamp(min=0).minimum(last_row), columns.clamp(min=0).minimum(last_column)
        where = self._starts[numbers].view(-1, 1, 1) + rows * (last_column + 1) + columns
        return self._pixels[where].permute(0, 3, 1, 2)
