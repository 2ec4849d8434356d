"""Animated PNG: reading frame by frame, and writing with 16 bits (PNG, third edition: 4.9, 11.3.8).

Pillow reduces 16 bits to 8, and draws translucent frames over others with wrong alpha. Here each frame
becomes a PNG of its own, which Pillow (8 bits) or OpenCV (16 bits) decodes, and which OpenCV encodes.
"""

import io
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from upscaler.images import native_stderr, pillow_corrections
from upscaler.images.png_chunks import SIGNATURE, Chunk, heads, packed
from upscaler.pixels import Pixels

_CONTROL = struct.Struct(">IIIIIHHBB")  # of a frame: 11.3.8.2
_CLEAR, _RESTORE = 1, 2  # how a frame is disposed of: made transparent, or replaced by what was there
_OVER = 1  # how a frame is drawn: alpha-blended
_DEFAULT_HUNDREDTHS = 100  # what a denominator of 0 means
_OPAQUE = 65_535
_BIT_DEPTH_OFFSET = 24  # 11.2.1
Samples = NDArray[np.uint16]


@dataclass
class _Stored:
    """A frame in the file: its control data and its compressed pixels."""

    control: tuple[int, ...]
    data: list[bytes] = field(default_factory=list)


def is_sixteen_bit(path: Path) -> bool:
    """Whether a file is a PNG with 16 bits per sample."""
    try:
        with path.open("rb") as file:
            head = file.read(_BIT_DEPTH_OFFSET + 1)
    except OSError:  # the reader reports the reason
        return False
    return head.startswith(SIGNATURE) and head[_BIT_DEPTH_OFFSET:] == b"\x10"


def frames(path: Path) -> Iterator[tuple[Pixels, float]]:
    """The frames as they are displayed.

    Yields:
        RGBA ``(H, W, 4)``, uint8 or uint16 over the full range, a new array each time, and the duration in
        milliseconds.

    Raises:
        ValueError: The file is damaged.
        OSError: It cannot be read.
    """
    header, described, stored = _parsed(path.read_bytes())
    width, height = struct.unpack_from(">II", header)
    canvas: Any = np.zeros((height, width, 4), np.uint16 if header[8] == 16 else np.uint8)
    for frame in stored:
        _, columns, rows, left, top, above, below, disposal, blending = frame.control
        if left + columns > width or top + rows > height:
            raise ValueError("a frame is outside the image")
        before = canvas.copy() if disposal == _RESTORE else None
        region = canvas[top : top + rows, left : left + columns]
        drawn = _decoded(header, columns, rows, described, b"".join(frame.data))
        region[:] = _over(drawn, region) if blending == _OVER else drawn
        yield canvas.copy(), 1000 * above / (below or _DEFAULT_HUNDREDTHS)
        if disposal == _CLEAR:
            region[:] = 0
        elif before is not None:
            canvas = before


def _chunks(content: bytes) -> Iterator[Chunk]:
    """All chunks of a PNG; of a truncated one, the complete ones."""
    file = io.BytesIO(content)
    for kind, length in heads(file):
        data = file.read(length)
        if len(data) == length and len(file.read(4)) == 4:
            yield kind, data


def _parsed(content: bytes) -> tuple[bytes, dict[bytes, bytes], list[_Stored]]:
    """The data of the header, of the chunks that describe samples (palette, transparency), and the frames."""
    header, described, stored, count = b"", dict[bytes, bytes](), list[_Stored](), 0
    for kind, data in _chunks(content):
        if kind == b"IHDR":
            header = data
        elif kind in (b"PLTE", b"tRNS"):
            described[kind] = data
        elif kind == b"acTL":
            (count,) = struct.unpack_from(">I", data)
        elif kind == b"fcTL" and len(data) == _CONTROL.size:
            stored.append(_Stored(_CONTROL.unpack(data)))
        elif kind == b"IDAT" and stored:  # otherwise the image for viewers that know no animations
            stored[-1].data.append(data)
        elif kind == b"fdAT" and stored:
            stored[-1].data.append(data[4:])
    if len(header) != 13 or len(stored) != count:
        raise ValueError(f"{len(stored)} of {count} frames")
    return header, described, stored


