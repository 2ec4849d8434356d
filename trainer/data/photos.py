"""The photographs of a run, as uint8: read before the training, or during it; some are held out."""

import math
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from torch import Generator, Tensor

from upscaler.errors import TrainingError, UpscalerError
from upscaler.trainer.data import crop_side, file_names, pair_check, sampled_frames
from upscaler.trainer.data.cache import Cache
from upscaler.trainer.data.clip_pairs import ClipReader, ClipSettings
from upscaler.trainer.data.crop_side import CropSide
from upscaler.trainer.data.held_out import beside_streamed, held_out_indices, hold_out
from upscaler.trainer.data.pair_check import Shift
from upscaler.trainer.data.pairing import NO_LR_IMAGE
from upscaler.trainer.data.photo_pairs import Decode, LrPaths, PhotoPair, Reader, smaller_px
from upscaler.trainer.data.photo_sizes import PhotoSizes, Size, read_sizes
from upscaler.trainer.data.photo_stream import PhotoStream, StreamedPhoto
from upscaler.trainer.data.sources import Folders, Source
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
        training: Pairs to draw crops from, one for each size of a photograph; or a stream that reads them
            during the training.
        photographs: Number of photographs to train on.
        held_out: Pairs for validation, never drawn from; degraded like the training.
        left_out: ``name: reason`` for every unusable file, and for every folder that cannot be listed.
        crop_side: Largest side of a crop, LR pixels, that all pairs hold, and what would make it larger.
        shift: By how many LR pixels (down, right) given LR images lie off their originals, if all do alike.
        look_like_pairs: Whether most are exactly twice as wide as high.
        not_images: Number of files that are no images, by suffix.
        opened: How many photographs were opened for their sizes; less than all of many.
        mapped: Whether the pixels are in a memory-mapped file.
        needed_bytes: What all of them take when decoded.
        frames: How many of the photographs, those held out included, are frames of videos.
        videos: Number of videos that these are from.
    """

    training: list[PhotoPair] | PhotoStream
    photographs: int
    held_out: list[PhotoPair]
    left_out: list[str]
    crop_side: CropSide = field(default_factory=lambda: CropSide(1))
    shift: Shift | None = None
    look_like_pairs: bool = False
    not_images: dict[str, int] = field(default_factory=dict)
    opened: int = 0
    mapped: bool = False
    needed_bytes: int = 0
    frames: int = 0
    videos: int = 0

    @property
    def patch_px(self) -> int:
        """Largest side of a crop, LR pixels, that all pairs hold."""
        return self.crop_side.patch_px

    def fingerprint(self) -> int:
        """A hash that changes when a photograph is added, removed, renamed or, if it was opened, resized."""
        known: list[tuple[str | int, ...]] = [(pair.name, *pair.hr.shape) for pair in self.held_out]
        if isinstance(self.training, PhotoStream):
            known += [(photo.source.path.name,) for photo in self.training.photos]
            known.append(("pixels of a turn", self.training.pixels_per_turn))
        else:
            known = [*((pair.name, *pair.hr.shape) for pair in self.training), *known]
        return zlib.crc32(repr(known).encode())

    def close(self) -> None:
        """End what reads photographs during the training."""
        if isinstance(self.training, PhotoStream):
            self.training.close()


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
    frames_per_video: int = 0,
    cache_folder: Path | None = None,
    clip_frames: int = 0,
    cache_gb: float = math.inf,
    workers: int = 0,
    seed: int = 0,
) -> Photos:
    """Decode every photograph and make or read its LR version, with as many threads as torch uses.

    If they are too many for that, only those for validation; see ``PhotoStream`` for the others.

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
        frames_per_video: Frames of a video that are used as photographs, at most; of a video that is held
            out, one. Not with ``given`` and side-by-side pairs: videos have no LR version.
        cache_folder: Folder for the cache file if memory does not hold the photographs, see ``Cache``.
        clip_frames: Read clips of so many frames, of videos and made from photographs; 0: photographs only.
        cache_gb: If they take more than this when decoded, 10^9 bytes, they are read during the training.
        workers: Helper processes that then decode them, see ``PhotoStream``.
        seed: Decides in which order.

    Raises:
        TrainingError: A folder is missing, LR files are ambiguous, or fewer than two photographs are usable.
    """
    reader: Reader | ClipReader
    reader = photo_reader = Reader(scale, degradation, sizes, pairs)
    if clip_frames:  # of videos, too, and all before the training
        settings = ClipSettings(clip_frames, scale, degradations.parse(degradation), max(sizes))
        reader, frames_per_video, cache_gb = ClipReader(settings), 0, math.inf
    valid_folders, photo_folders = Folders(valid), Folders(folders)
    elsewhere = _validation_images(valid, valid_folders, videos=bool(clip_frames))
    found = _without(photo_folders.images(videos=bool(clip_frames)), elsewhere)
    shapes = read_sizes(found, lambda source: reader.size(source.path))
    makes_lr = degradation != degradations.GIVEN and pairs == "separate"
    videos, video_sizes, left_out = _find_videos(
        photo_folders.videos() if makes_lr and frames_per_video else []
    )

    largest = 1.0 if clip_frames else max(sizes)  # sizes of clips are those after reduction
    sides_px = [smaller_px(min(size), largest) for size in (*shapes.known, *video_sizes)]
    side = crop_side.choose(sides_px, scale, patch_px, smallest_photo_px)
    least_px = side.patch_px * scale / max(sizes)
    lr_paths = LrPaths(lr_dirs, scale, found, len(folders), degradation)
    photo_bytes = int(reader.needed_bytes(*shapes.of_opened(found)) * shapes.per_opened)
    frame_bytes = photo_reader.needed_bytes(videos, [*video_sizes])  # of one frame of each video
    frames_per_video = max(1, int(min(frames_per_video, cache_gb * 1e9 / max(1, frame_bytes))))
    frame_bytes *= frames_per_video
    later: list[StreamedPhoto] = []
    if shapes.known and photo_bytes + frame_bytes > cache_gb * 1e9:
        found, later, unusable = _split(found, shapes, least_px, lr_paths, hold_out=not elsewhere)
        left_out += unusable
    cache = Cache(frame_bytes + (0 if later else photo_bytes), cache_folder)

    photos, unusable_photos = reader.read(found, side.patch_px, lr_paths, cache)
    frames, unusable_videos = photo_reader.read_videos(videos, side.patch_px, frames_per_video, cache)
    unreadable = _unreadable(photo_folders, Folders(lr_dirs), valid_folders, Folders(valid_lr_dirs))
    left_out = unusable_photos + left_out + unusable_videos + unreadable
    pair_check.require_most_belong_together(left_out, sum(versions[0].given for versions in photos), pairs)
    count = len(photos) + sum(map(len, frames)) + len(later)
    _require_enough(count, folders, left_out, least_px, least=1 if elsewhere else 2)
    if elsewhere:
        lr_of_valid = LrPaths(valid_lr_dirs, scale, elsewhere, len(valid), degradation)
        held_out, unusable = _read_for_validation(reader, elsewhere, lr_of_valid)
        left_out += unusable
        photos += [frame for video in frames for frame in video]
    elif later:
        held_out, photos = beside_streamed(photos, frames, left_out)
    else:
        held_out, photos = hold_out(photos, frames)

    training, validation = [pair for versions in photos for pair in versions], [each[0] for each in held_out]
    shift = pair_check.common_shift([pair.shift for pair in training + validation if pair.shift])
    moved = shift if align_lr else None
    if moved is not None:
        training, validation = (_aligned(pairs, scale, moved) for pairs in (training, validation))
        usable_px = [min(size) for size in shapes.known if min(size) >= least_px] if later else []
        side = _smaller_side(side, scale, moved, training, usable_px)

    stream = later and PhotoStream(
        later + [_already_read(versions) for versions in photos],
        _reads_later(photo_reader, side.patch_px, lr_paths, scale, moved),
        sizes=shapes.known,
        scale=scale,
        seed=seed,
        bytes_per_pixel=photo_reader.bytes_per_pixel,
        most_bytes=cache_gb * 1e9,
        workers=workers,
    )
    return Photos(
        training=stream or training,
        photographs=len(photos) + len(later),
        held_out=[_degraded(_centre(pair, scale), scale, degradation) for pair in validation],
        left_out=left_out,
        crop_side=side,
        shift=shift,
        look_like_pairs=pairs == "separate" and not (lr_dirs or clip_frames) and _are_doubles(shapes.known),
        not_images=photo_folders.others(videos=bool(videos or clip_frames)),
        mapped=cache.mapped,
        opened=len(shapes.opened),
        needed_bytes=photo_bytes + frame_bytes,
        frames=sum(map(len, frames)),
        videos=len(frames),
    )


def _without(found: list[Source], others: list[Source]) -> list[Source]:
    paths = {source.path for source in others}
    return [source for source in found if source.path not in paths]


def _are_doubles(sizes: list[Size]) -> bool:
    """Whether most are exactly twice as wide as high."""
    return 2 * sum(width == 2 * height for height, width in sizes) > len(sizes)


def _find_videos(found: list[Source]) -> tuple[list[Source], list[tuple[int, int]], list[str]]:
    """The videos that can be read, height and width of each, and ``name: reason`` of the others."""
    usable, sizes, left_out = [], [], []
    for source in found:
        try:
            sizes.append(sampled_frames.size_of(source.path))
            usable.append(source)
        except UpscalerError as error:
            left_out.append(f"{source.path.name}: {error.message}")
    return usable, sizes, left_out


def _read_for_validation(
    reader: Reader | ClipReader, found: list[Source], lr_paths: LrPaths
) -> tuple[list[list[PhotoPair]], list[str]]:
    """The user's own validation images, and which are left out."""
    held_out, unusable = reader.read(found, _SMALLEST_VALIDATION_PX, lr_paths, cache=None)
    if not held_out:
        raise TrainingError(f"no image for validation can be used: {unusable[0]}")
    return held_out, [f"validation: {line}" for line in unusable]


