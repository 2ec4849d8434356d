"""A network that gives back what it gets, through the whole pipeline: nothing else may change a sample."""

import itertools
import os
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from support.media import identity, run_video

from upscaler.frames.video_frames import upscale_frames
from upscaler.inference.engine import Upscaler
from upscaler.video.reader import Frame, VideoReader

CLIPS = Path(os.environ.get("UPSCALER_TEST_DATA", "/nowhere")) / "video"
BEST_DB = 200.0  # of planes that are equal


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def every_code(path: Path, name: str, *, full_range: bool, siting: str = "left") -> Path:
    """One frame: every code of luma there is, and smooth chroma, without loss."""
    bits = av.VideoFormat(name, 16, 16).components[0].bits
    side = 64 if bits > 8 else 32
    frame = VideoFrame(side, side, name)
    for number, plane in enumerate(frame.planes):
        rows, columns = np.mgrid[0 : plane.height, 0 : plane.width]
        if number == 0:
            values = (rows * plane.width + columns) % 2**bits
        else:
            wave = np.sin(3 * rows / plane.height + number * 2 * columns / plane.width)
            values = np.rint((0.5 + 0.4 * wave) * (2**bits - 1))
        sample = np.uint8 if bits == 8 else np.uint16
        padded = np.zeros((plane.height, plane.line_size // sample().itemsize), sample)
        padded[:, : plane.width] = values
        plane.update(padded.tobytes())
    frame.colorspace, frame.color_range = 1, 2 if full_range else 1
    with av.open(str(path), "w") as output:
        stream = output.add_stream("ffv1", rate=25, options={"chroma_sample_location": siting})
        stream.width = stream.height = side
        stream.pix_fmt = name
        stream.codec_context.colorspace = 1
        stream.codec_context.color_range = 2 if full_range else 1
        output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def first_frame(path: Path) -> Frame:
    with VideoReader(path) as reader:
        return next(reader.frames())


def codes(plane: torch.Tensor) -> NDArray[np.int64]:
    return plane.numpy().astype(np.int64) & 0xFFFF


def psnr_db(before: torch.Tensor, after: torch.Tensor, bits: int) -> float:
    error = np.mean((codes(before) - codes(after)) ** 2)
    return BEST_DB if error == 0 else float(10 * np.log10((2**bits - 1) ** 2 / error))


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "yuv420p",
        "yuv422p",
        "yuv444p",
        "gray",
        "yuv420p10le",
        "yuv422p10le",
        "yuv444p10le",
        "gray10le",
        "yuv420p12le",
        "yuv444p12le",
        "yuva420p",
    ],
)
def test_every_code_survives(engine: Upscaler, tmp_path: Path, name: str, full_range: bool) -> None:
    source = every_code(tmp_path / "in.mkv", name, full_range=full_range)
    run_video(engine, source, tmp_path / "out.mkv", codec="ffv1")
    before, after = first_frame(source), first_frame(tmp_path / "out.mkv")
    assert before.layout == after.layout
    assert before.layout.full_range == full_range
    bits = before.layout.bits
    assert len(np.unique(codes(before.planes[0]))) == 2**bits
    assert torch.equal(before.planes[0], after.planes[0])
    for old, new in zip(before.planes[1:], after.planes[1:], strict=True):
        if before.layout.horizontal == 1:
            assert np.abs(codes(old) - codes(new)).max() <= 1
        else:
            assert psnr_db(old, new, bits) >= 52
    if before.layout.alpha:
        assert torch.equal(before.planes[3], after.planes[3])


@pytest.mark.parametrize("siting", ["left", "center", "topleft"])
def test_chroma_of_every_siting(engine: Upscaler, tmp_path: Path, siting: str) -> None:
    source = every_code(tmp_path / "in.mkv", "yuv420p10le", full_range=False, siting=siting)
    run_video(engine, source, tmp_path / "out.mkv", codec="ffv1")
    before, after = first_frame(source), first_frame(tmp_path / "out.mkv")
    assert before.layout.siting == after.layout.siting == siting
    assert all(
        psnr_db(old, new, 10) >= 60 for old, new in zip(before.planes[1:], after.planes[1:], strict=True)
    )


@pytest.mark.slow
@pytest.mark.skipif(
    not CLIPS.is_dir(), reason="needs real clips: set UPSCALER_TEST_DATA to what holds video/"
)
def test_chroma_of_real_clips(engine: Upscaler) -> None:
    measured = {}
    for path in sorted(path for path in CLIPS.iterdir() if path.suffix not in (".md", ".txt")):
        if path.name.startswith("invalid"):
            continue
        with VideoReader(path) as reader:
            info = reader.info
            plan = engine.plan(info.height, info.width)
            for frame in itertools.islice(reader.frames(), 0, 11, 10):
                result = next(upscale_frames([frame], engine, plan, info, frame.layout))[0]
                assert torch.equal(result[0], frame.planes[0]), path.name
                values = [
                    psnr_db(old, new, frame.layout.bits)
                    for old, new in zip(frame.planes[1:3], result[1:3], strict=True)
                ]
                measured[path.name] = min([*values, measured.get(path.name, BEST_DB)])
    assert len(measured) > 20
    assert min(measured.values()) >= 52, measured
