"""The photographs of a run: read before the training, as uint8; some are held out for validation."""

import math
import zlib
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Generator, Tensor

from upscaler.errors import TrainingError
from upscaler.trainer.data import crop_side, file_names, pair_check, sources
from upscaler.trainer.data.cache import Cache
from upscaler.trainer.data.clip_pairs import ClipReader, ClipSettings
from upscaler.trainer.data.crop_side import CropSide
from upscaler.trainer.data.held_out import held_out_indices
from upscaler.trainer.data.pair_check import Shift
from upscaler.trainer.data.photo_pairs import LrPaths, PhotoPair, Reader, smaller_px
from upscaler.trainer.degrade import degradations

# Validation images are degraded alike in every run, whatever its seed: scores stay comparable.
_HELD_OUT_SEED = 20_160_915

# Scores ignore a border of an LR pixel on each side; something must remain.
_SMALLEST_VALIDATION_PX = 4

# Only the centre of a validation image is kept and scored: validations must not take longer than training.
VALIDATION_SIDE_PX = 512


@dataclass(frozen=True)
class Photos:
    """The photographs of a run.

    Attributes:
        training: Pairs to draw crops from; one for each size of a photograph.
        photographs: Number of photographs to train on.
        held_out: Pairs for validation, never drawn from; degraded like the training.
        left_out: ``name: reason`` for every unusable file, and for every folder that cannot be listed.
        crop_side: Largest side of a crop, LR pixels, that all pairs hold, and what would make it larger.
        shift: By how many LR pixels (down, right) given LR images lie off their originals, if all do alike.
        look_like_pairs: Whether most are exactly twice as wide as high.
        not_images: Number of files that are no images, by suffix.
        mapped: Whether the pixels are in a memory-mapped file.
    """

    training: list[PhotoPair]
    photographs: int
    held_out: list[PhotoPair]
    left_out: list[str]
    crop_side: CropSide = field(default_factory=lambda: CropSide(1))
    shift: Shift | None = None
    look_like_pairs: bool = False
    not_images: dict[str, int] = field(default_factory=dict)
    mapped: bool = False

    @property
    def patch_px(self) -> int:
        """Largest side of a crop, LR pixels, that all pairs hold."""
        return self.crop_side.patch_px

    def fingerprint(self) -> int:
        """A hash that changes when a photograph is added, removed, renamed or resized."""
        known = [(pair.name, *pair.hr.shape) for pair in (*self.training, *self.held_out)]
        return zlib.crc32(repr(known).encode())


