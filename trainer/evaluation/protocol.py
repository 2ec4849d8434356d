"""How good enlarged or restored pictures are, by the protocol of the published tables.

HR cropped from the top left to a multiple of the scale; the result rounded to 8 bits; PSNR and SSIM on luma
rounded to 8 bits, or raw for pictures published as a single channel, without a border of ``scale`` pixels
(none at scale 1); LPIPS on the whole RGB picture; the mean over the pictures.

The tables' bicubic row is of the original's luma, reduced and enlarged without rounding in between. So is
ours where the LR is made here; of given 8-bit RGB files bicubic makes up to 0.02 dB less.
"""

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from upscaler.errors import MediaError, UpscalerError, UsageError
from upscaler.images import stills
from upscaler.images.formats import IMAGE_SUFFIXES
from upscaler.inference.engine import Upscaler
from upscaler.models.registry import SCALES
from upscaler.trainer.data import file_names
from upscaler.trainer.degrade import degradations, h264
from upscaler.trainer.evaluation import bicubic, metrics
from upscaler.trainer.evaluation.lpips import Lpips

Rgb = NDArray[np.uint8]

BASELINE = "bicubic"
_SSIM_WINDOW_PX = 11
# Below this the deepest features of LPIPS's trunks have no pixel left.
_LPIPS_SIDE_PX = 32


@dataclass(frozen=True)
class Score:
    """What one picture scored: PSNR in dB, SSIM up to 1, LPIPS from 0 (equal) on where it was wanted."""

    name: str
    psnr_db: float
    ssim: float
    lpips: float | None = None


@dataclass(frozen=True)
class Evaluation:
    """What a folder scored.

    Attributes:
        scores: One per picture that could be compared, by name.
        failures: What is wrong with every other picture.
    """

    scores: list[Score]
    failures: list[UpscalerError]

    @property
    def mean(self) -> Score:
        """The means of the pictures' values, not a number when there are none."""
        count = len(self.scores)
        if not count:
            return Score("average", float("nan"), float("nan"))
        distances = [score.lpips for score in self.scores if score.lpips is not None]
        return Score(
            f"average of {count}",
            sum(score.psnr_db for score in self.scores) / count,
            sum(score.ssim for score in self.scores) / count,
            sum(distances) / len(distances) if distances else None,
        )


@dataclass(frozen=True)
class Enlarger:
    """Something that makes pictures, to be measured.

    Attributes:
        scale: Output size over input size.
        enlarge: ``(h, w, 3)`` RGB uint8 -> ``(h*scale, w*scale, 3)`` RGB uint8.
        is_baseline: Whether it is the bicubic of the published tables.
    """

    scale: int
    enlarge: Callable[[Rgb], Rgb]
    is_baseline: bool = False


@dataclass(frozen=True)
class Finished:
    """Images that were made before, to be measured.

    Attributes:
        scale: By which they were enlarged; it sets the border that is left out.
        folder: Where they are: named as the originals, with any suffix, or with ``x4`` or ``_x4`` behind.
    """

    scale: int
    folder: Path


@dataclass(frozen=True)
class Pictures:
    """One comparison, ``(H, W, 3)`` RGB uint8 each: LR, SR and HR."""

    lr: Rgb
    sr: Rgb
    hr: Rgb


@dataclass(frozen=True)
class Given:
    """Where LR pictures come from.

    Attributes:
        folder: Named as the originals, with any suffix, or with ``x4`` or ``_x4`` behind; ``None``: made.
        degradation: How they are made, as in ``degrade.parse``, of one seed per file name; JPEG by Pillow.
    """

    folder: Path | None = None
    degradation: str = "clean"


