"""Settings of Pillow, OpenCV, ``logging`` and ``warnings``, made while images are read or written.

The libraries have them for the whole process only. They are restored as soon as no thread reads or writes an
image, so importing and using this package leaves the settings of other code alone.
"""

import logging
import threading
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path

import cv2
from PIL import Image, PngImagePlugin

from upscaler.errors import MediaError

# Pillow's default, a third of this, is below what phones produce (200 megapixels).
DEFAULT_MAX_PIXELS = 536_000_000
_max_pixels = ContextVar("max_pixels", default=DEFAULT_MAX_PIXELS)
# Of a text or a profile of a PNG, unpacked, and of all its texts: programs that generate images keep their
# whole workflow there. Pillow's own limits are 1 and 64 MB.
_TEXT_BYTES, _ALL_TEXT_BYTES = 64 << 20, 256 << 20

_lock = threading.Lock()
_threads_inside = 0
_restore = ExitStack()


def max_pixels() -> int:
    """How many pixels an image may have in this thread."""
    return _max_pixels.get()


@contextmanager
def accepting(most: int) -> Iterator[None]:
    """Read images of up to this many pixels in this thread."""
    token = _max_pixels.set(most)
    try:
        yield
    finally:
        _max_pixels.reset(token)


def check_size(path: Path, height: int, width: int) -> None:
    """Make sure that an image is not larger than ``max_pixels`` before it is decoded.

    Raises:
        MediaError: It is, or it is empty.
    """
    if height * width > max_pixels():
        raise too_large(path, f"{width}x{height}")
    if height < 1 or width < 1:
        raise MediaError(f"'{path}' is damaged: it has no pixels")


def too_large(path: Path, size: str = "") -> MediaError:
    """The error about an image of more than ``max_pixels``; ``size`` is its size, if that is known."""
    what = f"is {size}, which is" if size else "has"
    text = f"'{path}' {what} more pixels than --max-pixels allows ({max_pixels()})"
    return MediaError(text, "raise it if you trust the file")


@contextmanager
def applied() -> Iterator[None]:
    """Have Pillow accept images of up to ``max_pixels``, and keep the libraries from printing."""
    global _threads_inside
    with _lock:
        _threads_inside += 1
        if _threads_inside == 1:
            _apply()
        # Pillow raises above twice its limit. It has the largest of all threads that read, each of which
        # checks the size as well.
        Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, -(-max_pixels() // 2))
    try:
        yield
    finally:
        with _lock:
            _threads_inside -= 1
            if _threads_inside == 0:
                _restore.close()


def _apply() -> None:
    _restore.callback(setattr, Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    Image.MAX_IMAGE_PIXELS = 0
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
