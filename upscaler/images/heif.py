"""HEIC and HEIF as phones write it, decoded by libheif (ISO/IEC 23008-12); nothing here writes it."""

from pathlib import Path
from typing import Any

import numpy as np

from upscaler.errors import MediaError
from upscaler.images import exif, library_settings, packages
from upscaler.images.appended import Appended
from upscaler.images.cicp import CodePoints
from upscaler.images.gain_map import APPLE, GainMap, apple_segment
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still
from upscaler.pixels import Pixels


def read_size(path: Path) -> tuple[int, int]:
    """Height and width of the upright image, from the header."""
    image = _opened(path)
    return image.size[1], image.size[0]


def read(path: Path) -> Still:
    """Decode the main image of a file, upright, with 16 bits if it has more than 8.

    Raises:
        MediaError: It is too large, or the package is missing.
    """
    image = _opened(path)
    library_settings.check_size(path, image.size[1], image.size[0])
    mode = image.mode.partition(";")[0]
    samples: Any = np.array(image)  # a copy: the memory is that of the library
    alpha: Pixels | None = None
    if mode in ("RGBA", "RGBa", "LA"):
        samples, alpha = samples[:, :, :-1], np.ascontiguousarray(samples[:, :, -1])
    elif mode not in ("RGB", "L", "I"):
        raise MediaError(f"'{path}' has colours of the kind {mode}, which are not supported")
    is_gray = samples.ndim == 2 or samples.shape[2] == 1
    if is_gray:
        samples = np.repeat(samples.reshape(*samples.shape[:2], 1), 3, axis=2)
    pixels = _full_range(np.ascontiguousarray(samples), image.info["bit_depth"])
    alpha = None if alpha is None else _full_range(alpha, image.info["bit_depth"])
    if mode == "RGBa" and alpha is not None:
        opaque = np.iinfo(alpha.dtype).max
        straight = pixels * (opaque / np.maximum(alpha, 1)[:, :, None].astype(np.float32))
        pixels = np.rint(straight.clip(0, opaque)).astype(alpha.dtype)
    return Still(pixels, alpha, is_gray, _metadata(image))


def _full_range(samples: Any, bits: int) -> Any:  # noqa: ANN401 - an array
    """uint8, or uint16 over the full range from codes of ``bits`` that libheif shifted to 16 bits."""
    if samples.dtype == np.uint8:
        return samples
    white = (2**bits - 1) << (16 - bits)
    return np.rint(samples * np.float32(65_535 / white)).astype(np.uint16)


def _opened(path: Path) -> Any:  # noqa: ANN401 - of a module without types
    library = packages.loaded("pi_heif", "HEIC")
    return library.open_heif(path.read_bytes(), convert_hdr_to_8bit=False)


def _metadata(image: Any) -> Metadata:  # noqa: ANN401 - as above
    info = image.info
    profile, packet, colors = (info.get(name) for name in ("icc_profile", "xmp", "nclx_profile"))
    codes = CodePoints(colors["color_primaries"], colors["transfer_characteristics"]) if colors else None
    if codes and (profile or not (codes.wide_gamut or codes.hdr)):
        codes = None
    maps = info.get("aux", {}).get(APPLE.decode(), [])
    dropped = ["depth map"] if info.get("depth_images") else []
    dropped += ["further images"] if len(image) > 1 else []
    return Metadata(
        profile=profile or None,
        exif=exif.usable(info["exif"]) if info.get("exif") else None,
        xmp=packet or None,
        codes=codes,
        appended=Appended(_gain_map(image, maps[0]) if maps else None),
        dropped=tuple(dropped),
    )


def _gain_map(image: Any, number: int) -> GainMap | None:  # noqa: ANN401 - as above
    """Apple's gain map, as a JPEG has it; its headroom is in the maker notes, which are kept."""
    try:
        pixels: Any = np.array(image.get_aux_image(number))
    except (ValueError, RuntimeError, SyntaxError, OSError):  # a damaged map costs only itself
        return None
    if pixels.dtype != np.uint8:
        return None
    return GainMap(pixels[:, :, 0] if pixels.ndim == 3 else pixels, (apple_segment(),))
