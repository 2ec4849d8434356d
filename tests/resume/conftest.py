"""Segments of ``LENGTH`` frames."""

import pytest
from support.command import LENGTH

from upscaler.video import segments


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_FRAMES_MIN", LENGTH)
    monkeypatch.setattr(segments, "_FRAMES_MAX", LENGTH)
