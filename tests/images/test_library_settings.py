"""Settings that Pillow, OpenCV and ``warnings`` have for the whole process are left as they were."""

import threading
import warnings
from pathlib import Path

import cv2
import pytest
from PIL import Image
from support.media import save

from upscaler.images import library_settings, stills


def settings() -> tuple[object, ...]:
    return Image.MAX_IMAGE_PIXELS, cv2.utils.logging.getLogLevel(), list(warnings.filters)


def test_reading_and_writing_leave_the_settings_alone(tmp_path: Path) -> None:
    before = settings()
    stills.write(tmp_path / "b.png", stills.read(save(tmp_path / "a.png")))
    assert settings() == before


def test_threads_that_overlap_leave_the_settings_alone() -> None:
    """The first to enter leaves first: with each thread restoring what it found, the second's would stay."""
    before = settings()
    second_entered, first_left = threading.Event(), threading.Event()

    def second() -> None:
        with library_settings.applied():
            second_entered.set()
            first_left.wait(10)
            limits.append(Image.MAX_IMAGE_PIXELS)

    limits: list[int | None] = []
    thread = threading.Thread(target=second)
    with library_settings.applied():
        thread.start()
        assert second_entered.wait(10)
    first_left.set()
    thread.join(10)
    assert limits == [library_settings.DEFAULT_MAX_PIXELS // 2]
    assert settings() == before


def test_an_error_restores_the_settings() -> None:
    before = settings()
    with pytest.raises(ZeroDivisionError), library_settings.applied():
        raise ZeroDivisionError
    assert settings() == before