def _decoded(header: bytes, width: int, height: int, described: dict[bytes, bytes], data: bytes) -> Pixels:
    """RGBA ``(height, width, 4)`` of one frame."""
    own_header = (b"IHDR", struct.pack(">II", width, height) + header[8:])
    if header[8] == 16:
        png = _png(own_header, (b"IDAT", data))
        return _decoded_deep(png, (height, width), described.get(b"tRNS", b""))
    with Image.open(
        io.BytesIO(_png(own_header, *described.items(), (b"IDAT", data))), formats=["PNG"]
    ) as image:
        pillow_corrections.apply(image)
        rgba: Any = np.asarray(image.convert("RGBA"))
    return rgba  # type: ignore[no-any-return]


def _png(*chunks: Chunk) -> bytes:
    return SIGNATURE + b"".join(map(packed, (*chunks, (b"IEND", b""))))


def _decoded_deep(png: bytes, shape: tuple[int, int], transparent: bytes) -> Samples:
    try:
        with native_stderr.discarded():
            decoded: Any = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as error:
        raise ValueError("a frame is damaged") from error
    if decoded is None or decoded.dtype != np.uint16 or decoded.shape[:2] != shape:
        raise ValueError("a frame is damaged")
    rgba: Samples = np.full((*shape, 4), _OPAQUE, np.uint16)
    rgba[:, :, :3] = decoded[:, :, None] if decoded.ndim == 2 else decoded[:, :, 2::-1]
    if decoded.ndim == 3 and decoded.shape[2] == 4:
        rgba[:, :, 3] = decoded[:, :, 3]
    elif transparent:  # one value for gray, three for colours
        value = np.frombuffer(transparent, ">u2", 3 if len(transparent) == 6 else 1)
        rgba[:, :, 3][(rgba[:, :, :3] == value).all(axis=2)] = 0
    return rgba


def _over(drawn: Pixels, below: Pixels) -> Pixels:
    """Alpha-blend straight RGBA over straight RGBA."""
    opaque = np.iinfo(drawn.dtype).max
    top_alpha = drawn[:, :, 3:].astype(np.float64) / opaque
    below_alpha = below[:, :, 3:].astype(np.float64) / opaque * (1 - top_alpha)
    alpha = top_alpha + below_alpha
    colors = (drawn[:, :, :3] * top_alpha + below[:, :, :3] * below_alpha) / np.where(alpha > 0, alpha, 1)
    blended: Any = np.rint(np.concatenate([colors, alpha * opaque], axis=2)).astype(drawn.dtype)
    return blended  # type: ignore[no-any-return]  # of the same dtype


def write(
    path: Path,
    images: Sequence[tuple[Samples, Samples | None]],
    durations_ms: Iterable[int],
    plays: int,
    chunks: Iterable[Chunk],
) -> None:
    """Write an animation of whole frames.

    Args:
        path: The file to write.
        images: RGB ``(H, W, 3)`` and alpha ``(H, W)`` or ``None``, uint16 over the full range; at least one.
        durations_ms: How long each is displayed, at most 65,535.
        plays: How many times it is played, 0 for endlessly.
        chunks: Metadata.

    Raises:
        OSError: The file cannot be written.
    """
    height, width = images[0][0].shape[:2]
    has_alpha = any(alpha is not None for _, alpha in images)
    sequence = 0
    with path.open("wb") as file:
        for number, ((pixels, alpha), duration_ms) in enumerate(zip(images, durations_ms, strict=True)):
            encoded = list(_chunks(_encoded(pixels, alpha, has_alpha=has_alpha)))
            data = b"".join(content for kind, content in encoded if kind == b"IDAT")
            if number == 0:
                animation = (b"acTL", struct.pack(">II", len(images), plays))
                file.write(SIGNATURE + b"".join(map(packed, [encoded[0], animation, *chunks])))
            control = _CONTROL.pack(sequence, width, height, 0, 0, min(duration_ms, 65_535), 1000, 0, 0)
            file.write(packed((b"fcTL", control)))
            sequence += 1
            if number == 0:
                file.write(packed((b"IDAT", data)))
            else:
                file.write(packed((b"fdAT", struct.pack(">I", sequence) + data)))
                sequence += 1
        file.write(packed((b"IEND", b"")))


def _encoded(pixels: Samples, alpha: Samples | None, *, has_alpha: bool) -> bytes:
    samples: Any = pixels[:, :, ::-1]
    if has_alpha:
        plane = np.full(pixels.shape[:2], _OPAQUE, np.uint16) if alpha is None else alpha
        samples = np.dstack([samples, plane])
    succeeded, encoded = cv2.imencode(".png", np.ascontiguousarray(samples))
    if not succeeded:
        raise OSError("the PNG encoder failed")
    return encoded.tobytes()
