"""Draws batches of LR and HR crops from photographs: dropped if flat, rotated, degraded, on the device.

What is drawn depends only on the generator and, where photographs are read during the training, on how many
crops were drawn before: a resumed run draws what an uninterrupted one would have.
"""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Generator, Tensor

from upscaler.trainer.data.crop_stores import CropCoordinates, CropStore, MemoryStore, crop_store
from upscaler.trainer.data.photo_pairs import PhotoPair
from upscaler.trainer.data.photo_stream import PhotoStream
from upscaler.trainer.degrade import degradations

# Crops drawn for each that is kept, with the focus on detail.
_DRAWN_FOR_DETAIL = 4

# A crop is degraded with this many more LR pixels per side, then cut to size at a random position: so that
# the grid of JPEG's 8-pixel blocks can lie anywhere.
_MARGIN_PX = 8


@dataclass(frozen=True)
class _Drawn:
    """A batch as ``Crops.draw`` returns it, and the state of the generator afterwards."""

    lr: Tensor
    hr: Tensor
    state: Tensor


@dataclass(frozen=True)
class _Ahead:
    """A batch that is being drawn in advance, and what it is for."""

    state: Tensor
    place: tuple[int, int, int]  # crops drawn before, batch, side of a crop
    drawn: Future[_Drawn]

    def is_for(self, state: Tensor, place: tuple[int, int, int]) -> bool:
        return place == self.place and torch.equal(state, self.state)


class _Pool:
    """Photographs in memory or on a device, and the chance of each to be drawn.

    Args:
        pairs: The photographs.
        store: Holds them.
        weights: The chances, ``(N,)``, not normalised.
    """

    def __init__(self, pairs: list[PhotoPair], store: CropStore, weights: Tensor) -> None:
        self.store, self.weights = store, weights
        sizes = torch.tensor([pair.lr.shape[:2] for pair in pairs])
        self.heights, self.widths = sizes.unbind(1)
        self.sizes_on_device = sizes.to(store.device)
        self.given_on_device = torch.tensor([pair.given for pair in pairs]).to(store.device)
        self.variants = 1 + len(pairs[0].lr_variants)
        self.frames = pairs[0].frame_count


