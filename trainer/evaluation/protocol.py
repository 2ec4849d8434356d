"""Evaluates upscaled or restored images by the protocol of the published tables.

HR is cropped from the top left to a multiple of the scale; SR is rounded to 8 bits; PSNR and SSIM are
computed on luma rounded to 8 bits, or on the only channel of a grayscale image, without a border of ``scale``
pixels (none at scale 1); LPIPS on the whole RGB image; then the mean over the images.

The bicubic row of the tables is computed on HR's luma, downscaled and upsampled without rounding in between.
So is ours if the LR images are made here; on given 8-bit RGB files bicubic scores up to 0.02 dB less.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from upscaler import metrics
from upscaler.errors import MediaError, UpscalerError, UsageError
from upscaler.images import stills
from upscaler.trainer.data.pairing import find_paired
from upscaler.trainer.data.sources import Listing, images_below
from upscaler.trainer.evaluation import bicubic
from upscaler.trainer.evaluation.folders import EvaluationFolders, require_different
from upscaler.trainer.evaluation.lpips import SMALLEST_SIDE_PX, Lpips
from upscaler.trainer.evaluation.lr_images import LrSource, Rgb, lr_image
from upscaler.trainer.evaluation.subject import Method, SrFolder, Subject

Item = TypeVar("Item")


@dataclass(frozen=True)
class Score:
    """Scores of one image or clip: PSNR, SSIM (1 if equal), and where measured, the others (0 if equal).

    Attributes:
        name: Of the file.
        psnr_db: On luma, dB; of a clip the mean over its frames, as all scores are.
        ssim: On luma.
        lpips: LPIPS.
        tof: Of a clip, tOF: how much it moves otherwise than the original, pixels.
        tlp100: Of a clip, a hundred times tLP: how much its frames change more, or less, than the original's.
    """

    name: str
    psnr_db: float
    ssim: float
    lpips: float | None = None
    tof: float | None = None
    tlp100: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """Scores of a folder.

    Attributes:
        scores: One per image or clip that could be compared, by name.
        failures: One line for every other, and for every folder that cannot be listed.
    """

    scores: list[Score]
    failures: list[UpscalerError]

    @property
    def mean(self) -> Score:
        """The means over the images or clips; NaN if there are none."""
        if not self.scores:
            return Score("average", float("nan"), float("nan"))
        return mean_score(f"average of {len(self.scores)}", self.scores)


def mean_score(name: str, scores: list[Score]) -> Score:
    """The mean of each score over those that have it; at least one has PSNR and SSIM."""

    def mean(values: list[float | None]) -> float | None:
        known = [value for value in values if value is not None]
        return sum(known) / len(known) if known else None

    return Score(
        name,
        sum(score.psnr_db for score in scores) / len(scores),
        sum(score.ssim for score in scores) / len(scores),
        mean([score.lpips for score in scores]),
        mean([score.tof for score in scores]),
        mean([score.tlp100 for score in scores]),
    )


@dataclass(frozen=True)
class Comparison:
    """The three versions of one image, ``(H, W, 3)`` RGB uint8 each; LR is ``(H/scale, W/scale, 3)``."""

    lr: Rgb
    sr: Rgb
    hr: Rgb


def evaluate(
    subject: Subject,
    hr_dir: Path,
    lr_source: LrSource | None = None,
    *,
    save_folder: Path | None = None,
    lpips: Lpips | None = None,
    on_score: Callable[[Score, Comparison], None] = lambda score, comparison: None,
) -> Evaluation:
    """Score every image of a folder; a bad file does not stop the rest.

    Args:
        subject: What is measured.
        hr_dir: Folder with HR images, searched with its subfolders but for run folders.
        lr_source: Where the LR images come from; ``None``: the bicubic downscaling of the published tables.
        save_folder: Folder for the SR images, ``<stem>.png`` in the same subfolders; ``None``: not saved.
        lpips: Measures LPIPS too.
        on_score: Called after each image.

    Raises:
        UsageError: A folder is missing or has no images, or saving would overwrite what is compared.
    """
    lr_source = lr_source or LrSource()
    folders = EvaluationFolders.of(subject, hr_dir, lr_source, save_folder)
    paths = _hr_images(folders)
    folders.prepare()
    # The bicubic row of the tables is computed on luma.
    on_luma = isinstance(subject, Method) and subject.is_baseline and lr_source == LrSource()

    def score(path: Path) -> tuple[Score, Comparison]:
        name = path.relative_to(hr_dir)
        hr, is_gray = _read_hr(path, subject.scale, for_lpips=lpips is not None)
        comparison = _compare(subject, path, hr, lr_source, name.parent)
        folders.save_sr(name.with_suffix(".png"), comparison.sr)
        scored = score_frame(
            name.as_posix(), comparison, subject.scale, is_gray, lpips, bicubic_on_luma=on_luma
        )
        return scored, comparison

    unreadable: list[UpscalerError] = [
        MediaError(f"cannot read folder '{path}': {reason}")
        for path, reason in Listing(hr_dir).unreadable.items()
    ]
    return score_all(paths, score, on_score, unreadable)


def score_all(
    items: Iterable[Item],
    score: Callable[[Item], tuple[Score, Comparison]],
    on_score: Callable[[Score, Comparison], None],
    failures: list[UpscalerError],
) -> Evaluation:
    """Score images or clips; a bad one does not stop the rest.

    Args:
        items: What ``score`` takes.
        score: Scores one, and says how its versions, or those of its last frame, look.
        on_score: Called with that.
        failures: What could not be read before.
    """
    scores: list[Score] = []
    failures = [*failures]
    for item in items:
        try:
            scored, comparison = score(item)
        except UpscalerError as error:
            failures.append(error)
            continue
        scores.append(scored)
        on_score(scored, comparison)
    return Evaluation(scores, failures)


def check_images(folder: Path) -> None:
    """Find out before the work whether there are HR images.

    Raises:
        UsageError: The folder is missing or has no images, or two of them have the same name.
    """
    _hr_images(EvaluationFolders(folder))


def _hr_images(folders: EvaluationFolders) -> list[Path]:
    """The images below the HR folder; raises a UsageError."""
    folder = folders.hr
    if not folder.is_dir():
        raise UsageError(f"no folder '{folder}'", "use a folder with HR images")
    paths = folders.only_hr(images_below(folder))
    if not paths:
        raise UsageError(f"no images in '{folder}'", "use a folder with HR images")
    stems = [path.relative_to(folder).with_suffix("").as_posix() for path in paths]
    require_different(stems, folder, "images")
    return paths


def _compare(subject: Subject, path: Path, hr: Rgb, lr_source: LrSource, subfolder: Path) -> Comparison:
    lr = lr_image(lr_source, path, hr, subject.scale, subfolder)
    if isinstance(subject, SrFolder):
        return Comparison(lr, _read_sr(subject, path, hr, subfolder), hr)
    sr = subject.upscale(lr)
    assert sr.shape == hr.shape, f"upscaled to {sr.shape}, expected {hr.shape}"
    return Comparison(lr, sr, hr)


def score_frame(
    name: str,
    comparison: Comparison,
    scale: int,
    is_gray: bool,
    lpips: Lpips | None,
    *,
    bicubic_on_luma: bool,
) -> Score:
    """The scores of an image.

    Args:
        name: Of the image.
        comparison: Its versions.
        scale: HR size over LR size; a border of as many pixels is ignored.
        is_gray: Whether it has a single channel, which is compared as it is.
        lpips: Measures LPIPS too.
        bicubic_on_luma: Replace SR by the bicubic of the published tables.
    """
    sr, hr = comparison.sr, comparison.hr
    if is_gray:  # compared as it is; the three channels of HR are equal
        sr_luma, hr_luma = metrics.gray(sr), hr[:, :, 0].astype("float64")
    else:
        sr_luma, hr_luma = metrics.luma(sr), metrics.luma(hr)
    if bicubic_on_luma:
        exact = bicubic.upsample(bicubic.downscale(hr_luma, scale), scale)
        sr_luma = np.floor(exact.clip(0, 255) + 0.5)
    border_px = scale if scale > 1 else 0  # at scale 1, the border is as good as the rest
    return Score(
        name,
        psnr_db=metrics.psnr_db(sr_luma, hr_luma, border_px),
        ssim=metrics.ssim(sr_luma, hr_luma, border_px),
        lpips=None if lpips is None else lpips.distance(sr, hr),
    )


def _read_hr(path: Path, scale: int, *, for_lpips: bool) -> tuple[Rgb, bool]:
    """The image cropped to a multiple of the scale, ``(H, W, 3)``, and whether it has a single channel."""
    still = stills.read(path)
    pixels = still.pixels.astype("uint8", copy=False)
    if still.pixels.dtype != "uint8":
        raise MediaError(f"'{path}' has 16-bit samples; the protocol is for 8-bit images")
    height, width = (side - side % scale for side in pixels.shape[:2])
    check_size(path, height, width, scale, for_lpips=for_lpips)
    return pixels[:height, :width], still.gray


def check_size(path: Path, height: int, width: int, scale: int, *, for_lpips: bool) -> None:
    """Raises a MediaError if images of this size are too small for the scores."""
    smallest = max(metrics.SSIM_WINDOW_PX + 2 * scale, SMALLEST_SIDE_PX if for_lpips else 0)
    if min(height, width) < smallest:
        raise MediaError(
            f"'{path}' is too small", f"at x{scale}, images need at least {smallest} pixels per side"
        )


def _read_sr(subject: SrFolder, path: Path, hr: Rgb, subfolder: Path) -> Rgb:
    """The SR image of an HR file, cropped like HR if it was not."""
    found = find_paired(subject.folder, path, subject.scale, what="SR image", subfolder=subfolder)
    sr = stills.read_rgb8(found)
    height, width = hr.shape[:2]
    excess_px = sr.shape[0] - height, sr.shape[1] - width
    if min(excess_px) < 0 or max(excess_px) >= subject.scale:
        raise MediaError(
            f"'{found}' is {sr.shape[1]}x{sr.shape[0]}, not {width}x{height}",
            f"the size of '{path}', cropped to a multiple of the scale or not",
        )
    return sr[:height, :width]
