"""A photograph and its LR version, and how they are read: decoded, reduced, paired, encoded.

LR is downscaled, read from a file, or (``video``) encoded. All other degradations are applied to crops as
they are drawn.
"""

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import torch
from torch import Generator, Tensor

from upscaler.errors import TrainingError, UpscalerError
from upscaler.images import stills
from upscaler.inference.resize import resize_bicubic
from upscaler.trainer.data import file_names, pair_check
from upscaler.trainer.data.cache import Cache
from upscaler.trainer.data.pair_check import Shift
from upscaler.trainer.data.pairing import LrFiles
from upscaler.trainer.data.sources import Source
from upscaler.trainer.degrade import degradations, h264
from upscaler.trainer.degrade.degradations import downscale

# Clips encoded per photograph for `video`; each has its own quality and motion.
_CLIPS = 3

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class PhotoPair:
    """A photograph and its LR version, RGB uint8.

    Attributes:
        name: Its file name, and its size if reduced.
        lr: ``(h, w, 3)``.
        hr: ``(h*scale, w*scale, 3)``.
        lr_variants: Degraded versions ``(h, w, 3)`` to draw crops from instead of ``lr``.
        given: Whether ``lr`` comes from a file, and must not be degraded.
        shift: By how many LR pixels (down, right) a given ``lr`` lies off ``hr``, if that can be measured.
    """

    name: str
    lr: Tensor
    hr: Tensor
    lr_variants: tuple[Tensor, ...] = ()
    given: bool = False
    shift: Shift | None = None


class LrPaths:
    """The LR file of each photograph, if there is one."""

    def __init__(
        self, folders: tuple[str, ...], scale: int, found: list[Source], photo_folders: int, degradation: str
    ) -> None:
        self._files = LrFiles(folders, scale, found, photo_folders) if folders else None
        self._required = degradation == degradations.GIVEN

    def of(self, source: Source) -> Path | None:
        """Its path; raises a MediaError if there is none, but must be."""
        if self._files is None:
            return None
        return self._files.of(source) if self._required else self._files.find(source)


class Reader:
    """Reads photographs as pairs."""

    def __init__(
        self, scale: int, degradation: str, sizes: tuple[float, ...], pairs: str = "separate"
    ) -> None:
        self._scale, self._sizes, self._layout = scale, sizes, pairs
        self._clips = _CLIPS if degradation == "video" else 0

    def needed_bytes(self, shapes: list[tuple[int, int]]) -> int:
        """Memory of all pairs of photographs of these (height, width)."""
        per_pixel = 3 * (1 + (1 + self._clips) / self._scale**2) * sum(size**2 for size in self._sizes)
        return int(sum(height * width * per_pixel for height, width in shapes))

    def read(
        self, found: list[Source], patch_px: int, lr_paths: LrPaths, cache: Cache | None
    ) -> tuple[list[list[PhotoPair]], list[str]]:
        """The sizes of every usable photograph, in order, and ``name: reason`` of the others."""
        photos: list[list[PhotoPair]] = []
        left_out: list[str] = []

        def load(source: Source) -> list[PhotoPair] | str:
            try:
                pairs = self._pairs(source, patch_px, lr_paths)
                return [_with_clips(pair, self._scale) for pair in pairs] if self._clips else pairs
            except UpscalerError as error:
                return f"{source.path.name}: {error.message}"

        for versions in _in_parallel(load, found):
            if isinstance(versions, str):
                left_out.append(versions)
            else:
                photos.append([_kept(pair, cache) if cache else pair for pair in versions])
        return photos, left_out

    def _pairs(self, source: Source, patch_px: int, lr_paths: LrPaths) -> list[PhotoPair]:
        if self._layout == "separate":
            return _pairs(source.path, self._scale, patch_px, lr_paths.of(source), self._sizes)
        return [_side_by_side(source.path, self._scale, patch_px, self._layout)]


def _in_parallel(load: Callable[[Item], Loaded], items: list[Item]) -> Iterator[Loaded]:
    """``load`` of every item, in order, with as many threads as torch uses.

    Only a few are loaded in advance: memory need not hold them all.
    """
    threads = torch.get_num_threads()
    if threads == 1:
        yield from map(load, items)
        return
    ahead: deque[Future[Loaded]] = deque()
    try:
        with ThreadPoolExecutor(threads, "photos", torch.set_num_threads, (1,)) as pool:
            for item in items:
                ahead.append(pool.submit(load, item))
                if len(ahead) > 2 * threads:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
    finally:
        torch.set_num_threads(threads)  # the setting is not per thread