def _split(
    found: list[Source],
    shapes: PhotoSizes,
    least_px: float,
    lr_paths: LrPaths,
    *,
    hold_out: bool,
) -> tuple[list[Source], list[StreamedPhoto], list[str]]:
    """Photographs to read before the training, for validation, and those to read during it.

    Args:
        found: All.
        shapes: Their sizes; one that is not known is seen when its turn comes.
        least_px: The shorter side that they must have.
        lr_paths: Where their LR versions are.
        hold_out: Whether some are held out for validation, of those whose size is known.

    Returns:
        Both kinds, and ``name: reason`` of those that are left out.
    """
    usable, candidates, left_out = [], [], []
    for index, source in enumerate(found):
        size, is_known = shapes.opened.get(index), index in shapes.opened
        if is_known and size is None:
            left_out.append(f"{source.path.name}: its header cannot be read")
        elif size is not None and min(size) < least_px:
            left_out.append(f"{source.path.name}: {size[1]}x{size[0]} is smaller than a crop")
        elif not lr_paths.suffice_for(source):
            left_out.append(f"{source.path.name}: {NO_LR_IMAGE}")
        else:
            usable.append(source)
            candidates += [source] if is_known else []
    are_held_out = hold_out and len(candidates) > 1
    now = [candidates[index] for index in held_out_indices(len(candidates))] if are_held_out else []
    paths = {source.path for source in now}
    return now, [StreamedPhoto(source) for source in usable if source.path not in paths], left_out


