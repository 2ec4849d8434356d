"""Pictures with samples of 16 bits, which Pillow would silently reduce to 8.

OpenCV decodes their pixels. What it does not look at in a TIFF file (are samples inverted, is the fourth one
transparency?) is read from its tags; what cannot be made right is refused.
"""

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tifffile
from numpy.typing import NDArray
from PIL import ExifTags, Image, TiffImagePlugin

from upscaler.errors import MediaError
from upscaler.images import exif, metadata, png_chunks, xmp
from upscaler.images.metadata import Metadata

# It would print its own lines beside our errors.
cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)

Samples = NDArray[np.uint16]

# TIFF 6.0: PhotometricInterpretation (section 8) and ExtraSamples (section 18).
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2
_UNSPECIFIED, _ASSOCIATED, _STRAIGHT = 0, 1, 2
_BYTE = 1  # type of a value (section 2)


def is_deep(picture: Image.Image) -> bool:
    """Whether a sample has more than 8 bits, told from the file's head, never from the values."""
    if picture.mode.startswith("I;16"):
        return True
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return max(_numbers(picture, ExifTags.Base.BitsPerSample, 1)) > 8
    raw_modes = (str(tile[3]) for tile in getattr(picture, "tile", ()))
    return any("16" in mode and "BGR" not in mode for mode in raw_modes)


def read(path: Path, picture: Image.Image) -> tuple[Samples, Samples | None]:
    """Decode a picture that Pillow has opened.

    Returns:
        ``(H, W)`` or ``(H, W, 3)`` RGB, still to be turned as ``exif.orientation`` says (TIFF is already,
        and says 1); and ``(H, W)`` transparency or ``None``.

    Raises:
        MediaError: It is damaged, or of a kind that would come out as something else than it is.
    """
    _refuse_unsupported(path, picture)
    encoded = np.fromfile(path, dtype=np.uint8)  # cv2.imread cannot open every path
    try:
        stored: Any = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error as error:
        raise MediaError(f"'{path}' is damaged or truncated") from error
    if stored is None or stored.dtype != np.uint16:
        raise MediaError(f"'{path}' has samples of a kind that cannot be read")
    if stored.ndim == 2:
        return _gray(picture, stored)
    rgb = np.ascontiguousarray(stored[:, :, 2::-1])
    return _with_transparency(picture, rgb, stored[:, :, 3]) if stored.shape[2] == 4 else (rgb, None)


def _numbers(picture: TiffImagePlugin.TiffImageFile, tag: int, default: int) -> tuple[int, ...]:
    value: Any = picture.tag_v2.get(tag, default)
    return tuple(value) if isinstance(value, tuple) else (value,)


def _refuse_unsupported(path: Path, picture: Image.Image) -> None:
    if not isinstance(picture, TiffImagePlugin.TiffImageFile):
        return
    if _numbers(picture, ExifTags.Base.PlanarConfiguration, 1) != (1,):
        raise MediaError(f"'{path}' stores each colour by itself (planar)", "save it interleaved")
    known = ((_WHITE_IS_ZERO,), (_BLACK_IS_ZERO,), (_RGB,))
    if _numbers(picture, ExifTags.Base.PhotometricInterpretation, _RGB) not in known:
        raise MediaError(f"'{path}' has more than 8 bits, and is neither RGB nor gray", "convert it to RGB")


def _gray(picture: Image.Image, stored: Samples) -> tuple[Samples, Samples | None]:
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        inverted = _numbers(picture, ExifTags.Base.PhotometricInterpretation, _RGB) == (_WHITE_IS_ZERO,)
        return (65535 - stored if inverted else stored), None
    transparent = picture.info.get("transparency")  # PNG's tRNS chunk: the one value that is not seen
    if not isinstance(transparent, int):
        return stored, None
    return stored, np.where(stored == transparent, 0, 65535).astype(np.uint16)


def _with_transparency(picture: Image.Image, rgb: Samples, fourth: Samples) -> tuple[Samples, Samples | None]:
    """Colours and what the fourth sample is; without a word about it, it is taken for transparency."""
    alpha = np.ascontiguousarray(fourth)
    extra: tuple[int, ...] = ()
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        extra = _numbers(picture, ExifTags.Base.ExtraSamples, _STRAIGHT)[:1]
    if extra == (_UNSPECIFIED,):
        return rgb, None
    if extra == (_ASSOCIATED,):  # colours were multiplied by it
        divided = rgb.astype(np.float32) * 65535 / np.maximum(alpha, 1)[:, :, None]
        return np.rint(np.minimum(divided, 65535)).astype(np.uint16), alpha
    return rgb, alpha


def write(partial: Path, pixels: Samples, alpha: Samples | None, brought: Metadata) -> None:
    """Encode as PNG or TIFF, as the suffix says.

    Args:
        partial: The file to write.
        pixels: ``(H, W)``, or ``(H, W, 3)`` RGB.
        alpha: ``(H, W)`` or ``None``; only with three channels.
        brought: Goes into the file, but for EXIF in a TIFF.

    Raises:
        OSError: The file cannot be written.
    """
    form, mode = "PNG" if partial.suffix == ".png" else "TIFF", "L" if pixels.ndim == 2 else "RGB"
    profile = brought.profile if metadata.goes_along(brought.profile, form, mode) else None
    if alpha is not None:
        pixels = np.dstack([pixels, alpha])
    height, width = pixels.shape[:2]
    if form == "PNG":
        _write_png(partial, pixels, profile, brought)
    else:
        packet = brought.xmp and xmp.for_picture(brought.xmp, form, height, width)
        _write_tiff(partial, pixels, profile, packet, brought.dpi)


def _write_png(partial: Path, pixels: Samples, profile: bytes | None, brought: Metadata) -> None:
    height, width = pixels.shape[:2]
    stored = pixels if pixels.ndim == 2 else pixels[:, :, [2, 1, 0, 3][: pixels.shape[2]]]
    block = brought.exif and exif.for_picture(brought.exif, "PNG", height, width)
    blocks = {cv2.IMAGE_METADATA_ICCP: profile, cv2.IMAGE_METADATA_EXIF: block}
    kept = {
        kind: np.frombuffer(block.removeprefix(b"Exif\0\0"), np.uint8)  # a prefix that JPEG alone has
        for kind, block in blocks.items()
        if block
    }
    done, encoded = cv2.imencodeWithMetadata(
        ".png", np.ascontiguousarray(stored), list(kept), list(kept.values())
    )
    if not done:
        raise OSError("the encoder failed")
    chunks = metadata.chunks_for_picture(brought, height, width)
    if brought.dpi:
        chunks.append(png_chunks.resolution_chunk(brought.dpi))
    png_chunks.write_with_chunks(partial, encoded, chunks)


def _write_tiff(
    partial: Path,
    pixels: Samples,
    profile: bytes | None,
    packet: bytes | None,
    dpi: tuple[float, float] | None,
) -> None:
    tifffile.imwrite(
        partial,
        pixels,
        photometric="minisblack" if pixels.ndim == 2 else "rgb",
        extrasamples=["unassalpha"] if pixels.ndim == 3 and pixels.shape[2] == 4 else None,
        compression="zlib",
        predictor=True,
        iccprofile=profile,
        extratags=[(ExifTags.Base.XMLPacket, _BYTE, len(packet), packet, True)] if packet else (),
        resolution=dpi,
        resolutionunit="INCH" if dpi else None,
        metadata=None,  # no description of its own
        software=False,
    )
