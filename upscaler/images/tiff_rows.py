"""Reading a TIFF in bands of whole strips, or of whole rows of tiles.

What Pillow decodes (palettes, one bit, JPEG, CCITT, CMYK) becomes a small TIFF with the strips of a band,
which Pillow decodes as it would the whole file.
"""

import io
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import tifffile
from PIL import Image

from upscaler.images import native_stderr, picture_rows, tiff, tiff_directory, tiff_samples, tiff_tags
from upscaler.images.metadata import Metadata
from upscaler.images.picture_rows import BAND_BYTES, NotInRowsError, PictureRows
from upscaler.images.still import Still
from upscaler.images.tiff import SampleLimits
from upscaler.images.tiff_directory import LONG, Directory, Entry
from upscaler.images.tiff_samples import UnsupportedTiffError
from upscaler.system import memory

_HEIGHT, _ROWS_PER_STRIP, _SUBDIRECTORIES, _OLD_JPEG = 257, 278, 330, 6
_STRIP_TAGS, _TILE_TAGS = (273, 279), (324, 325)  # offsets and lengths
# Decoded alike by Pillow and by `tiff_samples`, but by the latter with less work: gray and RGB of 8 bits,
# opaque or with straight alpha.
_PLAIN_COLORS, _PLAIN_EXTRAS = (0, 1, 2), ((), (2,))

Bands = Callable[[], Iterator[Still]]


def opened(path: Path) -> PictureRows:
    """A TIFF with one page.

    Raises:
        NotInRowsError: It is stored in a way that needs all of it at once, or is not supported.
        MediaError: It is damaged.
    """
    with tiff.opened(path) as pages:
        full = tiff.full_pages(pages)
        page = pages[full[0]]
        source = tiff.metadata_of(path, pages, page)
        _check(page, len(full))
        height, width = page.imagelength, page.imagewidth
        try:
            reader = _pillow_bands if _is_for_pillow(page) else _sample_bands
            bands = reader(path, full[0], page, source)
        except UnsupportedTiffError as error:
            raise NotInRowsError(f"it has {error}") from error
    return picture_rows.of_bands(height, width, bands)


def _check(page: tifffile.TiffPage, pages: int) -> None:
    if pages > 1:
        raise NotInRowsError("it has several pages")
    if tiff.orientation_of(page) != 1:
        raise NotInRowsError("it is stored turned or mirrored")
    row_bytes = page.imagewidth * page.samplesperpixel * max(1, page.bitspersample // 8)
    block_bytes = tiff_samples.rows_together(page) * row_bytes
    if block_bytes > max(BAND_BYTES, memory.available_bytes() // 8):
        raise NotInRowsError("its strips are too large")


def _is_for_pillow(page: tifffile.TiffPage) -> bool:
    is_plain = (
        page.bitspersample == 8
        and int(page.photometric) in _PLAIN_COLORS
        and tuple(int(kind) for kind in page.extrasamples) in _PLAIN_EXTRAS
        and int(page.compression) in tiff_samples.COMPRESSIONS
    )
    return tiff.is_for_pillow(page) and not is_plain


def _bands(page: tifffile.TiffPage) -> Iterator[tuple[int, int]]:
    """Start and stop of the rows of each band: whole strips or tiles."""
    row_bytes = page.imagewidth * page.samplesperpixel * max(1, page.bitspersample // 8)
    together = tiff_samples.rows_together(page)
    each = max(1, BAND_BYTES // (row_bytes * together)) * together
    for start in range(0, page.imagelength, each):
        yield start, min(start + each, page.imagelength)


def _sample_bands(path: Path, number: int, page: tifffile.TiffPage, source: Metadata) -> Bands:
    count, nodata = tiff.channels_of(page), tiff_tags.nodata(source)
    limits = SampleLimits()
    for start, stop in _bands(page):
        samples = tiff_samples.read(page, start, stop)
        if not tiff.has_limits(page, samples):
            break
        limits = limits.widened(samples[:, :, :count], nodata)

    def bands() -> Iterator[Still]:
        with tiff.opened(path) as pages:
            page = pages[number]
            for start, stop in _bands(page):
                yield tiff.still_of(page, tiff_samples.read(page, start, stop), source, limits)

    return bands


def _pillow_bands(path: Path, number: int, page: tifffile.TiffPage, source: Metadata) -> Bands:
    if page.planarconfig == 2 and page.samplesperpixel > 1:
        raise NotInRowsError("its channels are stored one after the other")
    if int(page.compression) == _OLD_JPEG:
        raise NotInRowsError("it has JPEG compression of an old kind")

    def bands() -> Iterator[Still]:
        with tiff.opened(path) as pages, tiff_directory.mapped(path) as content:
            page = pages[number]
            directory = tiff_directory.read(content, page.offset)
            for start, stop in _bands(page):
                small = io.BytesIO(_as_file(page, directory, content, start, stop))
                with native_stderr.discarded(), Image.open(small, formats=["TIFF"]) as image:
                    still = tiff.still_of_pillow(image, source)
                yield still

    return bands


def _as_file(
    page: tifffile.TiffPage, directory: Directory, content: memoryview, start: int, stop: int
) -> bytes:
    """A TIFF with the strips or tiles of some rows."""
    offsets_tag, lengths_tag = _TILE_TAGS if page.is_tiled else _STRIP_TAGS
    across = -(-page.imagewidth // page.tilewidth) if page.is_tiled else 1
    if tiff_samples.is_by_row(page):
        row_bytes = -(-page.imagewidth * page.samplesperpixel * page.bitspersample // 8)
        blocks = [content[first : first + row_bytes] for first in _row_offsets(page, row_bytes, start, stop)]
        rows_per_strip = 1
    else:
        rows_per_strip = tiff_samples.rows_together(page)
        numbers = range(start // rows_per_strip * across, -(-stop // rows_per_strip) * across)
        blocks = [
            content[page.dataoffsets[each] : page.dataoffsets[each] + page.databytecounts[each]]
            for each in numbers
        ]
    entries = dict(directory)
    entries.pop(_SUBDIRECTORIES, None)
    entries[_HEIGHT] = tiff_directory.long(_HEIGHT, stop - start)
    if not page.is_tiled:
        entries[_ROWS_PER_STRIP] = tiff_directory.long(_ROWS_PER_STRIP, rows_per_strip)
    entries[lengths_tag] = _longs(lengths_tag, [len(block) for block in blocks])
    entries[offsets_tag] = _longs(offsets_tag, [0] * len(blocks))
    place = 8 + len(tiff_directory.packed(entries.values(), 8))  # the length does not depend on the offsets
    offsets = []
    for block in blocks:
        offsets.append(place)
        place += len(block)
    entries[offsets_tag] = _longs(offsets_tag, offsets)
    return b"".join([b"II*\0", struct.pack("<I", 8), tiff_directory.packed(entries.values(), 8), *blocks])


def _row_offsets(page: tifffile.TiffPage, row_bytes: int, start: int, stop: int) -> Iterator[int]:
    for row in range(start, stop):
        strip, inside = divmod(row, min(page.rowsperstrip, page.imagelength))
        yield page.dataoffsets[strip] + inside * row_bytes


def _longs(tag: int, values: list[int]) -> Entry:
    return Entry(tag, LONG, len(values), struct.pack(f"<{len(values)}I", *values))
