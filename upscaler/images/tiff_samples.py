"""Samples of a TIFF page as they are stored, of any type, from strips or tiles (TIFF 6.0).

tifffile parses the file. Its decompressors are an optional package, so each strip and tile is decompressed
here: by Python, by the libtiff inside Pillow, or, where it is an image file of its own, by Pillow.
"""

import io
import itertools
import lzma
import struct
import zlib
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import Image

from upscaler.images import native_stderr

Samples = NDArray[Any]

_NONE, _DEFLATE, _LZMA = (1,), (8, 32946), (34925,)
_BY_LIBTIFF = {5: "LZW", 32773: "PackBits", 50000: "Zstandard"}
_YCBCR_JPEG_2000 = 33003
_IMAGE_FILES = {
    _YCBCR_JPEG_2000: "JPEG2000",
    33004: "JPEG2000",
    33005: "JPEG2000",
    34712: "JPEG2000",
    34927: "WEBP",
    34933: "PNG",
    50001: "WEBP",
}
COMPRESSIONS = {*_NONE, *_DEFLATE, *_LZMA, *_BY_LIBTIFF, *_IMAGE_FILES}
_HORIZONTAL, _FLOATING_POINT = (
    2,
    3,
)  # predictors (TIFF 6.0, section 14; Adobe Photoshop TIFF Technical Note 3)
_SEPARATE = 2  # PlanarConfiguration: one plane per channel
_REVERSED_BITS = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))
_LSB_FIRST = 2  # FillOrder
_TYPES = {1: "u", 2: "i", 3: "f", 4: "u"}  # SampleFormat; 4 is undefined data


class UnsupportedTiffError(Exception):
    """The page is intact, but stored in a way that is not supported; the text says which."""


def is_image_file(page: tifffile.TiffPage) -> bool:
    """Whether every strip or tile is an image file of its own, of up to 8 bits."""
    return int(page.compression) in _IMAGE_FILES


def dtype_of(page: tifffile.TiffPage) -> np.dtype[Any]:
    """The type of the samples, in the byte order of this machine.

    Raises:
        UnsupportedTiffError: numpy has no such type.
    """
    bits, kind = page.bitspersample, _TYPES.get(int(page.sampleformat))
    if not isinstance(bits, int):
        raise UnsupportedTiffError("channels with different numbers of bits")
    if kind == "u" and 8 < bits < 16:
        return np.dtype(np.uint16)  # packed
    if kind is None or bits not in (8, 16, 32, 64) or (kind == "f" and bits == 8):
        raise UnsupportedTiffError(f"{bits}-bit samples of this type")
    return np.dtype(f"{kind}{bits // 8}")


