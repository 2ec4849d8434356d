"""OpenEXR: linear light in floats of 16 or 32 bits, with alpha (openexr.com, "OpenEXR File Layout").

Colours are multiplied by alpha in the file, but not in a ``Still``.
"""

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upscaler.errors import MediaError
from upscaler.images import eight_bit, library_settings, native_stderr, packages
from upscaler.images.formats import ImageFormat
from upscaler.images.light import to_light
from upscaler.images.light_still import still_of_light
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still
from upscaler.pixels import mean_of_channels

_MODULE = "OpenEXR"
_COLORS = ("RGBA", "RGB", "Y")
# Attributes that hold for the enlarged image too (OpenEXR, "Standard Attributes").
_KEPT_ATTRIBUTES = (
    "chromaticities", "whiteLuminance", "adoptedNeutral", "owner", "comments", "capDate", "utcOffset",
    "longitude", "latitude", "altitude", "focus", "expTime", "aperture", "isoSpeed",
)  # fmt: skip


def read_size(path: Path) -> tuple[int, int]:
    """Height and width, from the header."""
    return _size(_opened(path, header_only=True).header())


def read(path: Path) -> Still:
    """Decode the first part of a file.

    Raises:
        MediaError: It has no colours that are supported, or too many pixels, or its package is missing.
    """
    library_settings.check_size(path, *read_size(path))
    file = _opened(path, header_only=False)
    header, channels = file.header(), file.channels()
    name = next((each for each in _COLORS if each in channels), None)
    if name is None or header["type"] not in (_library().scanlineimage, _library().tiledimage):
        raise MediaError(
            f"'{path}' has no channels R, G and B, or Y", "save it as RGB, in scan lines or tiles"
        )
    samples: NDArray[Any] = channels[name].pixels
    alpha = samples[:, :, 3] if name == "RGBA" else channels["A"].pixels if "A" in channels else None
    colors = samples[:, :, :3] if samples.ndim == 3 else samples
    dropped = [each for each in channels if each not in (name, "A")]
    dropped += ["further parts"] if len(file.parts) > 1 else []
    metadata = Metadata(
        exr_attributes=tuple((each, header[each]) for each in _KEPT_ATTRIBUTES if each in header),
        dropped=(f"channels {' '.join(dropped)}",) if dropped else (),
    )
    if alpha is not None:
        divisor = np.where(alpha > 0, alpha, 1).astype(np.float32)
        colors = colors / (divisor[:, :, None] if colors.ndim == 3 else divisor)
    return still_of_light(colors, alpha, metadata, dtype=str(samples.dtype), gray=name == "Y")


def write(path: Path, still: Still, image_format: ImageFormat) -> None:
    """Encode an image.

    Args:
        path: The file to write.
        still: Light with a range gets its own type back; codes are taken for sRGB; those of 8 bits become
            floats of 16 bits, others of 32.
        image_format: Of EXR.

    Raises:
        MediaError: The package is missing.
        OSError: The file cannot be written.
    """
    library = _library()
    colors, dtype = _light(still, image_format)
    alpha: NDArray[Any] | None = None
    if still.alpha is not None:
        alpha = (still.alpha / np.float64(np.iinfo(still.alpha.dtype).max)).astype(dtype)
        colors = colors * (alpha[:, :, None] if colors.ndim == 3 else alpha)
    header: dict[str, Any] = {
        "compression": library.ZIP_COMPRESSION,
        "type": library.scanlineimage,
        **dict(still.metadata.exr_attributes),
    }
    channels = {"Y": colors} if colors.ndim == 2 else dict(zip("RGB", np.moveaxis(colors, 2, 0), strict=True))
    if alpha is not None:
        channels["A"] = alpha
    samples = {name: np.ascontiguousarray(plane.astype(dtype)) for name, plane in channels.items()}
    try:
        with native_stderr.discarded():
            library.File(header, samples).write(str(path))
    except (RuntimeError, ValueError) as error:
        raise OSError(str(error)) from error


def _light(still: Still, image_format: ImageFormat) -> tuple[NDArray[Any], str]:
    """Colours as light, ``(H, W, 3)`` or ``(H, W)``, and their type."""
    if still.sample_range is not None:
        codes: Any = mean_of_channels(still.pixels) if still.gray else still.pixels
        dtype = still.sample_range.dtype if still.sample_range.dtype == "float16" else "float32"
        return still.sample_range.values(codes), dtype
    if still.metadata.profile:
        image, _ = eight_bit.encoded_colors(still.in_8_bits(), image_format, "L" if still.gray else "RGB")
        pixels: Any = np.asarray(image)
    else:
        pixels = mean_of_channels(still.pixels) if still.gray else still.pixels
    dtype = "float16" if pixels.dtype == np.uint8 else "float32"
    return to_light(pixels / np.float64(np.iinfo(pixels.dtype).max)), dtype


def _library() -> Any:  # noqa: ANN401 - a module without types
    return packages.loaded(_MODULE, "EXR")


def _opened(path: Path, *, header_only: bool) -> Any:  # noqa: ANN401 - as above
    library = _library()
    # What it thinks of damage it prints, to standard output as well.
    with native_stderr.discarded(), contextlib.redirect_stdout(io.StringIO()):
        file = library.File(str(path), header_only=header_only)
    if not file.parts:
        raise MediaError(f"'{path}' is damaged or truncated")
    return file


def _size(header: dict[str, Any]) -> tuple[int, int]:
    (left, top), (right, bottom) = header["dataWindow"]
    return int(bottom) - int(top) + 1, int(right) - int(left) + 1
