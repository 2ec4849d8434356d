"""``--compare``: which images a page shows, from the finished files, and how near they are to originals."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from upscaler import atomic, metrics, transparency
from upscaler.comparison.page import Entry, Page, Shown, beside
from upscaler.errors import MediaError, UpscalerError, UsageError
from upscaler.images import animation, stills
from upscaler.images.encoding import Encoding
from upscaler.images.formats import IMAGE_SUFFIXES, JPEG_SUFFIX
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still
from upscaler.inference.pictures import tensor_of_array
from upscaler.inference.resize import resize_bicubic
from upscaler.jobs import Job, bicubic_beside
from upscaler.pixels import Pixels, to_8_bits
from upscaler.results import Message, OnMessage

_INDEX = "compare.html"
# Of larger images, the middle: details have to be seen, and all images are inside the page.
_MAX_SIDE_PX, _MAX_SIDE_IN_INDEX_PX = 2048, 1024
_ENCODING = Encoding(quality=92)
_OURS, _PLAIN, _ORIGINAL = "upscale", "bicubic", "original"


@dataclass(frozen=True)
class Comparison:
    """A page to write.

    Attributes:
        page: The file.
        root: Names in the page are relative to it.
        references: Originals by the stem of their name; empty if there are none.
    """

    page: Path
    root: Path
    references: dict[str, Path]


def planned(jobs: Sequence[Job], output: Path | None, reference: Path | None) -> Comparison:
    """Where the page about these jobs goes, and which originals there are.

    Args:
        jobs: All of a batch, at least one.
        output: ``-o``.
        reference: Folder of originals, or ``None``.

    Raises:
        UsageError: The folder of originals cannot be read.
    """
    folders = {job.target.parent for job in jobs}
    root = min(folders, key=lambda folder: len(folder.parts))
    while any(not folder.is_relative_to(root) for folder in folders):
        root = root.parent
    if output is not None and output.is_dir() and root.is_relative_to(output):
        root = output
    page = beside(jobs[0].target) if len(jobs) == 1 else root / _INDEX
    return Comparison(page, root, _originals(reference) if reference else {})


def _originals(folder: Path) -> dict[str, Path]:
    if not folder.is_dir():
        raise UsageError(f"--reference '{folder}' is not a folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES)
    return {path.stem: path for path in reversed(found)}


def write(comparison: Comparison, jobs: Sequence[Job], on_message: OnMessage) -> None:
    """Write the page, atomically.

    Args:
        comparison: From ``planned``.
        jobs: Finished ones; videos are left out.
        on_message: Called with what is not compared, and with the name of the page.

    Raises:
        MediaError: The page cannot be written.
    """
    pictures = [job for job in jobs if job.kind != "video"]
    if not pictures:
        return
    max_side_px = _MAX_SIDE_PX if len(pictures) == 1 else _MAX_SIDE_IN_INDEX_PX
    title = pictures[0].target.name if len(pictures) == 1 else comparison.root.absolute().name
    try:
        with atomic.replacing(comparison.page) as partial, partial.open("wb") as file:
            page = Page(file, f"{title}: before and after")
            for job in pictures:
                try:
                    page.add(_entry(job, comparison, max_side_px))
                except UpscalerError as error:
                    on_message(Message("info", f"not compared: {error}"))
            page.finish()
    except OSError as error:
        raise MediaError(f"cannot write '{comparison.page}': {error.strerror or error}") from error
    on_message(Message("info", f"wrote {comparison.page}"))


def _entry(job: Job, comparison: Comparison, max_side_px: int) -> Entry:
    ours = _shown_pixels(_first(job.target))
    height, width = ours.pixels.shape[:2]
    if job.kind == "preview":
        plain = _shown_pixels(_first(bicubic_beside(job.target)))
    else:
        source = _shown_pixels(_first(job.source))
        plain = replace(source, pixels=_bicubic(source.pixels, height, width))
    images = {_PLAIN: plain, _OURS: ours}
    scores: list[tuple[str, ...]] = []
    note = "" if max(height, width) <= max_side_px else f"the middle of {width}x{height}"
    reference = comparison.references.get(job.source.stem)
    if reference:
        original = _shown_pixels(_first(reference))
        if original.pixels.shape == ours.pixels.shape:
            images[_ORIGINAL] = original
            scores = [(name, *_scores(images[name].pixels, original.pixels)) for name in (_OURS, _PLAIN)]
        else:
            size = f"{original.pixels.shape[1]}x{original.pixels.shape[0]}"
            note = ", ".join(filter(None, [note, f"the original is not shown: it has {size}"]))
    shown = {name: Shown(name, _jpeg(_middle(still, max_side_px))) for name, still in images.items()}
    return Entry(
        title=_name(job.target, comparison.root),
        note=note,
        width=min(width, max_side_px),
        height=min(height, max_side_px),
        after=shown.pop(_OURS),
        before=list(shown.values()),
        scores=scores,
        columns=("PSNR dB (luma)", "SSIM"),
    )


def _name(target: Path, root: Path) -> str:
    return target.relative_to(root).as_posix() if target.is_relative_to(root) else target.name


def _first(path: Path) -> Still:
    """An image, the first page of a TIFF, or the first frame of an animation."""
    if animation.is_animated(path):
        with animation.opened(path) as moving:
            frame = next(moving.frames())
            return Still(frame.pixels, frame.alpha, metadata=moving.metadata)
    return stills.read(path, tolerant=True, page=0 if stills.page_count(path) > 1 else None)


def _shown_pixels(still: Still) -> Still:
    """As a screen shows it: 8 bits, over black, with its profile and no other metadata."""
    codes = still.metadata.codes
    if codes and codes.hdr:
        raise MediaError(f"{codes.hdr} images are not shown")
    still = still.for_display().in_8_bits()
    pixels = still.pixels
    if still.alpha is not None:
        pixels = transparency.composite_over_black(pixels, still.alpha)
    metadata = Metadata(profile=still.metadata.profile, codes=codes)
    return Still(pixels, gray=still.gray, equal_channels=still.equal_channels, metadata=metadata)


def _bicubic(pixels: Pixels, height: int, width: int) -> Pixels:
    """RGB ``(h, w, 3)`` uint8 -> RGB ``(height, width, 3)`` uint8."""
    source = tensor_of_array(pixels).permute(2, 0, 1)[None]
    resized: Pixels = resize_bicubic(source, height, width)[0].permute(1, 2, 0).contiguous().numpy()
    return resized


def _scores(pixels: Pixels, original: Pixels) -> tuple[str, str]:
    """PSNR and SSIM of luma, as text; RGB ``(H, W, 3)`` uint8."""
    one, other = (metrics.luma(to_8_bits(each)) for each in (pixels, original))
    is_large = min(one.shape) >= metrics.SSIM_WINDOW_PX
    ssim = f"{metrics.ssim(one, other):.4f}" if is_large else "-"
    return f"{metrics.psnr_db(one, other):.2f}", ssim


def _middle(still: Still, side_px: int) -> Still:
    height, width = still.pixels.shape[:2]
    top, left = max(0, (height - side_px) // 2), max(0, (width - side_px) // 2)
    cut: Any = np.ascontiguousarray(still.pixels[top : top + side_px, left : left + side_px])
    return replace(still, pixels=cut)


def _jpeg(still: Still) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"a{JPEG_SUFFIX}"
        stills.write(path, still, _ENCODING)
        return path.read_bytes()
