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
from upscaler.trainer.data import file_names, pair_check, sampled_frames
from upscaler.trainer.data.cache import Cache
from upscaler.trainer.data.pair_check import Shift
from upscaler.trainer.data.pairing import LrFiles
from upscaler.trainer.data.sources import Source
from upscaler.trainer.degrade import degradations, h264
from upscaler.trainer.degrade.degradations import downscale

# Clips encoded per photograph for `video`; each has its own quality and motion.
_CLIPS = 3

Decode = Callable[[Path], Tensor]  # RGB (H, W, 3) uint8

Item = TypeVar("Item")
Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class PhotoPair:
    """A photograph and its LR version, RGB uint8.

    Or a short clip of T frames, which lie one behind the other in the channels; see ``clip_pairs``.

    Attributes:
        name: Its file name, and its size if reduced.
        lr: ``(h, w, 3)``, of a clip ``(h, w, 3*T)``.
        hr: ``(h*scale, w*scale, 3)``, of a clip ``(h*scale, w*scale, 3*T)``.
        lr_variants: Degraded versions, like ``lr``, to draw crops from instead.
        given: Whether ``lr`` comes from a file, and must not be degraded.
        shift: By how many LR pixels (down, right) a given ``lr`` lies off ``hr``, if that can be measured.
    """

    name: str
    lr: Tensor
    hr: Tensor
    lr_variants: tuple[Tensor, ...] = ()
    given: bool = False
    shift: Shift | None = None

    @property
    def frame_count(self) -> int:
        """T of a clip, 1 of a photograph."""
        return self.hr.shape[2] // 3

    def frame(self, time: int) -> "PhotoPair":
        """A frame of a clip as a photograph; the last one for -1."""
        start = 3 * (time % self.frame_count)
        lr, hr, *variants = (image[..., start : start + 3] for image in (self.lr, self.hr, *self.lr_variants))
        return replace(self, lr=lr, hr=hr, lr_variants=tuple(variants))


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

    def suffice_for(self, source: Source) -> bool:
        """Whether a photograph has an LR image, or needs none."""
        return self._files is None or not self._required or self._files.find(source) is not None


def _decoded(path: Path) -> Tensor:
    return torch.from_numpy(stills.read_rgb8(path).copy())  # a decoder's array is read-only


class Reader:
    """Reads photographs as pairs."""

    def __init__(
        self, scale: int, degradation: str, sizes: tuple[float, ...], pairs: str = "separate"
    ) -> None:
        self._scale, self._sizes, self._layout = scale, sizes, pairs
        known = degradations.parse(degradation)
        self._clips, self._crf = (_CLIPS if known.encoded else 0), known.crf
        self._partly_clean = known.partly_clean

    def size(self, path: Path) -> tuple[int, int] | None:
        """(height, width) of a photograph; ``None`` where it cannot be read."""
        try:
            height, width = stills.read_size(path)
        except UpscalerError:
            return None  # decoding reports why
        return height, width if self._layout == "separate" else width // 2

    def needed_bytes(self, _found: list[Source], sizes: list[tuple[int, int] | None]) -> int:
        """Memory of all pairs of these photographs; sizes from ``size``."""
        return int(sum(size[0] * size[1] * self.bytes_per_pixel for size in sizes if size))

    @property
    def bytes_per_pixel(self) -> float:
        """Memory that a pixel of a photograph takes, with its sizes and LR versions."""
        return 3 * (1 + (1 + self._clips) / self._scale**2) * sum(size**2 for size in self._sizes)

    def read(
        self, found: list[Source], patch_px: int, lr_paths: LrPaths, cache: Cache | None
    ) -> tuple[list[list[PhotoPair]], list[str]]:
        """The sizes of every usable photograph, in order, and ``name: reason`` of the others."""
        return read_all(lambda source: self.pairs(source, patch_px, lr_paths), found, cache)

    def read_videos(
        self, found: list[Source], patch_px: int, most: int, cache: Cache
    ) -> tuple[list[list[list[PhotoPair]]], list[str]]:
        """The sizes of frames of every usable video, in order, and ``name: reason`` of the others.

        Args:
            found: The video files.
            patch_px: Side of a crop, which every size must hold, LR pixels.
            most: Frames of a video at most.
            cache: Keeps them.
        """
        videos: list[list[list[PhotoPair]]] = []
        left_out: list[str] = []
        for source in found:
            try:
                frames = sampled_frames.sampled(source.path, most)
                names = [f"{source.path.name} at {frame.time_s:.2f} s" for frame in frames]
                versions = [
                    self._made(name, frame.pixels, patch_px)
                    for name, frame in zip(names, frames, strict=True)
                ]
            except UpscalerError as error:
                left_out.append(f"{source.path.name}: {error.message}")
            else:
                videos.append([[_kept(pair, cache) for pair in pairs] for pairs in versions])
        return videos, left_out

    def pairs(
        self, source: Source, patch_px: int, lr_paths: LrPaths, decode: Decode = _decoded
    ) -> list[PhotoPair]:
        """The sizes of a photograph.

        Args:
            source: Its file.
            patch_px: Side of a crop, which every size must hold, LR pixels.
            lr_paths: Where its LR version is.
            decode: Reads a file.

        Raises:
            UpscalerError: It cannot be used.
        """
        lr_path = lr_paths.of(source)
        name, pixels = source.path.name, decode(source.path)
        if self._layout != "separate":
            return [_side_by_side(name, pixels, self._scale, patch_px, self._layout)]
        if lr_path is not None:
            return [_given_pair(name, pixels, self._scale, patch_px, decode(lr_path))]
        return self._made(name, pixels, patch_px)

    def _made(self, name: str, pixels: Tensor, patch_px: int) -> list[PhotoPair]:
        """The sizes of an image whose LR versions are made."""
        pairs = _pairs(name, pixels, self._scale, patch_px, self._sizes)
        return [self._with_clips(pair) for pair in pairs] if self._clips else pairs

    def _with_clips(self, pair: PhotoPair) -> PhotoPair:
        """The pair with frames of encoded clips as variants; they depend on the name alone."""
        generator = Generator().manual_seed(file_names.seed_of(pair.name))
        clips = h264.versions(pair.hr.permute(2, 0, 1), self._scale, _CLIPS, generator, self._crf)
        clean = (pair.lr,) * len(clips) if self._partly_clean else ()
        return replace(pair, lr_variants=(*clips, *clean))