def load_photos(  # noqa: PLR0913 - what decides how they are read
    folders: tuple[str, ...],
    scale: int,
    patch_px: int,
    *,
    degradation: str = "clean",
    lr_dirs: tuple[str, ...] = (),
    sizes: tuple[float, ...] = (1.0,),
    smallest_photo_px: int = 64,
    pairs: str = "separate",
    align_lr: bool = False,
    valid: tuple[str, ...] = (),
    valid_lr_dirs: tuple[str, ...] = (),
    cache_folder: Path | None = None,
    clip_frames: int = 0,
) -> Photos:
    """Decode every photograph and make or read its LR version, with as many threads as torch uses.

    Args:
        folders: Folders, searched recursively except for run folders, or single files.
        scale: HR size over LR size.
        patch_px: Desired side of a crop, LR pixels; reduced until 95 % of the photographs hold it.
        degradation: As in ``degradations.parse``.
        lr_dirs: Folders with LR versions, as in ``LrFiles``; if empty, LR versions are made.
        sizes: Fractions of its own size, at most 1, that each photograph is first reduced to; training uses
            all of them, validation the first. Sizes too small for a crop are skipped.
        smallest_photo_px: Photographs with a shorter side below this are left out, unless a desired crop
            is smaller.
        pairs: ``separate``, or ``left-hr`` and ``right-hr``: both versions side by side in one image.
        align_lr: Take a common shift of given LR images out.
        valid: Folders or files with validation images; if empty, photographs are held out.
        valid_lr_dirs: Folders with LR versions of ``valid``, as ``lr_dirs``.
        cache_folder: Folder for the cache file if memory does not hold the photographs, see ``Cache``.
        clip_frames: Read clips of so many frames, of videos and made from photographs; 0: photographs only.

    Raises:
        TrainingError: A folder is missing, LR files are ambiguous, or fewer than two photographs are usable.
    """
    reader: Reader | ClipReader = Reader(scale, degradation, sizes, pairs)
    if clip_frames:
        reader = ClipReader(ClipSettings(clip_frames, scale, degradations.parse(degradation), max(sizes)))
    found = sources.find(folders, videos=bool(clip_frames))
    elsewhere = sources.find(valid, videos=bool(clip_frames))
    kept_for_validation = {source.path for source in elsewhere}
    found = [source for source in found if source.path not in kept_for_validation]
    shapes = [reader.size(source.path) for source in found]
    doubles = sum(width == 2 * height for height, width in filter(None, shapes))
    largest = 1.0 if clip_frames else max(sizes)  # sizes of clips are those after reduction
    sides_px = [smaller_px(min(size), largest) for size in shapes if size]
    side = crop_side.choose(sides_px, scale, patch_px, smallest_photo_px)
    cache = Cache(reader.needed_bytes(found, shapes), cache_folder)

    photos, left_out = reader.read(
        found, side.patch_px, LrPaths(lr_dirs, scale, found, len(folders), degradation), cache
    )
    left_out += _unreadable_folders((*folders, *valid))
    least = 1 if elsewhere else 2
    if len(photos) < least:
        reasons = f"; {len(left_out)} left out, the first is {left_out[0]}" if left_out else ""
        are = "photograph is" if len(photos) == 1 else "photographs are"
        raise TrainingError(
            f"only {len(photos)} {are} usable in {', '.join(folders)}{reasons}",
            f"training needs at least {('one', 'two')[least - 1]}, "
            f"{math.ceil(side.patch_px * scale / max(sizes))} pixels high and wide",
        )
    if elsewhere:
        lr_paths = LrPaths(valid_lr_dirs, scale, elsewhere, len(valid), degradation)
        held_out, unusable = reader.read(elsewhere, _SMALLEST_VALIDATION_PX, lr_paths, cache=None)
        if not held_out:
            raise TrainingError(f"no image in {', '.join(valid)} can be used: {unusable[0]}")
        left_out += [f"validation: {line}" for line in unusable]
    else:
        chosen = held_out_indices(len(photos))
        held_out = [photos[index] for index in chosen]
        photos = [photo for index, photo in enumerate(photos) if index not in chosen]
    training = [pair for versions in photos for pair in versions]
    validation = [versions[0] for versions in held_out]
    shift = pair_check.common_shift([pair.shift for pair in training + validation if pair.shift])
    if align_lr and shift is not None:
        training, validation = (_aligned(pairs, scale, shift) for pairs in (training, validation))
    return Photos(
        training=training,
        photographs=len(photos),
        held_out=[_degraded(_centre(pair, scale), scale, degradation) for pair in validation],
        left_out=left_out,
        crop_side=side if shift is None or not align_lr else _smaller_side(side, training),
        shift=shift,
        look_like_pairs=pairs == "separate" and not (lr_dirs or clip_frames) and 2 * doubles > len(found),
        not_images=sources.not_images(folders, videos=bool(clip_frames)),
        mapped=cache.mapped,
    )


def _unreadable_folders(folders: tuple[str, ...]) -> list[str]:
    unreadable = [sources.unreadable_below(Path(folder)) for folder in folders]
    return [f"{path}: {reason}" for found in unreadable for path, reason in found.items()]


def _aligned(pairs: list[PhotoPair], scale: int, shift: Shift) -> list[PhotoPair]:
    """Pairs with given LR images without this shift; the others as they are."""
    aligned = []
    for pair in pairs:
        if pair.given:
            lr, hr = pair_check.without_shift(pair.lr, pair.hr, scale, shift)
            pair = replace(pair, lr=lr, hr=hr)
        aligned.append(pair)
    return aligned


def _smaller_side(side: CropSide, pairs: list[PhotoPair]) -> CropSide:
    """The side of crops that pairs still hold after they were cut."""
    return replace(side, patch_px=min(side.patch_px, *(min(pair.lr.shape[:2]) for pair in pairs)))


def _centre(pair: PhotoPair, scale: int) -> PhotoPair:
    """The part of a validation image that is scored, copied: the whole one need not stay in memory."""
    side_px = VALIDATION_SIDE_PX // scale
    top, left = (max(0, side - side_px) // 2 for side in pair.lr.shape[:2])

    def part(image: Tensor, factor: int) -> Tensor:
        rows = slice(top * factor, (top + side_px) * factor)
        columns = slice(left * factor, (left + side_px) * factor)
        return image[rows, columns].clone()

    variants = tuple(part(variant, 1) for variant in pair.lr_variants[:1])
    return replace(pair, lr=part(pair.lr, 1), hr=part(pair.hr, scale), lr_variants=variants)


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