class Crops:
    """Draws batches of augmented crops.

    Args:
        photos: Photographs; each is drawn with a probability proportional to its area. Of a stream, the
            caller closes it.
        scale: HR size over LR size.
        seed: Seed of the generator.
        degradation: As in ``degradations.parse``.
        device: Where crops are degraded and returned; ``None`` for the CPU. On a GPU the photographs are kept
            there too if they fit.
        flat_crop_drop_ratio: Share of the drawn crops that is dropped, the flattest; at least 0, below 1.
        given_share: Share of the crops from pairs with a given LR image, if there are both kinds.
        focus: ``everywhere``; or ``detail``: of four times as many crops, those with more detail are more
            likely to be kept, in proportion.

    Attributes:
        generator: Decides everything that is drawn.
    """

    def __init__(
        self,
        photos: list[PhotoPair] | PhotoStream,
        scale: int,
        seed: int,
        degradation: str = "clean",
        device: torch.device | None = None,
        flat_crop_drop_ratio: float = 0.25,
        given_share: float = 0.5,
        focus: Literal["everywhere", "detail"] = "everywhere",
    ) -> None:
        self.scale = scale
        self.generator = Generator().manual_seed(seed)
        self._drawn_before = 0
        self._device = device or torch.device("cpu")
        self._drawn_per_kept = 1 / (1 - flat_crop_drop_ratio)
        self._given_share = given_share
        self._drawn_for_focus = _DRAWN_FOR_DETAIL if focus == "detail" else 1
        known = degradations.parse(degradation)
        self._degrade = known.degrade
        # Errors of a codec travel forwards, and those of an encoded clip shown backwards exist nowhere.
        self._reversed_share = 0.0 if known.encoded else 0.5
        self._ahead: _Ahead | None = None
        self._stream = photos if isinstance(photos, PhotoStream) else None
        self._pool: _Pool | None = None
        self._pairs: list[PhotoPair] | None = None
        if isinstance(photos, list):
            areas = torch.tensor([pair.lr.shape[:2] for pair in photos]).prod(1).float()
            self._pool = self._pool_of(photos, crop_store(photos, scale, self._device), areas)
        # On a GPU there is little to do, and a second thread would slow down the first.
        in_memory = self._pool is None or isinstance(self._pool.store, MemoryStore)
        self._worker = ThreadPoolExecutor(1, "crops") if in_memory else None

    def state(self) -> dict[str, Any]:
        """What decides everything that is drawn from here on."""
        return {"generator": self.generator.get_state(), "drawn": self._drawn_before}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what ``state`` returned."""
        self.generator.set_state(state["generator"])
        self._drawn_before = int(state["drawn"])

    def left_out(self) -> list[str]:
        """``name: reason`` of photographs that could not be read since the last call."""
        return self._stream.left_out() if self._stream else []

    def draw(self, batch: int, patch_px: int) -> tuple[Tensor, Tensor]:
        """Draw crops, drop the flattest, rotate and mirror the rest, degrade them.

        With the photographs in memory, the next batch of the same shape is drawn while the network works on
        this one. That changes nothing: ``generator`` is always in the state after the batches returned.

        Args:
            batch: Number of crops.
            patch_px: Side of a crop, LR pixels.

        Returns:
            LR ``(batch, 3, p, p)`` and HR ``(batch, 3, p*scale, p*scale)``, RGB fp32 in [0, 1],
            channels_last. Of clips of T frames, ``(batch, T, 3, p, p)`` and likewise; half of those that were
            not encoded run backwards.
        """
        state, place = self.generator.get_state(), (self._drawn_before, batch, patch_px)
        if self._worker is None:
            drawn = self._drawn(state, *place)
        elif self._ahead is not None and self._ahead.is_for(state, place):
            drawn = self._ahead.drawn.result()
        else:
            drawn = self._worker.submit(self._drawn, state, *place).result()
        self.generator.set_state(drawn.state)
        self._drawn_before += batch
        if self._worker is not None:
            place = (self._drawn_before, batch, patch_px)
            self._ahead = _Ahead(drawn.state, place, self._worker.submit(self._drawn, drawn.state, *place))
        return drawn.lr, drawn.hr

    def _drawn(self, state: Tensor, drawn_before: int, batch: int, patch_px: int) -> _Drawn:
        """The batch that this state of the generator gives."""
        generator = Generator()
        generator.set_state(state)
        pool = self._pool_at(drawn_before)
        coordinates = self._chosen(pool, generator, batch, patch_px)
        if self._degrade is None:
            lr, hr = pool.store.cut(coordinates, patch_px)
        else:
            lr, hr = self._degraded(pool, generator, coordinates, patch_px)
        lr, hr = self._to_network_input(lr), self._to_network_input(hr)
        if pool.frames > 1:
            backwards = torch.rand(batch, generator=generator) < self._reversed_share
            lr, hr = (_as_clips(side, backwards.to(self._device)) for side in (lr, hr))
        return _Drawn(lr, hr, generator.get_state())

    def _pool_at(self, drawn_before: int) -> _Pool:
        """The photographs to draw from after this many crops."""
        if self._stream is not None:
            window = self._stream.window(drawn_before)
            if self._pool is None or self._pairs is not window.pairs:
                self._pairs = window.pairs
                self._pool = self._pool_of(
                    window.pairs, MemoryStore(window.pairs, self.scale), window.weights
                )
        assert self._pool is not None, "made of the photographs in memory, or of the window"
        return self._pool

    def _pool_of(self, pairs: list[PhotoPair], store: CropStore, weights: Tensor) -> _Pool:
        given = torch.tensor([pair.given for pair in pairs])
        return _Pool(pairs, store, _shared(weights, given, self._given_share))

    def _chosen(self, pool: _Pool, generator: Generator, batch: int, patch_px: int) -> CropCoordinates:
        """The crops that remain when the flattest are dropped; does not wait for a GPU."""
        before_focus = batch * self._drawn_for_focus
        drawn = round(before_focus * self._drawn_per_kept)
        coordinates = _coordinates(pool, generator, drawn, patch_px)
        symmetry = torch.randint(8, (batch,), generator=generator)
        variant = torch.zeros_like(symmetry)
        if pool.variants > 1:
            shares = torch.rand(batch, generator=generator)
            variant = 1 + (shares * (pool.variants - 1)).long()
        device = pool.store.device
        symmetry, variant = torch.stack([symmetry, variant]).to(device, non_blocking=True)
        coordinates = coordinates.to(device)
        rough = _roughness(pool.store.cut_lr(coordinates, patch_px))
        kept = rough.argsort(descending=True, stable=True)[:before_focus].sort().values
        if self._drawn_for_focus > 1:
            kept = kept[_drawn_by_weight(rough[kept], batch, generator)]
        return replace(coordinates[kept], symmetry=symmetry, variant=variant)

    def _degraded(
        self, pool: _Pool, generator: Generator, coordinates: CropCoordinates, patch_px: int
    ) -> tuple[Tensor, Tensor]:
        """Crops that are degraded with a margin, then cut to size."""
        assert self._degrade is not None, "checked by the caller"
        wide_px = patch_px + _MARGIN_PX
        heights, widths = pool.sizes_on_device[coordinates.photo].unbind(1)
        top, left = _inside(coordinates.top, wide_px, heights), _inside(coordinates.left, wide_px, widths)
        around = pool.store.cut(replace(coordinates, top=top, left=left), wide_px)
        lr, hr = (side.to(self._device, non_blocking=True) for side in around)
        degraded, hr = self._degrade(lr, hr, self.scale, generator)
        given = pool.given_on_device[coordinates.photo].to(self._device).view(-1, 1, 1, 1)
        lr = torch.where(given, lr, degraded)
        corners = torch.randint(_MARGIN_PX, (len(lr), 2), generator=generator).tolist()
        return _windows(lr, corners, patch_px, 1), _windows(hr, corners, patch_px, self.scale)

    def _to_network_input(self, crops: Tensor) -> Tensor:
        """``(B, 3, h, w)`` uint8 -> fp32 in [0, 1], channels_last, on the device."""
        crops = crops.to(self._device, non_blocking=True).contiguous(memory_format=torch.channels_last)
        return crops.float().div_(255)


def _coordinates(pool: _Pool, generator: Generator, count: int, patch_px: int) -> CropCoordinates:
    photo = torch.multinomial(pool.weights, count, replacement=True, generator=generator)
    down, right = torch.rand(count, 2, generator=generator, dtype=torch.float64).unbind(1)
    top = (down * (pool.heights[photo] - patch_px + 1)).long()
    left = (right * (pool.widths[photo] - patch_px + 1)).long()
    none = torch.zeros_like(photo)
    return CropCoordinates(photo, top, left, symmetry=none, variant=none)


def _drawn_by_weight(weights: Tensor, count: int, generator: Generator) -> Tensor:
    """Indices of ``count`` of the weights, ``(N,)`` integers, drawn without replacement; sorted.

    By the keys of Efraimidis and Spirakis (2006), computed so that every device draws the same.
    """
    logarithms = torch.rand(len(weights), generator=generator, dtype=torch.float64).log()
    keys = logarithms.to(weights.device, non_blocking=True) / weights.clamp(min=1)
    return keys.argsort(descending=True, stable=True)[:count].sort().values


def _shared(areas: Tensor, given: Tensor, given_share: float) -> Tensor:
    """Chances of the pairs, ``(N,)``: by area among those that are given, and among the others."""
    if not given.any() or given.all():
        return areas
    own, others = areas * given, areas * ~given
    return given_share * own / own.sum() + (1 - given_share) * others / others.sum()


def _inside(start: Tensor, side_px: int, length: Tensor) -> Tensor:
    """The starts moved so that spans of this length lie inside; centred where an image is shorter."""
    room = length - side_px
    return torch.where(room >= 0, start.minimum(room), room.div(2, rounding_mode="floor"))


def _windows(batch: Tensor, corners: list[list[int]], patch_px: int, scale: int) -> Tensor:
    """A square from each image at its own corner, ``(B, 3, h, w)`` -> ``(B, 3, p*scale, p*scale)``."""
    side = patch_px * scale
    squares = [
        image[top * scale : top * scale + side, left * scale : left * scale + side]
        for image, (top, left) in zip(batch.permute(0, 2, 3, 1), corners, strict=True)
    ]
    return torch.stack(squares).permute(0, 3, 1, 2)  # as pixels lie in memory: half the time


def _as_clips(crops: Tensor, backwards: Tensor) -> Tensor:
    """``(N, 3*T, h, w)`` -> ``(N, T, 3, h, w)``, with the frames of some in reverse order."""
    clips = crops.view(len(crops), -1, 3, *crops.shape[-2:])
    return torch.where(backwards.view(-1, 1, 1, 1, 1), clips.flip(1), clips)


def _roughness(crops: Tensor) -> Tensor:
    """Sum of the differences between neighbouring pixels, ``(N, C, p, p)`` uint8 -> ``(N,)``.

    Of clips, that of the first frame. In integers, so that every device drops the same crops.
    """
    red, green, blue = crops[:, :3].to(torch.int16).unbind(1)
    grey = red + green + blue
    return grey.diff(dim=1).abs().sum((1, 2)) + grey.diff(dim=2).abs().sum((1, 2))