def read_all(
    load: Callable[[Source], list[PhotoPair]], found: list[Source], cache: Cache | None
) -> tuple[list[list[PhotoPair]], list[str]]:
    """The pairs of every usable file, in order, and ``name: reason`` of the others.

    Args:
        load: Reads one file; what it raises of ours is the reason.
        found: The files.
        cache: Where pixels are kept; ``None``: where they are.
    """

    def load_or_say(source: Source) -> list[PhotoPair] | str:
        try:
            return load(source)
        except UpscalerError as error:
            return f"{source.path.name}: {error.message}"

    photos: list[list[PhotoPair]] = []
    left_out: list[str] = []
    for pairs in _in_parallel(load_or_say, found):
        if isinstance(pairs, str):
            left_out.append(pairs)
        else:
            photos.append([_kept(pair, cache) if cache else pair for pair in pairs])
    return photos, left_out


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


def _pairs(name: str, pixels: Tensor, scale: int, patch_px: int, sizes: tuple[float, ...]) -> list[PhotoPair]:
    """The photograph at each size that holds a crop; raises a TrainingError if none does."""
    pairs = []
    for share in sizes:
        hr = _multiple(pixels if share == 1 else _smaller(pixels, share), scale)
        if min(hr.shape[:2]) >= patch_px * scale:
            lr = hr if scale == 1 else _downscaled(hr, scale)
            pairs.append(PhotoPair(name if share == 1 else f"{name} at {share:g}", lr, hr))
    if not pairs:
        raise _too_small(pixels, max(sizes))
    return pairs


def _given_pair(name: str, pixels: Tensor, scale: int, patch_px: int, lr: Tensor) -> PhotoPair:
    hr = _multiple(pixels, scale)
    if min(hr.shape[:2]) < patch_px * scale:
        raise _too_small(pixels)
    height, width = (side // scale for side in hr.shape[:2])
    if lr.shape[:2] != (height, width):
        raise TrainingError(f"its LR image is {lr.shape[1]}x{lr.shape[0]}, not {width}x{height}")
    reduced = hr if scale == 1 else _downscaled(hr, scale)
    return PhotoPair(name, lr, hr, given=True, shift=pair_check.measured_shift(lr, reduced))


def _side_by_side(name: str, pixels: Tensor, scale: int, patch_px: int, layout: str) -> PhotoPair:
    """The two halves of an image; the LR half is reduced by the scale."""
    width = pixels.shape[1]
    if width % 2:
        raise TrainingError(f"it is {width} pixels wide, which is no two halves")
    left, right = (_multiple(half, scale) for half in pixels.chunk(2, dim=1))
    hr, poor = (left, right) if layout == "left-hr" else (right, left)
    if min(hr.shape[:2]) < patch_px * scale:
        raise _too_small(hr)
    reduced, lr = (image if scale == 1 else _downscaled(image, scale) for image in (hr, poor))
    return PhotoPair(name, lr, hr, given=True, shift=pair_check.measured_shift(lr, reduced))


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


def _kept(pair: PhotoPair, cache: Cache) -> PhotoPair:
    hr = cache.keep(pair.hr)
    lr = hr if pair.lr is pair.hr else cache.keep(pair.lr)
    variants = (lr if variant is pair.lr else cache.keep(variant) for variant in pair.lr_variants)
    return replace(pair, lr=lr, hr=hr, lr_variants=tuple(variants))