def read(page: tifffile.TiffPage, start: int = 0, stop: int | None = None) -> Samples:
    """Decode some rows of a page, by default all.

    Args:
        page: The page.
        start: First row.
        stop: One past the last row; ``None``: to the end.

    Returns:
        ``(rows, W, channels)`` of the stored type, except that packed samples (10, 12, 14 bits) are uint16
        with their own range. JPEG 2000 with YCbCr becomes RGB.

    Raises:
        UnsupportedTiffError: The compression or the type of the samples is not supported.
        Exception: Whatever damage leads decoders to raise.
    """
    if int(page.compression) not in COMPRESSIONS:
        raise UnsupportedTiffError(f"compression {_compression_name(page)}")
    stop = page.imagelength if stop is None else stop
    is_separate = page.planarconfig == _SEPARATE and page.samplesperpixel > 1
    planes, depth = (page.samplesperpixel, 1) if is_separate else (1, page.samplesperpixel)
    height, width = page.imagelength, page.imagewidth
    tile_height, tile_width = _block_size(page)
    down, across = -(-height // tile_height), -(-width // tile_width)
    dtype = np.uint8 if is_image_file(page) else dtype_of(page)
    samples = np.zeros((planes, stop - start, width, depth), dtype)
    if len(page.dataoffsets) < planes * down * across:
        raise ValueError("strips or tiles are missing")
    for plane, row, column in itertools.product(
        range(planes), range(start // tile_height, -(-stop // tile_height)), range(across)
    ):
        number = (plane * down + row) * across + column
        top, left = row * tile_height, column * tile_width
        rows = tile_height if page.is_tiled else min(tile_height, height - top)
        # Rows of the block that are decoded: of uncompressed strips, which may be huge, what is needed.
        first, last = (max(0, start - top), min(rows, stop - top)) if is_by_row(page) else (0, rows)
        offset, length = page.dataoffsets[number], page.databytecounts[number]
        if is_by_row(page) and length:
            row_bytes = -(-width * depth * page.bitspersample // 8)
            if length < last * row_bytes:
                raise ValueError("a strip is too short")
            offset, length = offset + first * row_bytes, (last - first) * row_bytes
        stored = _stored(page, offset, length)
        if stored is None:  # a hole of a sparse file
            continue
        block = _decoded(page, stored, (last - first, tile_width, depth))
        used = slice(max(start, top + first), min(stop, top + last))
        samples[plane, used.start - start : used.stop - start, left : left + tile_width] = block[
            used.start - top - first : used.stop - top - first, : width - left
        ]
    return np.concatenate(list(samples), axis=2) if is_separate else samples[0]


def rows_together(page: tifffile.TiffPage) -> int:
    """How many rows are decoded at once, whatever is needed of them."""
    return 1 if is_by_row(page) else min(_block_size(page)[0], page.imagelength)


def _block_size(page: tifffile.TiffPage) -> tuple[int, int]:
    """Height and width of a strip or tile."""
    if page.is_tiled:
        return page.tilelength, page.tilewidth
    return min(page.rowsperstrip, page.imagelength), page.imagewidth


def is_by_row(page: tifffile.TiffPage) -> bool:
    """Whether the rows of a page can be read one by one."""
    return int(page.compression) in _NONE and not page.is_tiled


def _compression_name(page: tifffile.TiffPage) -> str:
    name = getattr(page.compression, "name", "")
    return f"{name} ({int(page.compression)})" if name else str(int(page.compression))


def _stored(page: tifffile.TiffPage, offset: int, length: int) -> bytes | None:
    if not length:
        return None
    handle = page.parent.filehandle
    handle.seek(offset)
    stored: bytes = handle.read(length)
    if len(stored) < length:
        raise ValueError("the file is truncated")
    return stored.translate(_REVERSED_BITS) if int(page.fillorder) == _LSB_FIRST else stored


def _decoded(page: tifffile.TiffPage, stored: bytes, shape: tuple[int, int, int]) -> Samples:
    """One strip or tile of ``(rows, columns, channels)``."""
    if is_image_file(page):
        return _image_file(page, stored, shape)
    rows, columns, depth = shape
    row_bytes = -(-columns * depth * page.bitspersample // 8)
    raw = _decompressed(int(page.compression), stored, rows * row_bytes)
    if len(raw) < rows * row_bytes:
        raise ValueError("a strip or tile is too short")
    by_row = np.frombuffer(raw, np.uint8, rows * row_bytes).reshape(rows, row_bytes)
    if page.bitspersample in (10, 12, 14):
        return _unpacked(by_row, columns * depth, page.bitspersample).reshape(shape)
    order = page.parent.byteorder
    if int(page.predictor) == _FLOATING_POINT:
        by_row, order = _without_float_predictor(by_row, shape, page.bitspersample // 8), ">"
    native = dtype_of(page)
    block: Samples = by_row.reshape(-1).view(native.newbyteorder(order)).astype(native).reshape(shape)
    if int(page.predictor) == _HORIZONTAL:
        block = np.cumsum(block, axis=1, dtype=native)
    elif int(page.predictor) not in (1, _FLOATING_POINT):
        raise UnsupportedTiffError(f"predictor {int(page.predictor)}")
    return block


def _decompressed(compression: int, stored: bytes, length: int) -> bytes:
    if compression in _NONE:
        return stored
    if compression in _DEFLATE:
        return zlib.decompressobj().decompress(stored, length)
    if compression in _LZMA:
        return lzma.LZMADecompressor().decompress(stored, length)
    return _by_libtiff(compression, stored, length)


def _by_libtiff(compression: int, stored: bytes, length: int) -> bytes:
    """Decompress by Pillow, as the only row of an image with 8 bits and one channel."""
    tags = {256: length, 257: 1, 258: 8, 259: compression, 262: 1, 273: 0, 277: 1, 278: 1, 279: len(stored)}
    tags[273] = 8 + 2 + 12 * len(tags) + 4
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    header = b"II*\0" + struct.pack("<IH", 8, len(tags))
    file = io.BytesIO(header + entries + bytes(4) + stored)
    with native_stderr.discarded(), Image.open(file, formats=["TIFF"]) as image:
        return image.tobytes()


def _image_file(page: tifffile.TiffPage, stored: bytes, shape: tuple[int, int, int]) -> Samples:
    compression, channels = int(page.compression), shape[2]
    with Image.open(io.BytesIO(stored), formats=[_IMAGE_FILES[compression]]) as opened:
        opened.load()
        image: Image.Image = opened
        if channels == 3 and compression == _YCBCR_JPEG_2000:
            image = Image.frombytes("YCbCr", image.size, image.tobytes())
        mode = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}.get(channels)
        if mode is None or image.mode not in ("L", "LA", "RGB", "RGBA", "YCbCr"):
            raise UnsupportedTiffError(f"compression {_compression_name(page)} with more than 8 bits")
        samples: Samples = np.asarray(image.convert(mode)).reshape(image.height, image.width, channels)
    return samples[: shape[0], : shape[1]]


def _unpacked(rows: NDArray[np.uint8], count: int, bits: int) -> NDArray[np.uint16]:
    """Samples of 10 to 14 bits from rows of bytes, ``(rows, count)``."""
    weights = (1 << np.arange(bits - 1, -1, -1)).astype(np.uint16)
    each = np.unpackbits(rows, axis=1)[:, : count * bits].reshape(len(rows), count, bits)
    unpacked: NDArray[np.uint16] = each.astype(np.uint16) @ weights
    return unpacked


def _without_float_predictor(
    rows: NDArray[np.uint8], shape: tuple[int, int, int], size: int
) -> NDArray[np.uint8]:
    """Undo differences of bytes, which are stored plane by plane, the most significant one first."""
    height, width, depth = shape
    differences = rows.reshape(height, -1, depth)
    planes = np.cumsum(differences, axis=1, dtype=np.uint8).reshape(height, size, width * depth)
    return np.ascontiguousarray(planes.transpose(0, 2, 1)).reshape(height, -1)
