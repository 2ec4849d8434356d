"""TIFF files that tifffile does not write without optional packages."""

import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

COMPRESSIONS = {name: number for number, name in TiffImagePlugin.COMPRESSION_INFO.items()}
LONG = 4


def assemble(path: Path, blocks: list[bytes], tags: dict[int, list[int]]) -> None:
    """A TIFF of blocks (strips or tiles); the two tags given as ``[]`` get their offsets and lengths."""
    offsets_tag, lengths_tag = (tag for tag in tags if not tags[tag])
    offset = 8
    offsets = []
    for block in blocks:
        offsets.append(offset)
        offset += len(block)
    tags = tags | {offsets_tag: offsets, lengths_tag: [len(block) for block in blocks]}
    offset += offset % 2
    values_at, rows, values = offset + 2 + 12 * len(tags) + 4, b"", b""
    for tag, numbers in sorted(tags.items()):
        data = struct.pack(f"<{len(numbers)}I", *numbers)
        rows += struct.pack("<HHI", tag, LONG, len(numbers))
        rows += data if len(data) == 4 else struct.pack("<I", values_at + len(values))
        values += data if len(data) > 4 else b""
    content = b"II*\0" + struct.pack("<I", offset) + b"".join(blocks)
    content += b"\0" * (len(content) % 2) + struct.pack("<H", len(tags)) + rows + bytes(4) + values
    path.write_bytes(content)


def describe(pixels: NDArray[Any], bits: int, compression: int, photometric: int) -> dict[int, list[int]]:
    height, width, channels = pixels.shape
    return {
        256: [width], 257: [height], 258: [bits] * channels, 259: [compression], 262: [photometric],
        277: [channels], 339: [1] * channels,
    }  # fmt: skip


def write(
    path: Path,
    pixels: NDArray[Any],
    name: str,
    *,
    photometric: int | None = None,
    compression: int | None = None,
    predictor: int = 1,
) -> None:
    """Strips compressed by libtiff, under a name of Pillow's; the numbers replace those that are right."""
    height, _, channels = pixels.shape
    blocks = []
    for top in range(0, height, 7):
        raw = pixels[top : top + 7].tobytes()
        if name == "raw":
            blocks.append(raw)
            continue
        image = Image.frombytes("L", (len(raw), 1), raw)
        image.save(path, "TIFF", compression=name, strip_size=1 << 20)
        with Image.open(path) as single:
            assert isinstance(single, TiffImagePlugin.TiffImageFile)
            [offset], [length] = single.tag_v2[273], single.tag_v2[279]
        blocks.append(path.read_bytes()[offset : offset + length])
    kind = (2 if channels == 3 else 1) if photometric is None else photometric
    number = COMPRESSIONS[name] if compression is None else compression
    tags = describe(pixels, pixels.dtype.itemsize * 8, number, kind)
    assemble(path, blocks, tags | {273: [], 278: [7], 279: [], 317: [predictor]})


def write_packed(path: Path, codes: NDArray[np.uint16], bits: int) -> None:
    """Codes of fewer than 16 bits without gaps; rows start at bytes."""
    rows = codes.reshape(len(codes), -1, 1).astype(">u2").view(np.uint8)
    packed = np.packbits(np.unpackbits(rows, axis=2)[:, :, 16 - bits :].reshape(len(codes), -1), axis=1)
    tags = describe(codes, bits, 1, 2)
    assemble(path, [packed.tobytes()], tags | {273: [], 278: [len(codes)], 279: []})


def write_tiles(
    path: Path, pixels: NDArray[np.uint8], compression: int, encode: Callable[[NDArray[np.uint8]], bytes]
) -> None:
    """Tiles of 16x16 that are image files."""
    height, width, _ = pixels.shape
    padded = np.pad(pixels, ((0, -height % 16), (0, -width % 16), (0, 0)))
    blocks = [
        encode(np.ascontiguousarray(padded[top : top + 16, left : left + 16]))
        for top in range(0, height, 16)
        for left in range(0, width, 16)
    ]
    tags = describe(pixels, 8, compression, 2)
    assemble(path, blocks, tags | {322: [16], 323: [16], 324: [], 325: []})
