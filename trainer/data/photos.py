"""Decodes photographs and makes or reads their LR versions, once before the training, as uint8.

LR is downscaled, read from a file, or (``video``) encoded. All other degradations are applied to crops as
they are drawn.
"""

import math
import zlib
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
from upscaler.trainer.data import file_names, sources
from upscaler.trainer.data.cache import Cache
from upscaler.trainer.data.pairing import LrFiles
from upscaler.trainer.data.sources import Source
from upscaler.trainer.degrade import degradations, h264
from upscaler.trainer.degrade.degradations import downscale

# Clips encoded per photograph for `video`; each has its own quality and motion.
_CLIPS = 3

# Validation images are degraded alike in every run, whatever its seed: scores stay comparable.
_HELD_OUT_SEED = 20_160_915

# Crops shrink until this share of the photographs holds them, but not below this side.
_HOLDING_SHARE = 0.95
_SMALLEST_HR_PX = 64

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
    """

    name: str
    lr: Tensor
    hr: Tensor
    lr_variants: tuple[Tensor, ...] = ()
    given: bool = False


@dataclass(frozen=True)
class Photos:
    """The photographs of a run.

    Attributes:
        training: Pairs to draw crops from; one for each size of a photograph.
        photographs: Number of photographs to train on.
        held_out: Pairs for validation, never drawn from; degraded like the training.
        left_out: ``name: reason`` for every unusable file.
        patch_px: Largest side of a crop, LR pixels, that all pairs hold.
        mapped: Whether the pixels are in a memory-mapped file.
    """

    training: list[PhotoPair]
    photographs: int
    held_out: list[PhotoPair]
    left_out: list[str]
    patch_px: int = 1
    mapped: bool = False

    def fingerprint(self) -> int:
        """A hash that changes when a photograph is added, removed, renamed or resized."""
        known = [(pair.name, *pair.hr.shape) for pair in (*self.training, *self.held_out)]
        return zlib.crc32(repr(known).encode())


def load_photos(
    folders: tuple[str, ...],
    scale: int,
    patch_px: int,
    degradation: str = "clean",
    lr_dirs: tuple[str, ...] = (),
    sizes: tuple[float, ...] = (1.0,),
    cache_folder: Path | None = None,
) -> Photos:
    """Decode every photograph and make or read its LR version, with as many threads as torch uses.

    Args:
        folders: Folders, searched recursively except for run folders, or single files.
        scale: HR size over LR size.
        patch_px: Desired side of a crop, LR pixels; reduced until 95 % of the photographs hold it, but not
            below 64 HR pixels.
        degradation: As in ``degradations.parse``.
        lr_dirs: Folders with LR versions, as in ``LrFiles``; if empty, LR versions are made.
        sizes: Fractions of its own size, at most 1, that each photograph is first reduced to; training uses
            all of them, validation the first. Sizes too small for a crop are skipped.
        cache_folder: Folder for the cache file if memory does not hold the photographs, see ``Cache``.

    Raises:
        TrainingError: A folder is missing, LR files are ambiguous, or fewer than two photographs are usable.
    """
    found = sources.find(folders)
    lr_files = LrFiles(lr_dirs, scale, found, len(folders)) if lr_dirs else None
    whole_sizes = [_size(source.path) for source in found]
    sides_px = [_smaller_px(min(size), max(sizes)) for size in whole_sizes if size]
    patch_px = _fitting_patch_px(sides_px, scale, patch_px)
    clips = _CLIPS if degradation == "video" else 0
    bytes_per_pixel = 3 * (1 + (1 + clips) / scale**2) * sum(size**2 for size in sizes)
    needed = sum(height * width * bytes_per_pixel for height, width in filter(None, whole_sizes))
    cache = Cache(int(needed), cache_folder)

    def lr_path(source: Source) -> Path | None:
        if lr_files is None:
            return None
        return lr_files.of(source) if degradation == degradations.GIVEN else lr_files.find(source)

    def load(source: Source) -> list[PhotoPair] | str:
        try:
            pairs = _pairs(source.path, scale, patch_px, lr_path(source), sizes)
            return [_with_clips(pair, scale) for pair in pairs] if clips else pairs
        except UpscalerError as error:
            return f"{source.path.name}: {error.message}"

    photos: list[list[PhotoPair]] = []  # for each photograph, its sizes
    left_out: list[str] = []
    for versions in _in_parallel(load, found):
        if isinstance(versions, str):
            left_out.append(versions)
        else:
            photos.append([_kept(pair, cache) for pair in versions])
    if len(photos) < 2:
        reasons = f"; {len(left_out)} left out, the first is {left_out[0]}" if left_out else ""
        raise TrainingError(
            f"only {len(photos)} usable photographs in {', '.join(folders)}{reasons}",
            f"training needs at least two, each at least {math.ceil(patch_px * scale / max(sizes))} pixels "
            "high and wide",
        )
    # About 2 % are held out, evenly spread, so that every part of a sorted folder is represented.
    every = max(2, len(photos) // min(16, max(1, len(photos) // 50)))
    trained_on = [versions for index, versions in enumerate(photos) if index % every != every - 1]
    return Photos(
        training=[pair for versions in trained_on for pair in versions],
        photographs=len(trained_on),
        held_out=[_degraded(versions[0], scale, degradation) for versions in photos[every - 1 :: every]],
        left_out=left_out,
        patch_px=patch_px,
        mapped=cache.mapped,
    )


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


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return stills.read_size(path)
    except UpscalerError:
        return None  # decoding reports why


def _fitting_patch_px(shorter_sides_px: list[int], scale: int, desired_px: int) -> int:
    """The side of a crop, LR pixels, that 95 % of the photographs hold; at most the desired one."""
    if not shorter_sides_px:
        return desired_px
    sides = sorted(shorter_sides_px)
    held_px = sides[int(len(sides) * (1 - _HOLDING_SHARE))] // scale
    return min(desired_px, max(held_px, -(-_SMALLEST_HR_PX // scale)))


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
    return PhotoPair(path.name, lr, hr, given=True)


def _too_small(pixels: Tensor, share: float = 1.0) -> TrainingError:
    size = "" if share == 1 else f" at {share:g} of its size"
    return TrainingError(f"{pixels.shape[1]}x{pixels.shape[0]}{size} is smaller than a crop")


def _multiple(pixels: Tensor, scale: int) -> Tensor:
    """Cropped at the bottom and right to multiples of ``scale``, ``(H, W, 3)``."""
    height, width = (side - side % scale for side in pixels.shape[:2])
    return pixels[:height, :width].contiguous()


def _smaller(pixels: Tensor, share: float) -> Tensor:
    """Downscaled by antialiased bicubic, ``(H, W, 3)`` -> ``(share * H, share * W, 3)``."""
    height, width = (_smaller_px(side, share) for side in pixels.shape[:2])
    return resize_bicubic(pixels.permute(2, 0, 1).unsqueeze(0), height, width)[0].permute(1, 2, 0)


def _smaller_px(side_px: int, share: float) -> int:
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


def _degraded(pair: PhotoPair, scale: int, degradation: str) -> PhotoPair:
    """The pair with the LR version for validation, which is the same in every run."""
    if pair.lr_variants:
        return replace(pair, lr=pair.lr_variants[0])
    degrade = degradations.parse(degradation).degrade
    if degrade is None or pair.given:
        return pair
    generator = Generator().manual_seed(_HELD_OUT_SEED + file_names.seed_of(pair.name))
    lr, hr = (side.permute(2, 0, 1).unsqueeze(0) for side in (pair.lr, pair.hr))
    degraded, _ = degrade(lr, hr, scale, generator)
    return replace(pair, lr=degraded[0].permute(1, 2, 0).contiguous())
