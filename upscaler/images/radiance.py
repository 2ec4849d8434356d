"""Radiance HDR (.hdr): linear light with a shared exponent, decoded by OpenCV (Radiance, "File Formats")."""

import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from upscaler.errors import MediaError
from upscaler.images import library_settings, native_stderr
from upscaler.images.light_still import still_of_light
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still

_MAX_HEADER_BYTES = 1 << 16
_SIZE = re.compile(rb"\n\n-Y (\d{1,9}) \+X (\d{1,9})\n")


def read_size(path: Path) -> tuple[int, int]:
    """Height and width, from the header.

    Raises:
        MediaError: It is damaged, or the image is stored turned.
    """
    with path.open("rb") as file:
        found = _SIZE.search(file.read(_MAX_HEADER_BYTES))
    if not found:
        raise MediaError(f"'{path}' is damaged, or stored turned, which is not supported")
    return int(found[1]), int(found[2])


def read(path: Path) -> Still:
    """Decode an image.

    Raises:
        MediaError: It is damaged or too large.
    """
    library_settings.check_size(path, *read_size(path))
    encoded = np.fromfile(path, dtype=np.uint8)
    with native_stderr.discarded():
        decoded: Any = cv2.imdecode(encoded, cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.float32:
        raise MediaError(f"'{path}' is damaged or truncated")
    return still_of_light(decoded[:, :, ::-1], None, Metadata(), dtype="float32", gray=False)