def resolve_subject(
    name: str,
    scale: int | None,
    given: Given,
    device: str = "auto",
    precision: str = "auto",
    *,
    tta: bool = False,
    perceptual: float | None = None,
) -> Enlarger | Finished:
    """What is to be measured.

    Args:
        name: A weight file, the name of shipped weights, ``bicubic``, or a folder of finished pictures.
        scale: 1, 2, 3, 4 or 8; ``None``: the weight file's own, else 4.
        given: Where LR pictures come from.
        device: As in ``devices.select``.
        precision: auto, fp32, bf16 or fp16.
        tta: Self-ensemble; see ``Upscaler``.
        perceptual: Blend of two models' weights; likewise.

    Raises:
        UsageError: The scale, the degradation or the precision is not one of those, or there is nothing to
            measure; ``tta`` or ``perceptual`` for what has no weights.
        WeightsError: The weights cannot be used.
    """
    if scale is not None and scale not in SCALES:
        raise UsageError(f"scale {scale} cannot be measured", f"scales are {SCALES}")
    known = degradations.parse(given.degradation)  # before it fails once for each picture
    if known.name == degradations.GIVEN and given.folder is None:
        raise UsageError(
            f"degradation '{known.name}' is for LR pictures that are given", "name their folder by --lr-dir"
        )
    if (tta or perceptual is not None) and (name == BASELINE or Path(name).is_dir()):
        raise UsageError(f"--tta and --perceptual are for networks, not for '{name}'")
    if Path(name).is_dir():
        return Finished(scale or 4, Path(name))
    if name == BASELINE:
        factor = scale or 4
        method = Enlarger(factor, lambda lr: bicubic.enlarged(lr, factor), is_baseline=True)
    else:
        upscaler = Upscaler(name, scale, device=device, precision=precision, tta=tta, perceptual=perceptual)
        if upscaler.scale not in SCALES:
            raise UsageError(f"scale {upscaler.scale:g} cannot be measured", f"scales are {SCALES}")
        method = Enlarger(int(upscaler.scale), lambda lr: upscaler.image(lr).astype("uint8", copy=False))
    if method.scale == 1 and given.folder is None and not known.restorable:
        hint = "say how pictures are damaged, for example --degradation jpeg20, or give them by --lr-dir"
        raise UsageError("at scale 1 there is nothing to restore", hint)
    return method


def evaluate(
    subject: Enlarger | Finished,
    hr_dir: Path,
    given: Given | None = None,
    *,
    save_folder: Path | None = None,
    lpips: Lpips | None = None,
    on_score: Callable[[Score, Pictures], None] = lambda score, pictures: None,
) -> Evaluation:
    """Compare every picture of a folder with what the subject makes of its LR version.

    One bad file does not stop the rest.

    Args:
        subject: What is being measured.
        hr_dir: HR pictures; folders in it are not searched.
        given: Where LR pictures come from; ``None``: the bicubic reduction of the published tables.
        save_folder: Where the SR pictures go, as ``<stem>.png``; ``None``: nowhere.
        lpips: Measures LPIPS too.
        on_score: Called after each picture.

    Raises:
        UsageError: A folder is missing or holds no pictures, or saving would replace a source.
    """
    given = given or Given()
    paths = _pictures(hr_dir)
    sources = [hr_dir, given.folder, subject.folder if isinstance(subject, Finished) else None]
    _check_folders(given.folder, save_folder, [folder for folder in sources if folder])
    scores: list[Score] = []
    failures: list[UpscalerError] = []
    for path in paths:
        try:
            hr, is_gray = _read_hr(path, subject.scale, lpips is not None)
            pictures = _made(subject, path, hr, given)
            if save_folder is not None:
                stills.write_rgb8(save_folder / f"{path.stem}.png", pictures.sr)
        except UpscalerError as error:
            failures.append(error)
            continue
        from_luma = isinstance(subject, Enlarger) and subject.is_baseline and given == Given()
        scores.append(_score(path.name, pictures, subject.scale, is_gray, lpips, from_luma=from_luma))
        on_score(scores[-1], pictures)
    return Evaluation(scores, failures)


