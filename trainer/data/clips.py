"""Clips: video files, and folders of frames."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from upscaler.errors import MediaError
from upscaler.images import stills
from upscaler.images.formats import IMAGE_SUFFIXES
from upscaler.inference.resize import resize_bicubic
from upscaler.pixels import as_codes
from upscaler.trainer.data.sources import Listing
from upscaler.video import yuv
from upscaler.video.formats import VIDEO_SUFFIXES
from upscaler.video.reader import VideoReader

Rgb = NDArray[np.uint8]  # (H, W, 3)


@dataclass(frozen=True)
class Clip:
    """A video file, or a folder of frames.

    Attributes:
        name: Its path below the folder that was searched; of a file without the suffix.
        path: The file or folder.
    """

    name: str
    path: Path

    def frames(self, count: int | None = None, size: float = 1) -> Iterator[Rgb]:
        """Its frames in order, decoded one by one.

        Args:
            count: At most this many; ``None``: all.
            size: Fraction of its own size, at most 1, to which each frame is first reduced.

        Raises:
            MediaError: A frame cannot be decoded, has more than 8 bits, or another size than the first.
        """
        decoded = self._files() if self.path.is_dir() else self._decoded()
        first: tuple[int, ...] | None = None
        for frame in islice(decoded, count):
            first = first or frame.shape
            if frame.shape != first:
                raise MediaError(f"the frames of '{self.path}' have several sizes")
            yield frame if size == 1 else _reduced(frame, size)

    def _files(self) -> Iterator[Rgb]:
        for path in _frame_files(self.path):
            yield stills.read_rgb8(path)

    def _decoded(self) -> Iterator[Rgb]:
        with VideoReader(self.path) as reader:
            for frame in reader.frames():
                rgb = as_codes(yuv.to_rgb(frame.planes, frame.layout), torch.uint8)
                yield rgb.permute(1, 2, 0).contiguous().numpy()


def is_video(path: Path) -> bool:
    """Whether this is a video file, by its suffix."""
    return path.suffix.lower() in VIDEO_SUFFIXES


def video_size(path: Path) -> tuple[int, int]:
    """(height, width) of a video file; raises a MediaError if it cannot be decoded."""
    with VideoReader(path) as reader:
        return reader.info.height, reader.info.width


def video_files_below(folder: Path) -> list[Path]:
    """The video files in and below a folder, by suffix, sorted; without those in run folders."""
    return [folder / path for path in Listing(folder).with_suffixes(VIDEO_SUFFIXES)]


def clips_below(folder: Path) -> list[Clip]:
    """The video files in and below a folder, and the folders below it that hold several images; by name."""
    clips = [
        Clip(path.relative_to(folder).with_suffix("").as_posix(), path) for path in video_files_below(folder)
    ]
    runs = Listing(folder).run_folders
    folders = (path for path in folder.rglob("*") if path.is_dir() and runs.isdisjoint({path, *path.parents}))
    clips += [
        Clip(path.relative_to(folder).as_posix(), path) for path in folders if len(_frame_files(path)) > 1
    ]
    return sorted(clips, key=lambda clip: clip.name)


def find_clip(folder: Path, name: str) -> Clip:
    """The clip of this name in a folder: a folder of frames, or a video file with any suffix.

    Raises:
        MediaError: There is none.
    """
    candidates = (folder / name, *(folder / f"{name}{suffix}" for suffix in sorted(VIDEO_SUFFIXES)))
    found = next((path for path in candidates if path.exists()), None)
    if found is None:
        raise MediaError(f"no clip '{name}' in '{folder}'", "clips are video files or folders of frames")
    return Clip(name, found)


def _frame_files(folder: Path) -> list[Path]:
    """The images directly in a folder, in the order of the numbers in their names."""
    found = (path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
    return sorted(found, key=lambda path: (_numbers(path.stem), path.name))


def _numbers(stem: str) -> list[int]:
    return [int(digits) for digits in re.findall(r"\d+", stem)]


def _reduced(frame: Rgb, size: float) -> Rgb:
    height, width = (max(1, round(side * size)) for side in frame.shape[:2])
    pixels = torch.tensor(frame).permute(2, 0, 1).unsqueeze(0)
    reduced: Rgb = resize_bicubic(pixels, height, width)[0].permute(1, 2, 0).contiguous().numpy()
    return reduced
