"""Short clips and their LR versions, to train networks that see neighbouring frames.

They are cut from videos, and made from photographs by moving them. LR is downscaled, and where the
degradation encodes, the LR version of a whole video goes through a codec, at one quality per variant: errors
of a codec travel from frame to frame, and so must the clips that a network learns from.

A clip is a ``PhotoPair`` whose frames lie one behind the other in the channels, so that crops of it are cut,
rotated and cached as those of a photograph.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Generator, Tensor

from upscaler.errors import TrainingError, UpscalerError
from upscaler.images import stills
from upscaler.trainer.data import file_names
from upscaler.trainer.data.cache import Cache
from upscaler.trainer.data.clips import Clip, is_video, video_size
from upscaler.trainer.data.made_motion import moving_clip
from upscaler.trainer.data.photo_pairs import LrPaths, PhotoPair, read_all, smaller_px
from upscaler.trainer.data.sources import Source
from upscaler.trainer.degrade import codecs
from upscaler.trainer.degrade.degradations import Degradation, downscale

# Side of a clip made from a photograph, LR pixels, where the photograph is that large.
_MADE_SIDE_PX = 48
# Encoded versions of each clip, each with its own codec and quality.
_ENCODINGS = 4
# Frames of a long video that are read; more of one scene teach little.
_FRAMES_MAX = 140


@dataclass(frozen=True)
class ClipSettings:
    """How clips are cut and made.

    Attributes:
        frames: Of a clip.
        scale: HR size over LR size.
        degradation: Of LR; encodes or only downscales.
        size: Fraction of its own size, at most 1, to which a video is reduced first.
    """

    frames: int
    scale: int
    degradation: Degradation
    size: float = 1


class ClipReader:
    """Reads videos and photographs as clips; see ``photo_pairs.Reader``.

    Args:
        settings: How clips are cut and made.
    """

    def __init__(self, settings: ClipSettings) -> None:
        self._settings = settings
        self._encodings = _ENCODINGS if settings.degradation.encoded else 0

    def size(self, path: Path) -> tuple[int, int] | None:
        """(height, width) of the frames of the clips of a file; ``None`` where it cannot be read."""
        try:
            if is_video(path):
                height, width = (smaller_px(side, self._settings.size) for side in video_size(path))
                return height, width
            height, width = stills.read_size(path)
            side_px = _made_side_px(height, width, self._settings.scale)
            return side_px, side_px
        except UpscalerError:
            return None  # decoding reports why

    def needed_bytes(self, found: list[Source], sizes: list[tuple[int, int] | None]) -> int:
        """Memory of all clips of these files, at most; sizes from ``size``."""
        per_pixel = 3 * (1 + (1 + self._encodings) / self._settings.scale**2)
        frames = sum(
            size[0] * size[1] * (_FRAMES_MAX if is_video(source.path) else self._settings.frames)
            for source, size in zip(found, sizes, strict=True)
            if size
        )
        return int(frames * per_pixel)

    def read(
        self, found: list[Source], patch_px: int, _lr_paths: LrPaths, cache: Cache | None
    ) -> tuple[list[list[PhotoPair]], list[str]]:
        """The clips of every usable file, in order, and ``name: reason`` of the others."""
        return read_all(lambda source: self.clips(source, patch_px), found, cache)

    def clips(self, source: Source, patch_px: int) -> list[PhotoPair]:
        """The clips of a video, without a rest of fewer frames; or the one made from a photograph.

        Raises:
            MediaError: The file cannot be read.
            TrainingError: It is smaller than a crop, or too short.
        """
        settings = self._settings
        generator = Generator().manual_seed(file_names.seed_of(source.path.name))
        if is_video(source.path):
            hr = _frames_of_video(source, settings)
        else:
            hr = _frames_of_photograph(source, settings, generator)
        if min(hr.shape[-2:]) < patch_px * settings.scale:
            raise TrainingError(f"{hr.shape[-1]}x{hr.shape[-2]} is smaller than a crop")
        lr = downscale(hr, settings.scale)
        encoded = [_encoded(lr, settings, generator) for _ in range(self._encodings)]
        pairs = []
        for start in range(0, len(hr) - settings.frames + 1, settings.frames):
            times = slice(start, start + settings.frames)
            clean = _as_channels(lr[times])
            versions = [_as_channels(version[times]) for version in encoded]
            if settings.degradation.partly_clean:
                versions += [clean] * len(versions)
            order = torch.randperm(len(versions), generator=generator).tolist()
            shuffled = tuple(versions[index] for index in order)  # the first one is what validation sees
            name = f"{source.path.name} from {start}"
            pairs.append(PhotoPair(name, clean, _as_channels(hr[times]), lr_variants=shuffled))
        return pairs


def _frames_of_video(source: Source, settings: ClipSettings) -> Tensor:
    """``(T, 3, H, W)`` uint8, H and W multiples of the scale."""
    clip = Clip(source.path.stem, source.path)
    frames = []
    for frame in clip.frames(_FRAMES_MAX, settings.size):
        height, width = (_whole(side, settings.scale) for side in frame.shape[:2])
        frames.append(torch.from_numpy(frame[:height, :width]).permute(2, 0, 1))
    if len(frames) < settings.frames:
        raise TrainingError(f"its {len(frames)} frames are fewer than a clip's {settings.frames}")
    return torch.stack(frames)


def _frames_of_photograph(source: Source, settings: ClipSettings, generator: Generator) -> Tensor:
    photograph = torch.from_numpy(stills.read_rgb8(source.path).copy()).permute(2, 0, 1)
    height, width = photograph.shape[-2:]
    side_px = _made_side_px(height, width, settings.scale)
    if min(height, width) < 2 * side_px:
        return moving_clip(photograph, settings.frames, side_px, settings.scale, generator)
    # Moved at twice the size and reduced: moving softens, by 2.3 dB at high frequencies.
    large = moving_clip(photograph, settings.frames, 2 * side_px, 2 * settings.scale, generator)
    return downscale(large, 2)


def _made_side_px(height: int, width: int, scale: int) -> int:
    return _whole(min(_MADE_SIDE_PX * scale, height, width), scale)


def _whole(side_px: int, scale: int) -> int:
    return side_px - side_px % scale


def _encoded(lr: Tensor, settings: ClipSettings, generator: Generator) -> Tensor:
    return torch.stack(codecs.drawn_round_trip(list(lr), settings.degradation.crf, generator))


def _as_channels(frames: Tensor) -> Tensor:
    """``(T, 3, H, W)`` -> ``(H, W, 3*T)``."""
    return frames.permute(2, 3, 0, 1).flatten(2).contiguous()
