"""``upscale-eval``: PSNR and SSIM of weights on a folder of photographs, as the published tables have them.

The protocol: HR cropped from the top left to a multiple of the scale; luma rounded to 8 bits; a border of
``scale`` pixels left out; pictures published as a single channel compared raw; the mean over the pictures.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Rgb = NDArray[np.uint8]
    Levels = NDArray[np.float64]

BASELINE = "bicubic"
_SCALES = (2, 3, 4, 8)
_SSIM_WINDOW_PX = 11


@dataclass(frozen=True)
class Score:
    """What one picture scored: PSNR in dB, SSIM up to 1."""

    name: str
    psnr_db: float
    ssim: float


@dataclass(frozen=True)
class Evaluation:
    """What a folder scored.

    Attributes:
        scores: One per picture that could be compared, by name.
        failures: ``what is wrong with which file`` for every other picture.
    """

    scores: list[Score]
    failures: list[str]

    @property
    def mean(self) -> Score:
        """The means of the pictures' values, not a number when there are none."""
        count = len(self.scores)
        if not count:
            return Score("average", float("nan"), float("nan"))
        return Score(
            f"average of {count}",
            sum(score.psnr_db for score in self.scores) / count,
            sum(score.ssim for score in self.scores) / count,
        )


@dataclass(frozen=True)
class Enlarger:
    """What is being measured.

    Attributes:
        scale: Output size over input size.
        enlarge: ``(h, w, 3)`` RGB uint8 -> ``(h*scale, w*scale, 3)`` RGB uint8.
    """

    scale: int
    enlarge: "Callable[[Rgb], Rgb]"


def enlarger(weights: str, scale: int | None, device: str, precision: str) -> Enlarger:
    """What ``upscale`` would enlarge with, or the baseline.

    Args:
        weights: A weight file, the name of shipped weights, or ``bicubic``.
        scale: 2, 3, 4 or 8; ``None``: the weight file's own, else 4.
        device: As in ``device.pick``.
        precision: auto, fp32, bf16 or fp16.

    Raises:
        UsageError: The scale or the precision is not one of those.
        WeightsError: The weights cannot be used.
    """
    from upscaler.engine import Upscaler
    from upscaler.errors import UsageError

    if scale is not None and scale not in _SCALES:
        raise UsageError(f"scale {scale} cannot be measured", f"scales are {_SCALES}")
    if weights == BASELINE:
        factor = scale or 4
        return Enlarger(factor, lambda low: bicubic(low, factor))
    upscaler = Upscaler(weights, scale, device=device, precision=precision)
    if upscaler.scale not in _SCALES:
        raise UsageError(f"scale {upscaler.scale:g} cannot be measured", f"scales are {_SCALES}")
    return Enlarger(int(upscaler.scale), lambda low: upscaler.image(low).astype("uint8", copy=False))


def bicubic(low: "Rgb", scale: int) -> "Rgb":
    """The baseline of every table: bicubic with a = -0.5 (torch's antialiased kernel, also for enlarging)."""
    import torch
    import torch.nn.functional as F

    size = (low.shape[0] * scale, low.shape[1] * scale)
    planes = torch.tensor(low).permute(2, 0, 1).unsqueeze(0).float()
    high = F.interpolate(planes, size=size, mode="bicubic", antialias=True)
    levels: Rgb = high.round_().clamp_(0, 255).to(torch.uint8)[0].permute(1, 2, 0).numpy()
    return levels


def evaluate(
    subject: Enlarger,
    high_folder: Path,
    *,
    low_folder: Path | None = None,
    save_folder: Path | None = None,
    on_score: Callable[[Score], None] = lambda score: None,
) -> Evaluation:
    """Compare every picture of a folder with its enlarged reduction. One bad file does not stop the rest.

    Args:
        subject: What is being measured.
        high_folder: HR pictures; folders in it are not searched.
        low_folder: Their LR versions, ``<stem>x<scale>.png`` or ``<stem>.png``; ``None``: they are made
            by antialiased bicubic reduction.
        save_folder: Where the enlarged pictures go, as ``<stem>.png``; ``None``: nowhere.
        on_score: Called after each picture.

    Raises:
        UsageError: A folder is missing or holds no pictures, or saving would replace a source.
    """
    from upscaler.errors import UpscalerError

    paths = _pictures(high_folder)
    _check_folders(high_folder, low_folder, save_folder)
    scores: list[Score] = []
    failures: list[str] = []
    for path in paths:
        try:
            score = _score(subject, path, low_folder, save_folder)
        except UpscalerError as error:
            failures.append(str(error))
            continue
        scores.append(score)
        on_score(score)
    return Evaluation(scores, failures)


def _pictures(folder: Path) -> list[Path]:
    from upscaler.errors import UsageError
    from upscaler.jobs import PICTURE_SUFFIXES

    if not folder.is_dir():
        raise UsageError(f"no folder '{folder}'", "name a folder with HR pictures")
    paths = sorted(
        path for path in folder.iterdir() if path.suffix.lower() in PICTURE_SUFFIXES and path.is_file()
    )
    if not paths:
        raise UsageError(f"no pictures in '{folder}'", "name a folder with HR pictures")
    stems = [path.stem for path in paths]
    twice = next((stem for stem in stems if stems.count(stem) > 1), None)
    if twice is not None:
        raise UsageError(f"'{folder}' has two pictures called '{twice}'", "move one of them away")
    return paths