def _reads_later(
    reader: Reader, patch_px: int, lr_paths: LrPaths, scale: int, shift: Shift | None
) -> Callable[[Source, Decode], list[PhotoPair]]:
    """What reads a photograph of a stream, without this shift of its LR image."""

    def read(source: Source, decode: Decode) -> list[PhotoPair]:
        pairs = reader.pairs(source, patch_px, lr_paths, decode)
        if shift is None:
            return pairs
        pairs = _aligned(pairs, scale, shift)
        if min(pairs[0].lr.shape[:2]) < patch_px:
            raise TrainingError("without the shift of its LR image, it is smaller than a crop")
        return pairs

    return read


def _already_read(versions: list[PhotoPair]) -> StreamedPhoto:
    """A frame of a video, for a stream."""
    return StreamedPhoto(Source(Path(versions[0].name), Path(), 0), tuple(versions))


def _require_enough(
    count: int, folders: tuple[str, ...], left_out: list[str], least_px: float, *, least: int
) -> None:
    """Raise a TrainingError if there are too few photographs."""
    if count < least:
        reasons = f"; {len(left_out)} left out, the first is {left_out[0]}" if left_out else ""
        are = "photograph is" if count == 1 else "photographs are"
        raise TrainingError(
            f"only {count} {are} usable in {', '.join(folders)}{reasons}",
            f"training needs at least {('one', 'two')[least - 1]}, "
            f"{math.ceil(least_px)} pixels high and wide",
        )


def require_photos(*named: tuple[str, ...]) -> None:
    """Make sure that there are photographs at all, before what takes long.

    Args:
        named: Folders and files, as the user gave them for each purpose; none for what is not wanted.

    Raises:
        TrainingError: A folder is missing, or for one purpose no file has the suffix of an image or video.
    """
    for paths in filter(None, named):
        found = Folders(paths)
        if not (found.images() or found.videos()):
            raise _no_photograph(paths)


def _validation_images(valid: tuple[str, ...], folders: Folders, *, videos: bool) -> list[Source]:
    """Those in the user's own ``folders``, which are ``valid``; none if none were given."""
    found = folders.images(videos=videos)
    if valid and not found:
        raise _no_photograph(valid)
    return found


def _no_photograph(paths: tuple[str, ...]) -> TrainingError:
    return TrainingError(f"there is no photograph in {', '.join(paths)}", "use a folder with photographs")


def _unreadable(*searched: Folders) -> list[str]:
    return [f"{path}: {reason}" for folders in searched for path, reason in folders.unreadable().items()]


def _aligned(pairs: list[PhotoPair], scale: int, shift: Shift) -> list[PhotoPair]:
    """Pairs with given LR images without this shift; the others as they are."""
    aligned = []
    for pair in pairs:
        if pair.given:
            lr, hr = pair_check.without_shift(pair.lr, pair.hr, scale, shift)
            pair = replace(pair, lr=lr, hr=hr)
        aligned.append(pair)
    return aligned


def _smaller_side(
    side: CropSide, scale: int, shift: Shift, pairs: list[PhotoPair], streamed_px: list[int]
) -> CropSide:
    """The side of crops that all photographs still hold after they are cut to take out a shift."""
    cut_px = math.ceil(max(map(abs, shift)))
    held_px = [min(pair.lr.shape[:2]) for pair in pairs]
    held_px += [side_px // scale - cut_px for side_px in streamed_px]
    return replace(side, patch_px=min(side.patch_px, *held_px))


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
