"""Writing TIFF: one page or several, 8 or 16 bits, floats, with tags, EXIF and GPS.

tifffile writes the pages. It writes neither directories below a page (EXIF, GPS) nor all tags, so the
directory of each page is then written again, with more entries, at the end of the file.
"""

import struct
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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

_MAX_CLASSIC_BYTES = 4_000_000_000  # TIFF has 32-bit offsets; some room is left for metadata


class TiffWriter:
    """Writes pages to a file, which is made with the first of them; see ``opened``."""

    def __init__(self, path: Path, image_format: ImageFormat, pages: int) -> None:
        self._path = path
        self._format = image_format
        self._pages = pages
        self._file: tifffile.TiffWriter | None = None
        self._is_big = False
        self._described: list[_Described] = []

    def add(self, still: Still) -> None:
        """Write an image as the next page.

        Raises:
            OSError: The file cannot be written.
        """
        source, samples = still.metadata, _samples(still)
        if self._file is None:
            self._is_big = samples.nbytes * self._pages > _MAX_CLASSIC_BYTES
            self._file = tifffile.TiffWriter(self._path, bigtiff=self._is_big, byteorder="<")
        try:
            self._write(self._file, samples, source)
        except (ValueError, RuntimeError, struct.error) as error:  # for example, the 4 GB of a TIFF are full
            raise OSError(str(error)) from error
        self._described.append(_described(source, *still.pixels.shape[:2]))

    def _write(self, file: tifffile.TiffWriter, samples: NDArray[Any], source: Metadata) -> None:
        is_gray = samples.ndim == 2 or samples.shape[2] == 2
        has_alpha = samples.ndim == 3 and samples.shape[2] in (2, 4)
        can_embed = icc.can_embed(source.profile, self._format, "L" if is_gray else "RGB")
        file.write(
            samples,
            photometric="minisblack" if is_gray else "rgb",
            planarconfig="contig" if samples.ndim == 3 else None,
            extrasamples=["unassalpha"] if has_alpha else None,
            compression="zlib",
            predictor=samples.dtype.kind in "ui",  # for floats, tifffile needs an optional package
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
