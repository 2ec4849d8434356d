"""Colours and bit depth of an AVIF: Pillow decodes every file to 8 bits and ignores its colour codes.

(ISO/IEC 23008-12 and 14496-12 for the boxes, H.273 for the codes, AV1-ISOBMFF 2.3 for the bit depth.)
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from upscaler.images.still import Still

_MAX_HEADER_BYTES = 1 << 20
_CONTAINERS = {b"meta": 4, b"iprp": 0, b"ipco": 0}  # box -> bytes before its first child
HDR_TRANSFERS = {16: "PQ", 18: "HLG"}
# Linear RGB of these primaries -> linear RGB of BT.709, which sRGB uses; all have white D65.
_TO_BT709 = {
    9: ((1.660491, -0.587641, -0.072850), (-0.124550, 1.132900, -0.008349), (-0.018151, -0.100579, 1.118730)),
    12: ((1.224940, -0.224940, 0.0), (-0.042057, 1.042057, 0.0), (-0.019638, -0.078636, 1.098274)),
}
_ROWS_AT_A_TIME = 256  # converted in fp32: 12 times the memory of 8 bits


@dataclass(frozen=True)
class AvifColor:
    """What an AVIF says about its samples.

    Attributes:
        primaries: H.273 code; 2 is unspecified, 1 BT.709, 9 BT.2020, 12 Display P3.
        transfer: H.273 code; 2 is unspecified, 13 sRGB, 16 PQ, 18 HLG.
        bits: Per sample.
    """

    primaries: int = 2
    transfer: int = 2
    bits: int = 8


def read_color(path: Path) -> AvifColor:
    """The colours of a file's image; unspecified where the file says nothing or cannot be parsed."""
    color = AvifColor()
    try:
        with path.open("rb") as file:
            header = file.read(_MAX_HEADER_BYTES)
        for kind, content in _boxes(header):
            if kind == b"colr" and content[:4] == b"nclx" and color.primaries == 2:
                primaries, transfer = struct.unpack_from(">HH", content, 4)
                color = replace(color, primaries=primaries, transfer=transfer)
            elif kind == b"av1C":
                high, twelve = content[2] & 0x40, content[2] & 0x20
                color = replace(color, bits=max(color.bits, 12 if high and twelve else 10 if high else 8))
    except (OSError, struct.error, IndexError):
        pass
    return color


def _boxes(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """All boxes in file order, those within containers included."""
    offset = 0
    while offset + 8 <= len(content):
        size, kind = struct.unpack_from(">I4s", content, offset)
        if size < 8:  # to the end of the file, or a 64-bit size: image data
            return
        box = content[offset + 8 : offset + size]
        yield kind, box
        if kind in _CONTAINERS:
            yield from _boxes(box[_CONTAINERS[kind] :])
        offset += size


def to_srgb(still: Still, color: AvifColor) -> Still:
    """Convert an image with uint8 samples from BT.2020 or Display P3 to sRGB, if it has no profile.

    Any SDR transfer is taken for sRGB's. Colours outside sRGB are clipped.
    """
    matrix = _TO_BT709.get(color.primaries)
    if matrix is None or still.metadata.profile is not None:
        return still
    codes = np.arange(256) / 255
    light_of_codes = np.where(codes <= 0.04045, codes / 12.92, ((codes + 0.055) / 1.055) ** 2.4)
    pixels: Any = np.empty_like(still.pixels)
    for top in range(0, len(pixels), _ROWS_AT_A_TIME):  # IEC 61966-2-1
        rows = slice(top, top + _ROWS_AT_A_TIME)
        light = light_of_codes.astype(np.float32)[still.pixels[rows]] @ np.array(matrix, np.float32).T
        light = light.clip(0, 1)
        encoded = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
        pixels[rows] = np.rint(encoded * 255)
    return replace(still, pixels=pixels)