def _check_folders(high_folder: Path, low_folder: Path | None, save_folder: Path | None) -> None:
    from upscaler.errors import UsageError

    if low_folder is not None and not low_folder.is_dir():
        raise UsageError(f"no folder '{low_folder}'", "--lr takes a folder with LR pictures")
    if save_folder is None:
        return
    if save_folder.resolve() in {folder.resolve() for folder in (high_folder, low_folder) if folder}:
        raise UsageError(f"--save '{save_folder}' would replace what is compared", "name another folder")
    try:
        save_folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot write '{save_folder}': {error.strerror}") from error


def _score(subject: Enlarger, path: Path, low_folder: Path | None, save_folder: Path | None) -> Score:
    from upscaler import stills
    from upscaler.trainer import metrics

    scale = subject.scale
    high, is_gray = _read_high(path, scale)
    low = _reduced(high, scale) if low_folder is None else _read_low(path, high, low_folder, scale)
    made = subject.enlarge(low)
    assert made.shape == high.shape, f"enlarged to {made.shape}, expected {high.shape}"
    if save_folder is not None:
        stills.write_rgb8(save_folder / f"{path.stem}.png", made)
    if is_gray:  # compared raw; the three channels of the original are equal
        pair = metrics.gray(made), high[:, :, 0].astype("float64")
    else:
        pair = metrics.luma(made), metrics.luma(high)
    return Score(path.name, metrics.psnr_db(*pair, scale), metrics.ssim(*pair, scale))


def _read_high(path: Path, scale: int) -> "tuple[Rgb, bool]":
    """The picture cropped to a multiple of the scale, and whether it has a single channel."""
    from upscaler import stills
    from upscaler.errors import MediaError

    still = stills.read(path)
    pixels = still.pixels.astype("uint8", copy=False)
    if still.pixels.dtype != "uint8":
        raise MediaError(f"'{path}' has 16-bit samples; the protocol is of 8-bit pictures")
    height, width = (side - side % scale for side in pixels.shape[:2])
    smallest = _SSIM_WINDOW_PX + 2 * scale
    if min(height, width) < smallest:
        raise MediaError(f"'{path}' is too small to be compared", f"at x{scale} from {smallest} pixels on")
    return pixels[:height, :width], still.gray


def _reduced(high: "Rgb", scale: int) -> "Rgb":
    import torch

    from upscaler.trainer import degrade

    low: Rgb = (
        degrade.reduce(torch.tensor(high).permute(2, 0, 1).unsqueeze(0), scale)[0].permute(1, 2, 0).numpy()
    )
    return low


def _read_low(path: Path, high: "Rgb", folder: Path, scale: int) -> "Rgb":
    from upscaler import stills
    from upscaler.errors import MediaError

    candidates = [folder / f"{path.stem}x{scale}.png", folder / f"{path.stem}.png"]
    found = next((candidate for candidate in candidates if candidate.is_file()), None)
    if found is None:
        raise MediaError(f"no LR picture of '{path}'", f"looked for {' and '.join(map(str, candidates))}")
    low = stills.read_rgb8(found)
    height, width = (side // scale for side in high.shape[:2])
    if low.shape[:2] != (height, width):
        raise MediaError(
            f"'{found}' is {low.shape[1]}x{low.shape[0]}, not {width}x{height}",
            f"the LR of '{path}' at x{scale}, with HR cropped to a multiple of the scale",
        )
    return low


app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def command(
    weights: Annotated[str, typer.Argument(help="Weight file, name of shipped weights, or 'bicubic'.")],
    hr_folder: Annotated[Path, typer.Argument(help="Folder with HR pictures.")],
    lr: Annotated[
        Path | None, typer.Option(help="Folder with given LR pictures; default: made by bicubic reduction.")
    ] = None,
    scale: Annotated[
        int | None, typer.Option(help="2, 3, 4 or 8; default: the weight file's own, else 4.")
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    precision: Annotated[str, typer.Option(help="auto, fp32, bf16 or fp16.")] = "auto",
    save: Annotated[Path | None, typer.Option(help="Folder for the enlarged pictures.")] = None,
) -> None:
    """Print PSNR and SSIM on luma for every picture of a folder, and their average."""
    from upscaler.errors import UpscalerError, UsageError

    try:
        subject = enlarger(weights, scale, device, precision)
        result = evaluate(subject, hr_folder, low_folder=lr, save_folder=save, on_score=_print_row)
    except UpscalerError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        raise typer.Exit(2 if isinstance(error, UsageError) else 1) from error
    if result.scores:
        _print_row(result.mean)
    for failure in result.failures:
        print(f"error: {failure}", file=sys.stderr)  # noqa: T201
    if result.failures:
        raise typer.Exit(1)


def _print_row(score: Score) -> None:
    print(f"{score.name:<32}{score.psnr_db:>8.3f} dB{score.ssim:>9.4f}", flush=True)  # noqa: T201


def main() -> None:
    """Entry point of the command."""
    app()