def _pictures(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"no folder '{folder}'", "name a folder with HR pictures")
    paths = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()
    )
    if not paths:
        raise UsageError(f"no pictures in '{folder}'", "name a folder with HR pictures")
    stems = [path.stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise UsageError(f"'{folder}' has two pictures called '{twice}'", "move one of them away")
    return paths


def _check_folders(lr_dir: Path | None, save_folder: Path | None, sources: list[Path]) -> None:
    if lr_dir is not None and not lr_dir.is_dir():
        raise UsageError(f"no folder '{lr_dir}'", "--lr-dir takes a folder with LR pictures")
    if save_folder is None:
        return
    if save_folder.resolve() in {folder.resolve() for folder in sources}:
        raise UsageError(f"--save '{save_folder}' would replace what is compared", "name another folder")
    try:
        save_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write '{save_folder}': {error.strerror}") from error


def _made(subject: Enlarger | Finished, path: Path, hr: Rgb, given: Given) -> Pictures:
    if given.folder is None:
        lr = _degraded(path.name, hr, subject.scale, given.degradation)
    else:
        lr = _read_lr(path, hr, given.folder, subject.scale)
    if isinstance(subject, Finished):
        return Pictures(lr, _read_finished(path, hr, subject), hr)
    sr = subject.enlarge(lr)
    assert sr.shape == hr.shape, f"enlarged to {sr.shape}, expected {hr.shape}"
    return Pictures(lr, sr, hr)


def _score(
    name: str, pictures: Pictures, scale: int, is_gray: bool, lpips: Lpips | None, *, from_luma: bool
) -> Score:
    """Scores of a picture; ``from_luma``: of bicubic as in the published tables."""
    sr, hr = pictures.sr, pictures.hr
    if is_gray:  # compared raw; the three channels of the original are equal
        pair = metrics.gray(sr), hr[:, :, 0].astype("float64")
    else:
        pair = metrics.luma(sr), metrics.luma(hr)
    if from_luma:
        exact = bicubic.enlarged(bicubic.reduced(pair[1], scale), scale)
        pair = np.floor(exact.clip(0, 255) + 0.5), pair[1]
    distance = None if lpips is None else lpips.distance(sr, hr)
    border_px = scale if scale > 1 else 0  # what is not enlarged is as good at the border as elsewhere
    return Score(name, metrics.psnr_db(*pair, border_px), metrics.ssim(*pair, border_px), distance)


def _read_hr(path: Path, scale: int, for_lpips: bool) -> tuple[Rgb, bool]:
    """The picture cropped to a multiple of the scale, and whether it has a single channel."""
    still = stills.read(path)
    pixels = still.pixels.astype("uint8", copy=False)
    if still.pixels.dtype != "uint8":
        raise MediaError(f"'{path}' has 16-bit samples; the protocol is of 8-bit pictures")
    height, width = (side - side % scale for side in pixels.shape[:2])
    smallest = max(_SSIM_WINDOW_PX + 2 * scale, _LPIPS_SIDE_PX if for_lpips else 0)
    if min(height, width) < smallest:
        raise MediaError(f"'{path}' is too small to be compared", f"at x{scale} from {smallest} pixels on")
    return pixels[:height, :width], still.gray


def _degraded(name: str, hr: Rgb, scale: int, degradation: str) -> Rgb:
    """The LR version of a picture; the same for a file name whatever else is measured."""
    generator = torch.Generator().manual_seed(file_names.seed_of(name))
    whole = torch.tensor(hr).permute(2, 0, 1).unsqueeze(0)
    known = degradations.parse(degradation)
    if known.name == "video":
        films: Rgb = h264.versions(whole[0], scale, 1, generator)[0].numpy()
        return films
    lr = bicubic.reduced(hr, scale)
    if known.degrade is not None and known.jpeg_quality is None:
        batch = torch.tensor(lr).permute(2, 0, 1).unsqueeze(0)
        degraded, _ = known.degrade(batch, whole, scale, generator)
        lr = degraded[0].permute(1, 2, 0).contiguous().numpy()
    if known.jpeg_quality is None:
        return lr
    lowest, highest = known.jpeg_quality
    return _saved_as_jpeg(lr, int(torch.randint(lowest, highest + 1, (1,), generator=generator)))


def _saved_as_jpeg(pixels: Rgb, quality: int) -> Rgb:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=quality)
    with Image.open(file) as picture:
        return np.array(picture)


def _read_lr(path: Path, hr: Rgb, folder: Path, scale: int) -> Rgb:
    found = _belonging("LR picture", path, folder, scale)
    lr = stills.read_rgb8(found)
    height, width = (side // scale for side in hr.shape[:2])
    if lr.shape[:2] != (height, width):
        raise MediaError(
            f"'{found}' is {lr.shape[1]}x{lr.shape[0]}, not {width}x{height}",
            f"the LR of '{path}' at x{scale}, with HR cropped to a multiple of the scale",
        )
    return lr


def _read_finished(path: Path, hr: Rgb, finished: Finished) -> Rgb:
    """The SR picture, cropped like the original if it was not."""
    found = _belonging("finished picture", path, finished.folder, finished.scale)
    sr = stills.read_rgb8(found)
    height, width = hr.shape[:2]
    beyond = [given - wanted for given, wanted in zip(sr.shape[:2], (height, width), strict=True)]
    if min(beyond) < 0 or max(beyond) >= finished.scale:
        raise MediaError(
            f"'{found}' is {sr.shape[1]}x{sr.shape[0]}, not {width}x{height}",
            f"the size of '{path}', cropped to a multiple of the scale or not",
        )
    return sr[:height, :width]


def _belonging(what: str, path: Path, folder: Path, scale: int) -> Path:
    """The picture in a folder that is named as another, with any suffix; rather with the scale behind."""
    stems = [f"{path.stem}x{scale}", f"{path.stem}_x{scale}", path.stem]
    candidates = (folder / f"{stem}{suffix}" for stem in stems for suffix in IMAGE_SUFFIXES)
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        names = ", ".join(f"{stem}.*" for stem in stems)
        raise MediaError(f"no {what} of '{path}' in '{folder}'", f"looked for {names}")
    return found
