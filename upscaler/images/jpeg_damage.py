"""Whether pixels of a JPEG are damaged: decoders fill them with something, and report it by printing."""

import re
from pathlib import Path

import cv2
import numpy as np

from upscaler.images import native_stderr

DAMAGED_PIXELS = "part of the image is damaged"
_SERIOUS = re.compile(
    rb"Corrupt JPEG data: (?:premature end|bad Huffman code|found marker|(\d+) extraneous bytes)"
)
# Some cameras leave a few bytes behind the pixels. Nothing is wrong with these images.
_HARMLESS_BYTES = 64


def is_damaged(path: Path) -> bool:
    """Whether libjpeg finds damage in the pixels of a file that it decodes."""
    try:
        encoded = np.fromfile(path, np.uint8)
        # An eighth of each side: only the pixels' codes have to be read.
        said = native_stderr.captured(lambda: cv2.imdecode(encoded, cv2.IMREAD_REDUCED_GRAYSCALE_8))
    except (OSError, cv2.error):
        return False
    found = _SERIOUS.search(said)
    return found is not None and int(found[1] or _HARMLESS_BYTES) >= _HARMLESS_BYTES
