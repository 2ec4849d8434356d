"""Settings of Pillow, OpenCV, ``logging`` and ``warnings``, made while images are read or written.

The libraries have them for the whole process only. They are restored as soon as no thread reads or writes an
image, so importing and using this package leaves the settings of other code alone.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import cv2
from PIL import Image, PngImagePlugin

from upscaler.errors import MediaError

MAX_MEGAPIXELS = 536
# Of a text or a profile of a PNG, unpacked, and of all its texts: programs that generate images keep their
# whole workflow there. Pillow's own limits are 1 and 64 MB.
_TEXT_BYTES, _ALL_TEXT_BYTES = 64 << 20, 256 << 20

_lock = threading.Lock()
_threads_inside = 0
_restore = ExitStack()


def check_size(path: Path, height: int, width: int) -> None:
    """Make sure that an image of a library without a limit is not too large, before it is decoded.

    Raises:
        MediaError: It is, or it is empty.
    """
    if height * width > MAX_MEGAPIXELS * 1_000_000:
        raise MediaError(
            f"'{path}' has more than {MAX_MEGAPIXELS} megapixels", "split it into smaller images"
        )
    if height < 1 or width < 1:
        raise MediaError(f"'{path}' is damaged: it has no pixels")


@contextmanager
def applied() -> Iterator[None]:
    """Accept images of up to ``MAX_MEGAPIXELS``, and keep the libraries from printing."""
    global _threads_inside
    with _lock:
        _threads_inside += 1
        if _threads_inside == 1:
            _apply()
    try:
        yield
    finally:
        with _lock:
            _threads_inside -= 1
            if _threads_inside == 0:
                _restore.close()


def _apply() -> None:
    # Pillow's default, a third of this, is below what phones produce (200 megapixels). It warns above the
    # limit and raises above twice the limit.
    _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = MAX_MEGAPIXELS * 1_000_000 // 2
    for name, limit in (("MAX_TEXT_CHUNK", _TEXT_BYTES), ("MAX_TEXT_MEMORY", _ALL_TEXT_BYTES)):
        _restore.callback(setattr, PngImagePlugin, name, getattr(PngImagePlugin, name))
        setattr(PngImagePlugin, name, limit)
    _restore.callback(cv2.utils.logging.setLogLevel, cv2.utils.logging.getLogLevel())
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    # tifffile reports what it ignores, such as broken tags, by logging, which prints by default.
    logger = logging.getLogger("tifffile")
    _restore.callback(setattr, logger, "disabled", logger.disabled)
    logger.disabled = True
    _restore.enter_context(warnings.catch_warnings())
    warnings.simplefilter("ignore")  # about size, and about damage that decoding reports
