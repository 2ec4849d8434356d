"""Evaluates upscaled clips: the protocol of images on every frame, and how calm the clip is over time.

A clip's score is the mean over its frames; tOF and tLP compare neighbouring frames. The average is that over
the clips, however long they are. HR is read twice, once to make LR: no clip need fit into memory.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Generator

from upscaler.errors import MediaError, UsageError
from upscaler.trainer.data import file_names
from upscaler.trainer.data.clips import Clip, clips_below, find_clip
from upscaler.trainer.degrade import codecs, degradations
from upscaler.trainer.evaluation import protocol
from upscaler.trainer.evaluation.flow import flow_distance
from upscaler.trainer.evaluation.folders import EvaluationFolders, require_different
from upscaler.trainer.evaluation.lpips import Lpips
from upscaler.trainer.evaluation.lr_images import LrSource, Rgb, degraded
from upscaler.trainer.evaluation.protocol import Comparison, Evaluation, Score
from upscaler.trainer.evaluation.subject import SrFolder, Subject

# These depend on the frame alone or on the whole clip; others would draw random numbers for every frame.
_KNOWN = "clean, bilinear, jpegN, video or videoN"


@dataclass(frozen=True)
class Selection:
    """Which frames of a clip are evaluated, and at which size.

    Attributes:
        frames: The first so many; ``None``: all.
        size: Fraction of its own size, at most 1, to which HR is reduced first: compressed films have less
            detail than pixels.
    """

    frames: int | None = None
    size: float = 1

    @classmethod
    def checked(cls, frames: int | None, size: float | None) -> "Selection":
        """The selection of these options; raises a UsageError if the size is out of range."""
        if size is not None and not 0 < size <= 1:
            raise UsageError(f"--size '{size:g}' must be a number above 0, at most 1")
        return cls(frames, size or 1)

    @staticmethod
    def refuse(frames: int | None, size: float | None) -> None:
        """Raises a UsageError if an option is given that is for clips."""
        if frames is not None or size is not None:
            raise UsageError("--frames and --size are for clips", "use --clips for folders of frames")


def evaluate_clips(
    subject: Subject,
    hr_dir: Path,
    lr_source: LrSource,
    selection: Selection,
    *,
    save_folder: Path | None = None,
    lpips: Lpips | None = None,
    on_score: Callable[[Score, Comparison], None] = lambda score, comparison: None,
) -> Evaluation:
    """Score every clip of a folder; a bad clip does not stop the rest.

    Args:
        subject: What is measured.
        hr_dir: Folder with HR clips: video files, and folders of frames.
        lr_source: Where the LR clips come from; those of a folder have the names of the HR clips.
        selection: Which frames.
        save_folder: Folder for the SR frames, ``<clip>/00000.png`` and so on; ``None``: not saved.
        lpips: Measures LPIPS and tLP too.
        on_score: Called after each clip, with its last frame.

    Raises:
        UsageError: A folder is missing or has no clips, saving would overwrite what is compared, or clips
            cannot be degraded this way.
    """
    _check_degradation(lr_source)
    folders = EvaluationFolders.of(subject, hr_dir, lr_source, save_folder)
    clips = _clips(folders)
    folders.prepare()

    def score(clip: Clip) -> tuple[Score, Comparison]:
        frames = _compared(subject, clip, lr_source, selection, for_lpips=lpips is not None)
        return _scored(clip.name, frames, subject.scale, lpips, folders)

    return protocol.score_all(clips, score, on_score, [])


def _check_degradation(lr_source: LrSource) -> None:
    known = degradations.parse(lr_source.degradation)
    quality = known.jpeg_quality
    fixed_jpeg = quality is not None and quality[0] == quality[1]
    if lr_source.folder is None and not (
        (known.encoded and not known.partly_clean) or fixed_jpeg or known.name in ("clean", "bilinear")
    ):
        raise UsageError(f"clips cannot be degraded by '{known.name}'", f"use {_KNOWN}")


def _clips(folders: EvaluationFolders) -> list[Clip]:
    """The clips below the HR folder; raises a UsageError."""
    folder = folders.hr
    if not folder.is_dir():
        raise UsageError(f"no folder '{folder}'", "use a folder with HR clips")
    found = clips_below(folder)
    paths = {*folders.only_hr(clip.path for clip in found)}
    clips = [clip for clip in found if clip.path in paths]
    if not clips:
        raise UsageError(f"no clips in '{folder}'", "use a folder with video files or folders of frames")
    require_different([clip.name for clip in clips], folder, "clips")
    return clips


def _compared(
    subject: Subject, clip: Clip, lr_source: LrSource, selection: Selection, *, for_lpips: bool
) -> Iterator[Comparison]:
    """The versions of every frame of a clip, in order."""
    scale = subject.scale

    def hr_frames() -> Iterator[Rgb]:
        for frame in clip.frames(selection.frames, selection.size):
            height, width = (side - side % scale for side in frame.shape[:2])
            protocol.check_size(clip.path, height, width, scale, for_lpips=for_lpips)
            yield frame[:height, :width]

    lr = _lr_frames(clip, hr_frames(), lr_source, scale)
    if isinstance(subject, SrFolder):
        sr: Iterable[Rgb] = find_clip(subject.folder, clip.name).frames()
    else:
        sr = subject.frames(lr)
    results = iter(sr)
    for number, (small, hr) in enumerate(zip(lr, hr_frames(), strict=False)):
        enlarged = next(results, None)
        if enlarged is None:
            raise MediaError(f"the SR clip '{clip.name}' has only {number} frames, not {len(lr)}")
        if enlarged.shape != hr.shape:
            height, width = hr.shape[:2]
            size = f"{enlarged.shape[1]}x{enlarged.shape[0]}"
            raise MediaError(f"the SR frames of '{clip.name}' are {size}, not {width}x{height}")
        yield Comparison(small, enlarged, hr)


def _lr_frames(clip: Clip, hr: Iterator[Rgb], lr_source: LrSource, scale: int) -> list[Rgb]:
    """The LR version of every frame."""
    if lr_source.folder is not None:
        return _given(clip, hr, lr_source.folder, scale)
    known = degradations.parse(lr_source.degradation)
    if not known.encoded:
        return [degraded(clip.name, frame, scale, known.name) for frame in hr]
    small = [degraded(clip.name, frame, scale, "clean") for frame in hr]
    generator = Generator().manual_seed(file_names.seed_of(clip.name))
    images = [torch.tensor(frame).permute(2, 0, 1) for frame in small]
    decoded = codecs.drawn_round_trip(images, known.crf, generator) if images else []
    return [image.permute(1, 2, 0).contiguous().numpy() for image in decoded]


def _given(clip: Clip, hr: Iterator[Rgb], folder: Path, scale: int) -> list[Rgb]:
    given = find_clip(folder, clip.name)
    lr: list[Rgb] = []
    frames = given.frames()
    for frame in hr:
        small = next(frames, None)
        if small is None:
            raise MediaError(f"'{given.path}' has only {len(lr)} frames, fewer than '{clip.path}'")
        height, width = (side // scale for side in frame.shape[:2])
        if small.shape[:2] != (height, width):
            size = f"{small.shape[1]}x{small.shape[0]}"
            raise MediaError(f"'{given.path}' is {size}, not {width}x{height}", f"scale {scale} was expected")
        lr.append(small)
    return lr


def _scored(
    name: str, frames: Iterator[Comparison], scale: int, lpips: Lpips | None, folders: EvaluationFolders
) -> tuple[Score, Comparison]:
    """The score of a clip, and its last frame."""
    scores: list[Score] = []
    flow_distances: list[float] = []
    changes: list[float] = []
    before: Comparison | None = None
    for number, frame in enumerate(frames):
        scores.append(protocol.score_frame(name, frame, scale, False, lpips, bicubic_on_luma=False))
        folders.save_sr(Path(name) / f"{number:05}.png", frame.sr)
        if before is not None:
            sr, hr = (before.sr, frame.sr), (before.hr, frame.hr)
            flow_distances.append(flow_distance(sr, hr))
            if lpips is not None:
                changes.append(100 * abs(lpips.distance(*sr) - lpips.distance(*hr)))
        before = frame
    if before is None:
        raise MediaError(f"clip '{name}' has no frames")
    mean = protocol.mean_score(name, scores)
    return replace(mean, tof=_mean(flow_distances), tlp100=_mean(changes)), before


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
