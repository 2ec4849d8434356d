"""FFmpeg's pixel formats become the right colours."""

from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from support.media import (
    clip,
    identity,
    pictures,
    run,
    run_video,
)
from support.pictures import photograph

from upscaler.errors import MediaError
from upscaler.inference.engine import Upscaler
from upscaler.video import (
    yuv,
)
from upscaler.video.reader import VideoReader


@pytest.mark.parametrize(
    "pixel_format",
    [
        "yuv420p",
        "yuvj420p",
        "yuv422p",
        "yuv444p",
        "yuv420p10le",
        "yuv444p12le",
        "gray",
        "gbrp",
        "rgb24",
        "nv12",
        "yuyv422",
        "p010le",
        "yuv422p16le",
        "yuva444p10le",
        "rgba",
        "bgr0",
        "gbrap12le",
        "yuv411p",
        "rgb48le",
    ],
)
def test_frames_of_every_format_become_the_right_rgb(tmp_path: Path, pixel_format: str) -> None:
    """Against FFmpeg's own conversion to RGB, which is a few codes off at most on smooth pictures."""
    smooth = np.asarray(photograph(64, 64), float)
    smooth = np.stack([np.linspace(20, 230, 64)[None, :] + 0 * smooth[:, :, 0]] * 3, -1)
    smooth[:, :, 2] = smooth[:, :, 2].T
    frame = VideoFrame.from_ndarray(smooth.astype(np.uint8), format="rgb24")
    frame = frame.reformat(format=pixel_format, dst_colorspace=1)
    with VideoReader(clip(tmp_path / "any.mp4", frames=1)) as reader:
        frame.pts = 0
        result = reader._as_frame(frame)
    rgb = yuv.to_rgb(result.planes, result.layout)
    expected = (
        smooth if pixel_format != "gray" else np.repeat((smooth @ [0.2126, 0.7152, 0.0722])[..., None], 3, -1)
    )
    off = np.abs(rgb.permute(1, 2, 0).numpy() * 255 - expected)
    tolerance = 25 if pixel_format == "gray" else 9
    assert off.mean() < tolerance / 3, pixel_format


@pytest.mark.parametrize(("pixel_format", "white"), [("rgb555le", 0x7FFF), ("rgb565le", 0xFFFF)])
def test_white_of_few_bits_is_white(tmp_path: Path, pixel_format: str, white: int) -> None:
    frame = VideoFrame(64, 48, pixel_format)
    codes = np.full(frame.planes[0].buffer_size // 2, white, np.uint16)
    codes[:32] = [level | level << 5 for level in range(32)]  # ramps of blue and of green
    frame.planes[0].update(codes.tobytes())
    frame.pts = 0
    with VideoReader(clip(tmp_path / "any.mp4", frames=1)) as reader:
        green, blue, red = reader._as_frame(frame).planes
    assert int(min(plane[1].min() for plane in (green, blue, red))) == 255
    assert blue[0, :32].tolist() == [level << 3 | level >> 2 for level in range(32)]


@pytest.mark.parametrize(
    ("encoder", "suffix", "full"),
    [("ffv1", ".mkv", True), ("rawvideo", ".avi", True), ("libx264", ".mkv", False)],
)
def test_untagged_gray_has_the_range_of_its_codec(
    tmp_path: Path, encoder: str, suffix: str, full: bool
) -> None:
    source, target = tmp_path / f"in{suffix}", tmp_path / "out.mp4"
    ramp = np.tile(np.arange(0, 256, 4, dtype=np.uint8), (48, 1))
    with av.open(str(source), "w") as output:
        stream = output.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "gray"
        output.mux(stream.encode(VideoFrame.from_ndarray(ramp, format="gray")))
        output.mux(stream.encode(None))
    run_video(identity(tmp_path), source, target, crf=1)
    with av.open(str(target)) as container:
        frame = next(container.decode(video=0))
        assert frame.color_range == (2 if full else 1)
        assert np.abs(frame.to_ndarray()[:48].astype(int) - ramp).mean() < 2


def test_frames_stored_from_bottom_to_top(engine: Upscaler, tmp_path: Path) -> None:
    """AMV, the codec of small music players; its decoder yields planes with negative strides."""
    source = tmp_path / "in.avi"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("amv", rate=16)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuvj420p"
        for seed in range(3):
            output.mux(stream.encode(VideoFrame.from_ndarray(photograph(48, 64, seed), format="rgb24")))
        output.mux(stream.encode(None))
    run(engine, source, tmp_path / "out.mp4", crf=10)
    small, large = pictures(source).astype(float), pictures(tmp_path / "out.mp4").astype(float)
    reduced = large.reshape(3, 48, 2, 64, 2).mean((2, 4))
    assert np.abs(reduced - small).mean() < 4 < np.abs(reduced[:, ::-1] - small).mean()


def tagged(path: Path, matrix: int, primaries: int = 2) -> Path:
    """Three frames of YUV with these codes of H.273."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace = matrix
        stream.codec_context.color_primaries = primaries
        for index in range(3):
            frame = VideoFrame.from_ndarray(np.full((3, 48, 64), 90 + index, np.uint8), format="yuv444p")
            frame.pts, frame.colorspace, frame.color_primaries = index, matrix, primaries
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize(
    ("matrix", "name"),
    [
        (8, "YCgCo"),
        (11, "SMPTE ST 2085"),
        (12, "unusual primaries"),
        (13, "constant luminance"),
        (14, "ICtCp"),
    ],
)
def test_colours_that_cannot_be_converted_are_refused(
    engine: Upscaler, tmp_path: Path, matrix: int, name: str
) -> None:
    source = tagged(tmp_path / "in.mp4", matrix)
    with pytest.raises(MediaError, match=f"the colours of .* are .*{name}"):
        run_video(engine, source, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(("primaries", "expected"), [(1, "bt709"), (6, "smpte240m"), (9, "bt2020")])
def test_the_primaries_give_the_matrix_that_is_derived_from_them(
    engine: Upscaler, tmp_path: Path, primaries: int, expected: str
) -> None:
    source, target = tagged(tmp_path / "in.mp4", 12, primaries), tmp_path / "out.mp4"
    with VideoReader(source) as reader:
        assert reader.info.layout.matrix == expected
    run_video(engine, source, target)
    with av.open(str(target)) as container:
        context = container.streams.video[0].codec_context
        assert (context.colorspace, context.color_primaries) == (12, primaries)
