"""An engine, and segments of ``LENGTH`` frames."""

import pytest
from support.command import LENGTH

from upscaler.inference.engine import Upscaler
from upscaler.video import segments


@pytest.fixture(scope="module")
def engine() -> Upscaler:
    return Upscaler("fast", 2, precision="fp32")


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_FRAMES_MIN", LENGTH)
    monkeypatch.setattr(segments, "_FRAMES_MAX", LENGTH)
