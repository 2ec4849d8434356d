"""Images for which memory is too small: rows in, tiles through, rows out, into PNG and TIFF."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from upscaler import transparency
from upscaler.errors import MemoryNeededError, UpscalerError
from upscaler.images import library_settings, losses, picture_rows, png_rows, stills, tiff, tiff_rows
from upscaler.images.formats import format_of
from upscaler.images.picture_rows import NotInRowsError, PictureRows
from upscaler.images.still import Still
from upscaler.images.strip import stripped
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.jobs import Job
from upscaler.options import ImageOptions
from upscaler.pixels import Pixels
from upscaler.results import Done, Message, OnMessage, OnProgress, Progress
from upscaler.system import memory

_FORMATS = ("PNG", "TIFF")
# Rows of a result that are there at once, in several copies: the network's, and those being compressed.
_ROWS_HELD = 4096


def whole_bytes(plan: Plan, height: int, width: int, channels: int, itemsize: int) -> int:
    """Memory in which a whole image can be computed and encoded (docs/images.md has the numbers).

    Args:
        plan: For the image.
        height: Of the source.
        width: Of the source.
        channels: Of a pixel, with alpha.
        itemsize: Bytes of a sample.
    """
    encoded_bytes = plan.height * plan.width * (channels * itemsize + 6)
    return max(encoded_bytes, plan.picture_bytes(height, width, itemsize))


def is_too_large(source: Path, engine: Upscaler) -> bool:
    """Whether memory is too small to read and upscale an image as a whole; swap space is not memory here."""
    try:
        height, width, pixel_bytes = stills.read_size_and_depth(source)
        plan = engine.plan(height, width)
    except UpscalerError:  # which reading the image will meet
        return False
    itemsize = 2 if pixel_bytes > 4 else 1
    channels = max(3, -(-pixel_bytes // itemsize))
    needed_bytes = whole_bytes(plan, height, width, channels, itemsize)
    return max(needed_bytes, 2 * height * width * pixel_bytes) > memory.available_bytes()


def opened(job: Job, engine: Upscaler, options: ImageOptions) -> PictureRows:
    """The source of a job, to be upscaled in rows.

    Raises:
        NotInRowsError: That is not possible; the text says why.
        MediaError: It is damaged or too large.
    """
    image_format = format_of(job.target)
    if image_format is None or image_format.name not in _FORMATS:
        raise NotInRowsError(f"{job.target.suffix} is not written in rows, but .png and .tif are")
    height, width = stills.read_size(job.source)
    if reason := engine.whole_only(engine.plan(height, width)):
        raise NotInRowsError(reason)
    with library_settings.applied():
        library_settings.check_size(job.source, height, width)
        try:
            rows = _rows_of_file(job.source)
            if not rows.hides_colors or options.keep_hidden:
                return rows
            reason = "what fully transparent pixels hide is replaced, which --keep-hidden leaves out"
        except NotInRowsError as error:
            reason = error.message
    try:
        return picture_rows.of_still(_with_bled_colors(stills.read(job.source, tolerant=True), options))
    except MemoryNeededError as error:
        raise NotInRowsError(reason) from error


def _rows_of_file(path: Path) -> PictureRows:
    try:
        if tiff.is_tiff(path):
            return tiff_rows.opened(path)
        if png_rows.is_png(path):
            return png_rows.opened(path)
    except (UpscalerError, MemoryError):
        raise
    except Exception as error:  # as decoders raise
        raise stills.decoding_error(path, error) from error
    raise NotInRowsError(f"{path.suffix} is not read in rows, but .png and .tif are")


def _with_bled_colors(still: Still, options: ImageOptions) -> Still:
    if still.alpha is None or options.keep_hidden:
        return still
    return replace(still, pixels=transparency.bleed_colors(still.pixels, still.alpha))


def upscale(
    job: Job,
    source: PictureRows,
    engine: Upscaler,
    options: ImageOptions,
    on_progress: OnProgress,
    on_message: OnMessage,
) -> Done:
    """Upscale an image in rows; the result is that of ``still_pipeline.upscale_still``.

    Args:
        job: Source and target.
        source: From ``opened``.
        engine: Runs the networks.
        options: How images are written.
        on_progress: Called after every row of tiles.
        on_message: Called with every message as it arises.

    Raises:
        MediaError: The source cannot be read or the target cannot be written; an existing target stays.
        UsageError: The target's format cannot hold the result.
    """
    height, width = source.height, source.width
    plan = engine.plan(height, width)
    head = replace(source.head, metadata=stripped(source.head.metadata)) if options.strip else source.head
    image_format = stills.check_target(job.target, plan.height, plan.width, head.metadata.codes)
    on_message(Message("info", f"{plan.describe(height, width)}, in rows: it is too large for memory"))
    if head.damage:
        on_message(Message("warning", head.damage))
    if lost := losses.describe_still(head, image_format):
        on_message(Message("info", lost, is_loss=True))

    def report(done: int, total: int) -> None:
        on_progress(Progress(done, total, "tiles", source_px=(height, width), factor=plan.factor))

    report(0, 0)  # from here on, tiles measure the work
    job.make_target_folder()
    held_bytes = _ROWS_HELD * plan.width * 3 * head.pixels.itemsize
    with engine.messages_to(on_message), engine.leaving_to_others(held_bytes):
        pixels = engine.rows(partial(_pixels, job.source, source), height, width, report)
        bands = _with_alpha(pixels, job.source, source, engine, plan, head)
        stills.write_rows(job.target, bands, plan.height, plan.width, replaces=job.replaces)
    return Done(1)


def _with_alpha(
    pixels: Iterator[Pixels], path: Path, source: PictureRows, engine: Upscaler, plan: Plan, head: Still
) -> Iterator[Still]:
    """Bands of the result."""
    if head.alpha is None or source.alpha_is_uniform:
        for each in pixels:
            alpha: Any = None if head.alpha is None else np.full(each.shape[:2], head.alpha[0, 0])
            yield replace(head, pixels=each, alpha=alpha)
        return
    upscaled = engine.rows(partial(_gray_alpha, path, source), source.height, source.width)
    snapped = transparency.snap_flat_rows(upscaled, _alpha(path, source), source.height, plan.height)
    for each, alpha in zip(pixels, snapped, strict=True):
        yield replace(head, pixels=each, alpha=alpha)


def _pixels(path: Path, source: PictureRows) -> Iterator[Pixels]:
    return (band.pixels for band in _bands(path, source))


def _gray_alpha(path: Path, source: PictureRows) -> Iterator[Pixels]:
    return map(transparency.as_gray_rgb, _alpha(path, source))


def _alpha(path: Path, source: PictureRows) -> Iterator[Pixels]:
    for band in _bands(path, source):
        assert band.alpha is not None, "as the head says"
        yield band.alpha


def _bands(path: Path, source: PictureRows) -> Iterator[Still]:
    """The bands of a file.

    Raises:
        MediaError: It is damaged, or has changed.
    """
    try:
        yield from source.bands()
    except (UpscalerError, MemoryError):
        raise
    except Exception as error:  # as decoders raise
        raise stills.decoding_error(path, error) from error
