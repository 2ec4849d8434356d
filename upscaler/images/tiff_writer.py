"""Writing TIFF: one page or several, 8 or 16 bits, floats, with tags, EXIF and GPS.

tifffile writes the pages, of strips that are compressed here, on all cores. It writes neither directories
below a page (EXIF, GPS) nor all tags, so the directory of each page is then written again, with more entries,
at the end of the file.
"""

import math
import struct
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags

from upscaler.images import exif, icc, metadata, tiff_directory, tiff_tags
from upscaler.images.formats import ImageFormat
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still
from upscaler.images.tiff_directory import Directory, Entry
from upscaler.pixels import mean_of_channels
from upscaler.system import processors

Samples = NDArray[Any]

_MAX_CLASSIC_BYTES = 4_000_000_000  # TIFF has 32-bit offsets; some room is left for metadata
_STRIP_BYTES = 1 << 18
_LEVEL = 6  # of zlib


class TiffWriter:
    """Writes pages to a file, which is made with the first of them; see ``opened``."""

    def __init__(self, path: Path, image_format: ImageFormat, pages: int) -> None:
        self._path = path
        self._format = image_format
        self._pages = pages
        self._file: tifffile.TiffWriter | None = None
        self._is_big = False
        self._described: list[_Described] = []

    def add(self, bands: Iterable[Still], height: int, width: int) -> None:
        """Write a picture as the next page.

        Args:
            bands: Rows of the picture each, all described alike.
            height: Of the picture.
            width: Of the picture.

        Raises:
            OSError: The file cannot be written.
        """
        bands = iter(bands)
        first = next(bands)
        source, samples = first.metadata, _samples(first)
        shape = (height, *samples.shape[1:])
        if self._file is None:
            size_bytes = math.prod(shape) * samples.itemsize * self._pages
            self._is_big = size_bytes > _MAX_CLASSIC_BYTES
            self._file = tifffile.TiffWriter(self._path, bigtiff=self._is_big, byteorder="<")
        try:
            self._write(self._file, chain([samples], map(_samples, bands)), shape, samples.dtype, source)
        except (ValueError, RuntimeError, struct.error) as error:  # for example, the 4 GB of a TIFF are full
            raise OSError(str(error)) from error
        self._described.append(_described(source, height, width))

    def _write(
        self,
        file: tifffile.TiffWriter,
        bands: Iterable[Samples],
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        source: Metadata,
    ) -> None:
        is_gray = len(shape) == 2 or shape[2] == 2
        has_alpha = len(shape) == 3 and shape[2] in (2, 4)
        can_embed = icc.can_embed(source.profile, self._format, "L" if is_gray else "RGB")
        row_bytes = math.prod(shape[1:]) * dtype.itemsize
        strip_rows = min(shape[0], max(1, _STRIP_BYTES // row_bytes))
        is_predicted = dtype.kind in "ui"  # for floats, readers without tifffile's codecs know no predictor
        file.write(
            _compressed(_strips(bands, strip_rows), is_predicted=is_predicted),
            shape=shape,
            dtype=dtype,
            photometric="minisblack" if is_gray else "rgb",
            planarconfig="contig" if len(shape) == 3 else None,
            extrasamples=["unassalpha"] if has_alpha else None,
            compression="zlib",
            predictor=is_predicted,
            rowsperstrip=strip_rows,
            iccprofile=source.profile if can_embed else None,
            resolution=source.dpi,
            resolutionunit="INCH" if source.dpi else None,
            metadata=None,  # no description of tifffile's own
            software=False,
        )

    def close(self) -> None:
        """Close the file, complete or not."""
        if self._file is not None:
            self._file.close()

    def complete(self) -> None:
        """Add what describes the pages to the closed file."""
        if any(entries or below for entries, below in self._described):
            _add_entries(self._path, self._described, is_big=self._is_big)


@contextmanager
def opened(path: Path, image_format: ImageFormat, pages: int = 1) -> Iterator[TiffWriter]:
    """Open a file to write pages to.

    Args:
        path: The file.
        image_format: Of TIFF.
        pages: How many will be added; decides, with the size of the first, between TIFF and BigTIFF.

    Raises:
        OSError: The file cannot be written.
    """
    writer = TiffWriter(path, image_format, pages)
    try:
        yield writer
    finally:
        writer.close()
    writer.complete()


# The entries of a page, and of the directories below it, by the tags that point there.
_Described = tuple[list[Entry], dict[int, list[Entry]]]


def _described(source: Metadata, height: int, width: int) -> _Described:
    """What is written about an upscaled image besides its profile and resolution."""
    packet = metadata.updated_xmp(source, "TIFF", height, width)
    entries = tiff_tags.to_write(source, packet, height, width)
    if not source.exif:
        return entries, {}
    parts = exif.directories(source.exif)
    exposure = dict(parts.exposure)
    exposure.pop(ExifTags.Base.MakerNote, None)  # its offsets hold only in its own block
    for tag, side in ((ExifTags.Base.ExifImageWidth, width), (ExifTags.Base.ExifImageHeight, height)):
        if tag in exposure:
            exposure[tag] = tiff_directory.long(tag, side)
    below = {int(ExifTags.IFD.Exif): exposure, int(ExifTags.IFD.GPSInfo): parts.gps}
    return entries, {tag: list(found.values()) for tag, found in below.items() if found}


def _add_entries(path: Path, described: list[_Described], *, is_big: bool) -> None:
    """Write the directories of all pages again, with more entries, and link them instead of the old ones."""
    directories = _directories(path)
    with path.open("r+b") as output:
        following = 0
        for directory, (entries, below) in zip(reversed(directories), reversed(described), strict=True):
            for tag, found in below.items():
                place = _append(output, found, is_big=is_big)
                directory[tag] = tiff_directory.offset(tag, place, is_big=is_big)
            directory |= {entry.tag: entry for entry in entries}
            following = _append(output, directory.values(), following=following, is_big=is_big)
        output.seek(8 if is_big else 4)
        output.write(struct.pack("<Q" if is_big else "<I", following))


def _directories(path: Path) -> list[Directory]:
    with tifffile.TiffFile(path) as file:
        offsets = [file.pages.get(number, aspage=True).offset for number in range(len(file.pages))]
    with tiff_directory.mapped(path) as content:
        return [tiff_directory.read(content, offset) for offset in offsets]


def _append(output: BinaryIO, entries: Iterable[Entry], *, following: int = 0, is_big: bool) -> int:
    """Write a directory at the end; returns its offset."""
    offset = output.seek(0, 2)
    if offset % 2:
        offset += output.write(b"\0")
    output.write(tiff_directory.packed(entries, offset, following=following, is_big=is_big))
    return offset


def _strips(bands: Iterable[Samples], strip_rows: int) -> Iterator[Samples]:
    """The picture in strips, all but the last of ``strip_rows`` rows."""
    left: Samples | None = None
    for band in bands:
        start = 0
        if left is not None:
            start = strip_rows - len(left)
            left = np.concatenate([left, band[:start]])
            if len(left) < strip_rows:
                continue
            yield left
            left = None
        whole = start + (len(band) - start) // strip_rows * strip_rows
        yield from (band[top : top + strip_rows] for top in range(start, whole, strip_rows))
        left = band[whole:].copy() if whole < len(band) else None
    if left is not None:
        yield left


def _compressed(strips: Iterable[Samples], *, is_predicted: bool) -> Iterator[bytes]:
    """Strips as they are stored, in their order, compressed on all cores."""
    workers = processors.count()
    with ThreadPoolExecutor(workers) as pool:
        waiting: deque[Future[bytes]] = deque()
        try:
            for strip in strips:
                waiting.append(pool.submit(_compressed_strip, strip, is_predicted=is_predicted))
                if len(waiting) > 2 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _compressed_strip(strip: Samples, *, is_predicted: bool) -> bytes:
    stored = np.ascontiguousarray(strip)
    if is_predicted:
        stored = stored.copy()
        stored[:, 1:] -= strip[:, :-1]
    return zlib.compress(stored.astype(stored.dtype.newbyteorder("<"), copy=False).data, _LEVEL)


def _samples(still: Still) -> NDArray[Any]:
    """``(H, W)`` or ``(H, W, channels)``: gray or RGB, with alpha, or in the type of the source."""
    colors: Any = mean_of_channels(still.pixels)[:, :, None] if still.gray else still.pixels
    alpha = still.alpha
    if still.sample_range is not None:
        colors = still.sample_range.samples(colors)
        if still.sample_range.nodata is not None and alpha is not None:
            colors[alpha < 32_768] = np.float64(still.sample_range.nodata).astype(colors.dtype)
        alpha = None
    stacked = colors if alpha is None else np.dstack([colors, alpha])
    return np.ascontiguousarray(stacked[:, :, 0] if stacked.shape[2] == 1 else stacked)
