"""Raw frames (YUV4MPEG2), as FFmpeg reads them."""

from pathlib import Path

import av
import numpy as np
import pytest
from support.media import clip, frame_times, identity
from support.messages import Messages

from upscaler import jobs
from upscaler.frames.video_to_y4m import upscale_to_y4m
from upscaler.inference.engine import Upscaler
from upscaler.options import Options, VideoOptions


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def to_y4m(engine: Upscaler, source: Path, target: Path, **options: object) -> Messages:
    messages = Messages()
    job = jobs.plan([source], Options(output=target)).jobs[0]
    assert job.writes_y4m
    upscale_to_y4m(job, engine, VideoOptions(**options), lambda _: None, messages)
    return messages


def luma_and_chroma(path: Path) -> tuple[str, list[list[np.ndarray]]]:
    """The pixel format, and the planes of every frame."""
    with av.open(str(path)) as container:
        frames = [*container.decode(video=0)]
    planes = []
    for frame in frames:
        dtype = np.uint8 if frame.format.components[0].bits == 8 else np.uint16
        rows = [
            np.frombuffer(plane, dtype).reshape(plane.height, -1)[:, : plane.width] for plane in frame.planes
        ]
        planes.append(rows)
    return frames[0].format.name, planes


@pytest.mark.parametrize(
    "pixel_format", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le", "yuv444p12le", "gray", "gray10le"]
)
def test_frames_keep_their_format(engine: Upscaler, tmp_path: Path, pixel_format: str) -> None:
    source = clip(tmp_path / "in.mkv", frames=3, encoder="ffv1", pixel_format=pixel_format)
    to_y4m(engine, source, tmp_path / "out.y4m")
    assert frame_times(tmp_path / "out.y4m") == frame_times(source)
    name, before = luma_and_chroma(source)
    found, after = luma_and_chroma(tmp_path / "out.y4m")
    assert found == name == pixel_format
    for old, new in zip(before, after, strict=True):
        assert np.array_equal(old[0], new[0]), "luma"
        for one, other in zip(old[1:], new[1:], strict=True):
            assert np.abs(one.astype(int) - other).mean() < (0.1 if "444" in pixel_format else 3)


def test_a_variable_rate_is_named(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", pts=[0, 3600, 7200, 18000])
    messages = to_y4m(engine, source, tmp_path / "out.y4m")
    assert any("1 frame is at another time" in line for line in messages.warnings)
