"""Pairs of photographs -> batches of LR and HR crops, turned, degraded and on the device.

What is drawn depends only on the generator, so that a continued run draws what an unbroken one would have
drawn.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Generator, Tensor

from upscaler import device
from upscaler.trainer import degrade
from upscaler.trainer.data import Pair

# LR pixels around a crop that is degraded as it is drawn: so that the grid of JPEG's 8-pixel blocks can lie
# anywhere over it.
_MARGIN_PX = 8

# Share of a GPU's free memory that photographs may take.
_DEVICE_SHARE = 0.4


@dataclass(frozen=True)
class Crop:
    """Where a crop is taken from.

    Attributes:
        photo: Number of the pair.
        top: First row, LR pixels; what lies outside the photograph repeats its edge.
        left: First column, likewise.
        turn: Which of the eight symmetries of the square is applied.
        version: Which of the prepared LR versions; ``None``: ``low``.
    """

    photo: int
    top: int
    left: int
    turn: int = 0
    version: int | None = None


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
        left_out_share: Share of the crops drawn that is left out, the flattest; at least 0, below 1.

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
        left_out_share: float = 0.25,
    ) -> None:
        self.pairs = pairs
        self.scale = scale
        self.generator = Generator().manual_seed(seed)
        self.drawing_s = 0.0
        self._place = place or torch.device("cpu")
        self._drawn_per_used = 1 / (1 - left_out_share)
        self._damage = degrade.parse(degradation).damage
        self._areas = torch.tensor([pair.low.shape[0] * pair.low.shape[1] for pair in pairs]).float()
        on_device = self._place.type != "cpu" and _fit(pairs, self._place)
        # On a GPU the little work there is would only disturb the recording of graphs.
        self._worker = ThreadPoolExecutor(1, "crops") if self._place.type == "cpu" else None
        self._ahead: _Ahead | None = None
        self._cut: Callable[[Sequence[Crop], int], tuple[Tensor, Tensor]] = (
            OnDevice(pairs, scale, self._place).cut if on_device else OnProcessor(pairs, scale).cut
        )

    def draw(self, batch: int, patch_px: int) -> tuple[Tensor, Tensor]:
        """Draw crops, leave out the flattest, turn and mirror the rest, degrade them.

        On the processor the next batch of the same shape is drawn while the network works on this one. That
        changes nothing: ``generator`` is always where the batches handed out have left it.

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
        crops = self._chosen(generator, batch, patch_px)
        if self._damage is None:
            low, high = self._cut(crops, patch_px)
        else:
            low, high = self._damaged(generator, crops, patch_px)
        return _Drawn(self._delivered(low), self._delivered(high), generator.get_state())

    def _chosen(self, generator: Generator, batch: int, patch_px: int) -> list[Crop]:
        places = self._places(generator, round(batch * self._drawn_per_used), patch_px)
        lows = torch.stack(
            [
                self.pairs[crop.photo].low[crop.top : crop.top + patch_px, crop.left : crop.left + patch_px]
                for crop in places
            ]
        )  # (N, p, p, 3), on the processor, so that a GPU is not waited for
        used = _roughness(lows).argsort(descending=True)[:batch].sort().values.tolist()
        turns = torch.randint(8, (batch,), generator=generator).tolist()
        crops = [replace(places[index], turn=turn) for index, turn in zip(used, turns, strict=True)]
        if not self.pairs[0].damaged:
            return crops
        versions = torch.rand(batch, generator=generator).tolist()
        return [
            replace(crop, version=int(share * len(self.pairs[crop.photo].damaged)))
            for crop, share in zip(crops, versions, strict=True)
        ]

    def _places(self, generator: Generator, count: int, patch_px: int) -> list[Crop]:
        photos = torch.multinomial(self._areas, count, replacement=True, generator=generator).tolist()
        shares = torch.rand(count, 2, generator=generator, dtype=torch.float64).tolist()
        places = []
        for photo, (down, right) in zip(photos, shares, strict=True):
            height, width = self.pairs[photo].low.shape[:2]
            places.append(
                Crop(photo, int(down * (height - patch_px + 1)), int(right * (width - patch_px + 1)))
            )
        return places

    def _damaged(self, generator: Generator, crops: list[Crop], patch_px: int) -> tuple[Tensor, Tensor]:
        """Crops degraded with what is around them, then cut to size anywhere in it."""
        assert self._damage is not None, "else they are cut from what was prepared"
        wide_px = patch_px + _MARGIN_PX
        around = [
            replace(crop, top=_inside(crop.top, wide_px, height), left=_inside(crop.left, wide_px, width))
            for crop in crops
            for height, width in [self.pairs[crop.photo].low.shape[:2]]
        ]
        low, high = (side.to(self._place, non_blocking=True) for side in self._cut(around, wide_px))
        low, high = self._damage(low, high, self.scale, generator)
        corners = torch.randint(_MARGIN_PX, (len(crops), 2), generator=generator).tolist()
        return _windows(low, corners, patch_px, 1), _windows(high, corners, patch_px, self.scale)

    def _delivered(self, crops: Tensor) -> Tensor:
        """``(B, 3, h, w)`` uint8 -> fp32 in [0, 1], channels_last, on the device."""
        crops = crops.to(self._place, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return crops.float().div_(255)


def _inside(start: int, side_px: int, length: int) -> int:
    """Where a longer span with this start in it begins: in the photograph, or centred on a smaller one."""
    return min(start, length - side_px) if length >= side_px else (length - side_px) // 2


def _windows(batch: Tensor, corners: list[list[int]], patch_px: int, scale: int) -> Tensor:
    """The square at each picture's own corner, ``(B, 3, h, w)`` -> ``(B, 3, p*scale, p*scale)``."""
    side = patch_px * scale
    squares = [
        picture[top * scale : top * scale + side, left * scale : left * scale + side]
        for picture, (top, left) in zip(batch.permute(0, 2, 3, 1), corners, strict=True)
    ]
    return torch.stack(squares).permute(0, 3, 1, 2)  # as pixels lie in memory: half the time


def _roughness(crops: Tensor) -> Tensor:
    """Mean absolute step between neighbouring pixels, ``(N, p, p, 3)`` uint8 -> ``(N,)``."""
    values = crops.float().mean(-1)
    return values.diff(dim=1).abs().mean((1, 2)) + values.diff(dim=2).abs().mean((1, 2))


def _turned(crop: Tensor, turn: int) -> Tensor:
    """One of the eight symmetries of the square, ``(p, p, ...)``."""
    crop = torch.rot90(crop, turn % 4, (0, 1))
    return crop.flip(1) if turn >= 4 else crop


def _low_of(pair: Pair, crop: Crop) -> Tensor:
    return pair.low if crop.version is None else pair.damaged[crop.version]


class OnProcessor:
    """Cuts crops out of photographs in memory, one after the other."""

    def __init__(self, pairs: list[Pair], scale: int) -> None:
        self._pairs = pairs
        self._scale = scale

    def cut(self, crops: Sequence[Crop], side_px: int) -> tuple[Tensor, Tensor]:
        """LR ``(B, 3, side_px, side_px)`` and HR ``(B, 3, side_px*scale, side_px*scale)``, uint8."""
        low, high = [], []
        for crop in crops:
            pair = self._pairs[crop.photo]
            low.append(_turned(_square(_low_of(pair, crop), crop, side_px, 1), crop.turn))
            high.append(_turned(_square(pair.high, crop, side_px, self._scale), crop.turn))
        return torch.stack(low).permute(0, 3, 1, 2), torch.stack(high).permute(0, 3, 1, 2)


def _square(picture: Tensor, crop: Crop, side_px: int, scale: int) -> Tensor:
    for axis, start in enumerate((crop.top * scale, crop.left * scale)):
        length, side = picture.shape[axis], side_px * scale
        if 0 <= start <= length - side:
            picture = picture.narrow(axis, start, side)
        else:
            inside = torch.arange(start, start + side).clamp_(0, length - 1)
            picture = picture.index_select(axis, inside)
    return picture


def _fit(pairs: list[Pair], place: torch.device) -> bool:
    sides = (side for pair in pairs for side in (pair.low, pair.high, *pair.damaged))
    return sum(side.numel() for side in sides) < _DEVICE_SHARE * device.free_memory_bytes(place)


class OnDevice:
    """Cuts crops out of photographs that lie on the device as rows of pixels, all of a batch in one step."""

    def __init__(self, pairs: list[Pair], scale: int, place: torch.device) -> None:
        self._scale = scale
        self._place = place
        self._high = _Rows([pair.high for pair in pairs], place)
        self._low = _Rows([side for pair in pairs for side in (pair.low, *pair.damaged)], place)
        self._first_low = torch.tensor([1 + len(pair.damaged) for pair in pairs]).cumsum(0).tolist()
        self._first_low = [0, *self._first_low[:-1]]

    def cut(self, crops: Sequence[Crop], side_px: int) -> tuple[Tensor, Tensor]:
        """As ``OnProcessor.cut``, on the device."""
        versions = [0 if crop.version is None else 1 + crop.version for crop in crops]
        lows = [self._first_low[crop.photo] + version for crop, version in zip(crops, versions, strict=True)]
        places = torch.tensor([[crop.top, crop.left, crop.turn] for crop in crops]).to(self._place)
        return (
            self._low.squares(torch.tensor(lows).to(self._place), places, side_px, 1),
            self._high.squares(
                torch.tensor([crop.photo for crop in crops]).to(self._place), places, side_px, self._scale
            ),
        )


class _Rows:
    """Pictures as one long row of pixels."""

    def __init__(self, pictures: list[Tensor], place: torch.device) -> None:
        sizes = torch.tensor([picture.shape[:2] for picture in pictures])
        areas = sizes.prod(1)
        self._heights, self._widths = (side.to(place) for side in sizes.unbind(1))
        self._starts = (areas.cumsum(0) - areas).to(place)
        self._pixels = torch.empty(int(areas.sum()), 3, dtype=torch.uint8, device=place)
        for picture, start in zip(pictures, (areas.cumsum(0) - areas).tolist(), strict=True):
            self._pixels[start : start + picture.shape[0] * picture.shape[1]].copy_(picture.reshape(-1, 3))

    def squares(self, numbers: Tensor, places: Tensor, side_px: int, scale: int) -> Tensor:
        """Squares of so many LR pixels of the numbered pictures at ``(top, left, turn)`` each."""
        side = side_px * scale
        plain = torch.arange(side * side, device=self._pixels.device).view(side, side)
        turned = torch.stack([_turned(plain, turn) for turn in range(8)])[places[:, 2]]  # (B, side, side)
        last_row, last_column = (
            (lengths[numbers] - 1).view(-1, 1, 1) for lengths in (self._heights, self._widths)
        )
        rows = (places[:, 0] * scale).view(-1, 1, 1) + turned // side
        columns = (places[:, 1] * scale).view(-1, 1, 1) + turned % side
        rows, columns = rows.clamp(min=0).minimum(last_row), columns.clamp(min=0).minimum(last_column)
        where = self._starts[numbers].view(-1, 1, 1) + rows * (last_column + 1) + columns
        return self._pixels[where].permute(0, 3, 1, 2)
