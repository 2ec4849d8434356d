from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from support.media import frame_times
from support.messages import Messages
from support.pictures import photograph

from upscaler import pipeline
from upscaler.errors import UsageError
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.video.reader import VideoReader

TIMES = [Fraction(index, 25) + Fraction(index % 3, 500) for index in range(20)]


def interlaced_clip(path: Path) -> Path:
    """A pan whose two fields are half a frame apart in time, top field first."""
    picture = photograph(64, 200)
    with av.open(str(path), "w") as output:
        options = {"flags": "+ilme+ildct", "x264-params": "tff=1", "preset": "ultrafast"}
        stream = output.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 90000)
        for index, time in enumerate(TIMES):
            woven = picture[:, 4 * index : 4 * index + 64].copy()
            woven[1::2] = picture[1::2, 4 * index + 2 : 4 * index + 66]
            frame = VideoFrame.from_ndarray(woven, format="rgb24")
            frame.pts, frame.time_base = int(time * 90000), Fraction(1, 90000)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def combing(path: Path, mode: str) -> float:
    """How much more neighbouring rows differ than rows of the same field."""
    values = []
    with VideoReader(path, mode) as reader:  # type: ignore[arg-type]
        for frame in reader.frames():
            luma = frame.planes[0].numpy().astype(float)
            values.append(np.abs(np.diff(luma, axis=0)).mean() / np.abs(luma[2:] - luma[:-2]).mean())
    return float(np.mean(values[2:-2]))


def test_deinterlaced_frames_keep_their_times(engine: Upscaler, tmp_path: Path) -> None:
    source = interlaced_clip(tmp_path / "in.mp4")
    assert combing(source, "off") > 1.2 > 0.9 > combing(source, "auto")
    notes = Messages()
    job = Job(source, tmp_path / "out.mp4", "video")
    done = pipeline.upscale_video(job, engine, VideoOptions(preset="ultrafast"), lambda _: None, notes)
    assert done.frames == len(TIMES)
    assert frame_times(tmp_path / "out.mp4") == TIMES
    assert "deinterlacing with bwdif (same frame count)" in notes


def test_progressive_frames_are_unchanged_unless_mode_is_on(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
        for seed in range(4):
            output.mux(stream.encode(VideoFrame.from_ndarray(photograph(64, 64, seed), format="rgb24")))
        output.mux(stream.encode(None))
    luma = {}
    for mode in ("off", "auto", "on"):
        with VideoReader(source, mode) as reader:  # type: ignore[arg-type]
            luma[mode] = [frame.planes[0].numpy().copy() for frame in reader.frames()]
            assert reader.interlaced_frames == 0
    assert all(np.array_equal(a, b) for a, b in zip(luma["off"], luma["auto"], strict=True))
    assert len(luma["on"]) == 4
    assert not np.array_equal(luma["off"][1], luma["on"][1])


def test_an_unknown_mode_is_rejected() -> None:
    with pytest.raises(UsageError, match="deinterlace"):
        VideoOptions(deinterlace="perhaps")  # type: ignore[arg-type]
