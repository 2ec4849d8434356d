from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from support.media import FieldOrder, frame_times, identity, pictures, run_video
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


def fields_clip(path: Path, order: str) -> Path:
    """A pan, 4 pixels further with each field; 25 frames of two fields per second."""
    count = 8
    picture = photograph(64, 96 + 8 * count)
    views = [picture[:, 4 * index : 4 * index + 96] for index in range(2 * count)]
    with av.open(str(path), "w") as output:
        options = {"flags": "+ilme+ildct", "crf": "6", "preset": "ultrafast"}
        fields = FieldOrder(order)
        stream = output.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 12800)
        for index in range(count):
            woven = views[2 * index + (order == "bff")].copy()
            woven[1::2] = views[2 * index + (order == "tff")][1::2]
            frame = VideoFrame.from_ndarray(woven, format="rgb24")
            frame.pts, frame.time_base = 512 * index, Fraction(1, 12800)
            output.mux(stream.encode(fields.flagged(frame)))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("order", ["tff", "bff"])
def test_bob_makes_a_frame_of_every_field(tmp_path: Path, order: str, suffix: str) -> None:
    source = fields_clip(tmp_path / "in.mp4", order)
    done, messages = run_video(
        identity(tmp_path), source, tmp_path / f"out{suffix}", crf=4, deinterlace="bob"
    )
    assert "deinterlacing with bwdif, a frame per field: 50 frames/s" in messages
    assert done.frames == 16
    assert done.video is not None and done.video.seconds_out == pytest.approx(0.32)
    assert frame_times(tmp_path / f"out{suffix}") == [Fraction(index, 50) for index in range(16)]
    picture = photograph(64, 160)
    gray = VideoFrame.from_ndarray(picture, format="rgb24").to_ndarray(format="gray").astype(float)
    for index, shown in list(enumerate(pictures(tmp_path / f"out{suffix}")))[2:-2]:
        errors = [np.abs(shown[:64] - gray[:, x : x + 96]).mean() for x in range(0, 64, 4)]
        assert int(np.argmin(errors)) == index, "the fields are in the wrong order, or not apart"


def test_the_field_order_can_be_corrected(tmp_path: Path) -> None:
    """Of wrongly flagged fields, the second one comes first."""
    source, moves = fields_clip(tmp_path / "in.mp4", "tff"), {}
    for order in ("top", "bottom"):
        with VideoReader(source, "bob", field_order=order) as reader:  # type: ignore[arg-type]
            luma = [frame.planes[0].float().numpy() for frame in reader.frames()][4:12]
        moves[order] = [np.abs(a[:, 4:] - b[:, :-4]).mean() for a, b in pairwise(luma)]
    assert max(moves["top"]) < min(moves["bottom"][::2])


def test_an_unknown_mode_is_rejected() -> None:
    with pytest.raises(UsageError, match="deinterlace"):
        VideoOptions(deinterlace="perhaps")  # type: ignore[arg-type]
