"""JPEG XL, decoded by libjxl to 8 bits, which is all that its package gives (ISO/IEC 18181)."""

from pathlib import Path
from typing import Any

import numpy as np

from upscaler.errors import MediaError
from upscaler.images import exif, library_settings, packages
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still


def read_size(path: Path) -> tuple[int, int]:
    """Height and width, from the header."""
    described = _library().probe(path.read_bytes())
    return described["height"], described["width"]


def read(path: Path) -> Still:
    """Decode an image, upright.

    Raises:
        MediaError: It is animated or too large, or the package is missing.
    """
    content = path.read_bytes()
    described = _library().probe(content)
    if described["have_animation"]:
        raise MediaError(f"'{path}' is animated, which is not supported of JPEG XL", "convert it to APNG")
    library_settings.check_size(path, described["height"], described["width"])
    decoded, found = _library().decode(content, metadata=True)
    samples: Any = decoded.reshape(*decoded.shape[:2], -1)
    depth = samples.shape[2]
    colors, alpha = (samples[:, :, :-1], samples[:, :, -1]) if depth in (2, 4) else (samples, None)
    is_gray = colors.shape[2] == 1
    bits = described["bits_per_sample"]
    return Still(
        np.ascontiguousarray(np.broadcast_to(colors, (*samples.shape[:2], 3))),
        None if alpha is None else np.ascontiguousarray(alpha),
        is_gray,
        Metadata(
            profile=found.get("icc") or None,
            exif=exif.usable(found["exif"]) if found.get("exif") else None,
            xmp=found.get("xmp") or None,
            dropped=(f"{bits} bits per sample (decoded to 8)",) if bits > 8 else (),
        ),
    )


def _library() -> Any:  # noqa: ANN401 - mypy need not have the package
    return packages.loaded("pylibjxl", "JPEG XL")