def _pairs(
    path: Path, scale: int, patch_px: int, lr_path: Path | None, sizes: tuple[float, ...]
) -> list[PhotoPair]:
    """The photograph at each size that holds a crop; raises a TrainingError if none does."""
    pixels = torch.from_numpy(stills.read_rgb8(path).copy())  # a decoder's array is read-only
    if lr_path is not None:
        return [_given_pair(path, pixels, scale, patch_px, lr_path)]
    pairs = []
    for share in sizes:
        hr = _multiple(pixels if share == 1 else _smaller(pixels, share), scale)
        if min(hr.shape[:2]) >= patch_px * scale:
            lr = hr if scale == 1 else _downscaled(hr, scale)
            pairs.append(PhotoPair(path.name if share == 1 else f"{path.name} at {share:g}", lr, hr))
    if not pairs:
        raise _too_small(pixels, max(sizes))
    return pairs


def _given_pair(path: Path, pixels: Tensor, scale: int, patch_px: int, lr_path: Path) -> PhotoPair:
    hr = _multiple(pixels, scale)
    if min(hr.shape[:2]) < patch_px * scale:
        raise _too_small(pixels)
    lr = torch.from_numpy(stills.read_rgb8(lr_path).copy())
    height, width = (side // scale for side in hr.shape[:2])
    if lr.shape[:2] != (height, width):
        raise TrainingError(f"its LR image is {lr.shape[1]}x{lr.shape[0]}, not {width}x{height}")
    reduced = hr if scale == 1 else _downscaled(hr, scale)
    return PhotoPair(path.name, lr, hr, given=True, shift=pair_check.measured_shift(lr, reduced))


def _side_by_side(path: Path, scale: int, patch_px: int, layout: str) -> PhotoPair:
    """The two halves of an image; the LR half is reduced by the scale."""
    pixels = torch.from_numpy(stills.read_rgb8(path).copy())
    width = pixels.shape[1]
    if width % 2:
        raise TrainingError(f"it is {width} pixels wide, which is no two halves")
    left, right = (_multiple(half, scale) for half in pixels.chunk(2, dim=1))
    hr, poor = (left, right) if layout == "left-hr" else (right, left)
    if min(hr.shape[:2]) < patch_px * scale:
        raise _too_small(hr)
    reduced, lr = (image if scale == 1 else _downscaled(image, scale) for image in (hr, poor))
    return PhotoPair(path.name, lr, hr, given=True, shift=pair_check.measured_shift(lr, reduced))


def _too_small(pixels: Tensor, share: float = 1.0) -> TrainingError:
    size = "" if share == 1 else f" at {share:g} of its size"
    return TrainingError(f"{pixels.shape[1]}x{pixels.shape[0]}{size} is smaller than a crop")


def _multiple(pixels: Tensor, scale: int) -> Tensor:
    """Cropped at the bottom and right to multiples of ``scale``, ``(H, W, 3)``."""
    height, width = (side - side % scale for side in pixels.shape[:2])
    return pixels[:height, :width].contiguous()


def _smaller(pixels: Tensor, share: float) -> Tensor:
    """Downscaled by antialiased bicubic, ``(H, W, 3)`` -> ``(share * H, share * W, 3)``."""
    height, width = (smaller_px(side, share) for side in pixels.shape[:2])
    return resize_bicubic(pixels.permute(2, 0, 1).unsqueeze(0), height, width)[0].permute(1, 2, 0)


def smaller_px(side_px: int, share: float) -> int:
    """The side of an image that is reduced to a fraction of its size."""
    return max(1, round(side_px * share))


def _downscaled(hr: Tensor, scale: int) -> Tensor:
    return downscale(hr.permute(2, 0, 1).unsqueeze(0), scale)[0].permute(1, 2, 0).contiguous()


def _with_clips(pair: PhotoPair, scale: int) -> PhotoPair:
    """The pair with frames of encoded clips as variants; they depend on the name alone."""
    generator = Generator().manual_seed(file_names.seed_of(pair.name))
    clips = h264.versions(pair.hr.permute(2, 0, 1), scale, _CLIPS, generator)
    return replace(pair, lr_variants=tuple(clips))


def _kept(pair: PhotoPair, cache: Cache) -> PhotoPair:
    hr = cache.keep(pair.hr)
    lr = hr if pair.lr is pair.hr else cache.keep(pair.lr)
    return replace(pair, lr=lr, hr=hr, lr_variants=tuple(map(cache.keep, pair.lr_variants)))
