"""A folder of HR photographs -> batches of LR and HR crops.

Photographs are decoded once and kept as uint8, with their LR versions: reduced, given, or (coded video)
prepared. Other degradations are made of the crops as they are drawn. What is drawn depends only on the
generator, so that a continued run draws what an unbroken one would have drawn.
"""

import time
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator, Tensor

from upscaler import device, stills
from upscaler.errors import MediaError, TrainingError, UpscalerError
from upscaler.jobs import PICTURE_SUFFIXES
from upscaler.trainer import degrade, h264
from upscaler.trainer.cache import Cache
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

# Crops become smaller where fewer photographs than this share hold them, but not smaller than this.
_HOLDING_SHARE = 0.95
_SMALLEST_HIGH_PX = 64

# Share of a GPU's free memory that photographs may take.
_DEVICE_SHARE = 0.4


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
        patch_px: Largest side of a crop, LR pixels, that all pairs hold.
        mapped: Whether they lie in a file instead of in memory.
    """

    training: list[Pair]
    held_out: list[Pair]
    left_out: list[str]
    patch_px: int = 1
    mapped: bool = False

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
    low_folders: tuple[str, ...] = (),
    cache_folder: Path | None = None,
) -> Photos:
    """Decode every photograph and make, or read, its LR version.

    Args:
        folders: Folders, searched recursively, or single files.
        scale: HR size over LR size.
        patch_px: LR side of a crop that is wanted; smaller where less than 95 % of the photographs hold it,
            but at least 64 HR pixels.
        on_photo: Called with (done, total) after each file.
        degradation: As in ``degrade.parse``.
        low_folders: Folders with LR versions, at the same place below and under the same name, with any
            suffix and with or without ``x4`` or ``_x4`` behind; empty: they are made.
        cache_folder: Where photographs go that memory does not hold; ``None``: where temporary files go.

    Raises:
        TrainingError: A folder is missing, or fewer than two photographs are left.
    """
    found = _find(folders)
    lows = _LowVersions(low_folders, scale) if low_folders else None
    sizes = [_size(path) for path, _ in found]
    patch_px = _fitting_patch_px([min(size) for size in sizes if size], scale, patch_px)
    versions = _FILMS if degradation == "video" else 0
    needed = sum(
        height * width * 3 * (1 + (1 + versions) / scale**2) for height, width in filter(None, sizes)
    )
    cache = Cache(int(needed), cache_folder)
    pairs: list[Pair] = []
    left_out: list[str] = []
    for index, (path, below) in enumerate(found):
        try:
            pair = _pair(path, scale, patch_px, lows.of(below) if lows else None)
            pair = _filmed(pair, scale) if degradation == "video" else pair
            pairs.append(_kept(pair, cache))
        except UpscalerError as error:
            left_out.append(f"{path.name}: {error.message}")
        if on_photo:
            on_photo(index + 1, len(found))
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
        patch_px=patch_px,
        mapped=cache.mapped,
    )


def _find(folders: tuple[str, ...]) -> list[tuple[Path, Path]]:
    """Every picture, and its path below the folder it was found in."""
    paths: list[tuple[Path, Path]] = []
    for folder in map(Path, folders):
        if folder.is_file():
            paths.append((folder, Path(folder.name)))
        elif folder.is_dir():
            found = (path for path in folder.rglob("*") if path.suffix.lower() in PICTURE_SUFFIXES)
            paths += [(path, path.relative_to(folder)) for path in sorted(found) if path.is_file()]
        else:
            raise TrainingError(f"no folder '{folder}'", "name a folder with photographs")
    # A photograph named twice, or by way of two folders, must not be both trained on and held out.
    return list({path.resolve(): (path.resolve(), below) for path, below in paths}.values())


class _LowVersions:
    """The files in the LR folders, to be found by the name of the photograph."""

    def __init__(self, folders: tuple[str, ...], scale: int) -> None:
        self._endings = ("", f"x{scale}", f"_x{scale}")
        self._paths = {below.with_suffix(""): path for path, below in _find(folders)}

    def of(self, below: Path) -> Path:
        """The LR version of the photograph at this place below its folder; raises a MediaError if none is."""
        for ending in self._endings:
            path = self._paths.get(below.with_name(below.stem + ending))
            if path is not None:
                return path
        raise MediaError("no LR picture of it")


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return stills.size(path)
    except UpscalerError:
        return None  # decoding will tell why


def _fitting_patch_px(shorter_sides_px: list[int], scale: int, wanted_px: int) -> int:
    """The crop's LR side that 95 % of the photographs hold, at most the wanted one; at least 64 HR pixels."""
    if not shorter_sides_px:
        return wanted_px
    sides = sorted(shorter_sides_px)
    held_px = sides[int(len(sides) * (1 - _HOLDING_SHARE))] // scale
    return min(wanted_px, max(held_px, -(-_SMALLEST_HIGH_PX // scale)))


def _pair(path: Path, scale: int, patch_px: int, low_path: Path | None) -> Pair:
    pixels = stills.read_rgb8(path)
    height, width = (side - side % scale for side in pixels.shape[:2])
    if min(height, width) < patch_px * scale:
        raise TrainingError(f"{pixels.shape[1]}x{pixels.shape[0]} is smaller than a crop")
    high = torch.from_numpy(pixels[:height, :width].copy())
    if low_path is None:
        low = high if scale == 1 else _reduced(high, scale)
    else:
        given = stills.read_rgb8(low_path)
        if given.shape[:2] != (height // scale, width // scale):
            size = f"{given.shape[1]}x{given.shape[0]}"
            raise TrainingError(f"its LR picture is {size}, not {width // scale}x{height // scale}")
        low = torch.from_numpy(given.copy())
    return Pair(path.name, low, high)


def _reduced(high: Tensor, scale: int) -> Tensor:
    return reduce(high.permute(2, 0, 1).unsqueeze(0), scale)[0].permute(1, 2, 0).contiguous()


def _filmed(pair: Pair, scale: int) -> Pair:
    """With versions out of coded films, which are those of this name whatever else is in the folder."""
    generator = Generator().manual_seed(zlib.crc32(pair.name.encode()))
    films = h264.versions(pair.high.permute(2, 0, 1), scale, _FILMS, generator)
    return replace(pair, damaged=tuple(films))


def _kept(pair: Pair, cache: Cache) -> Pair:
    high = cache.keep(pair.high)
    low = high if pair.low is pair.high else cache.keep(pair.low)
    return Pair(pair.name, low, high, tuple(map(cache.keep, pair.damaged)))


def _degraded(pair: Pair, scale: int, degradation: str) -> Pair:
    """With the LR version that the network will be judged by, the same in every run."""
    if pair.damaged:
        return replace(pair, low=pair.damaged[0])
    damage = degrade.parse(degradation).damage
    if damage is None:
        return pair
    generator = Generator().manual_seed(_HELD_OUT_SEED + zlib.crc32(pair.name.encode()))
    low, high = (side.permute(2, 0, 1).unsqueeze(0) for side in (pair.low, pair.high))
    made = damage(low, high, scale, generator)[0]
    return replace(pair, low=made.permute(1, 2, 0).contiguous())


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
    ) -> None:
        self.pairs = pairs
        self.scale = scale
        self.generator = Generator().manual_seed(seed)
        self.drawing_s = 0.0
        self._place = place or torch.device("cpu")
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
        """Draw crops, leave out the flattest quarter, turn and mirror the rest, degrade them.

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
        places = self._places(generator, round(batch * _DRAWN_PER_USED), patch_px)
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
        low = self._damage(low, high, self.scale, generator)
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
