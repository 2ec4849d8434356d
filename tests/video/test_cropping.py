"""Cropping in the container is applied before the network, as players apply it."""

import re
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.video.frame import VideoFrame
from PIL import Image
from support.media import clip, identity, run_video
from support.messages import Messages
from support.pictures import photograph

from upscaler.errors import UsageError
from upscaler.frames.preview import write_preview
from upscaler.frames.video_plan import plan_video
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.resume.fingerprint import fingerprint_of
from upscaler.video.black_bars import BlackBars
from upscaler.video.cropping import Cropping
from upscaler.video.reader import VideoReader
from upscaler.video.survey import survey
from upscaler.video.yuv import Layout


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def cropped_mkv(path: Path) -> Path:
    """64x48 pixels, of which 6 at the left, 8 at the top and 4 at the bottom are to be cropped."""
    content = clip(path, frames=3).read_bytes()
    display_unit_and_colour = content.index(b"\x54\xb2\x81\x04\x55\xb0\x88")  # 15 bytes
    left, top, bottom = b"\x54\xcc\x81\x06", b"\x54\xbb\x81\x08", b"\x54\xaa\x81\x04"
    void = b"\xec\x81\x00"
    after = content[display_unit_and_colour + 15 :]
    path.write_bytes(content[:display_unit_and_colour] + left + top + bottom + void + after)
    return path


def cropped_mp4(path: Path) -> Path:
    """The same with a clean aperture (ISO/IEC 14496-12): 58x36, its centre 3 to the right and 2 down."""
    content = clip(path, frames=3).read_bytes()
    clap = struct.pack(">I4s8i", 40, b"clap", 58, 1, 36, 1, 3, 1, 2, 1)
    entry = content.rindex(b"avc1") - 4
    (size,) = struct.unpack(">I", content[entry : entry + 4])
    content = content[: entry + size] + clap + content[entry + size :]
    for box in (b"avc1", b"stsd", b"stbl", b"minf", b"mdia", b"trak", b"moov"):
        begin = content.rindex(box) - 4
        (size,) = struct.unpack(">I", content[begin : begin + 4])
        content = content[:begin] + struct.pack(">I", size + len(clap)) + content[begin + 4 :]
    path.write_bytes(content)
    return path


def luma(path: Path) -> np.ndarray:
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray()[: frame.height] for frame in container.decode(video=0)])


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("make", [cropped_mkv, cropped_mp4])
def test_declared_cropping_is_applied(
    engine: Upscaler, tmp_path: Path, make: Callable[[Path], Path], suffix: str
) -> None:
    source = tmp_path / f"in.{make.__name__[-3:]}"
    make(source)
    with VideoReader(source) as reader:
        assert (reader.info.width, reader.info.height) == (58, 36)
        frames = [frame.planes[0].numpy() for frame in reader.frames()]
        assert reader.fitted_frames == 0
    whole = luma(source)
    assert whole.shape == (3, 48, 64)
    assert np.array_equal(np.stack(frames), whole[:, 8:44, 6:])
    run_video(engine, source, tmp_path / f"out{suffix}", crf=1)
    result = luma(tmp_path / f"out{suffix}")
    assert result.shape == (3, 36, 58)
    assert np.abs(result.astype(float) - np.stack(frames)).mean() < 2


@pytest.mark.parametrize("left", range(4))
@pytest.mark.parametrize("right", range(3))
def test_chroma_stays_with_luma(left: int, right: int) -> None:
    """Each chroma sample has the number of its luma column; an odd edge keeps the column before it."""
    columns = torch.arange(16)
    planes = [columns.expand(4, 16), columns[::2].expand(2, 8), columns[::2].expand(2, 8)]
    y, u, v = Cropping(left=left, right=right).apply(planes, Layout())
    assert y[0].tolist() == list(range(left - left % 2, 16 - right))
    assert u[0].tolist() == v[0].tolist() == y[0, ::2].tolist()


def barred_clip(path: Path, *, degrees: int = 0, frames: int = 4) -> Path:
    """64x48 pixels in slightly noisy black, with a picture of 50x27 at column 7 and row 11."""
    noise = np.random.default_rng(0).integers(0, 6, (frames, 48, 64, 3), dtype=np.uint8)
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "8", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if degrees:
            stream.set_display_rotation(degrees)
        for index in range(frames):
            picture = noise[index]
            if index:  # fades in from black
                picture[11:38, 7:57] = photograph(27, 50, index) // 2 + 100
            output.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_black_bars_are_found_and_cropped(engine: Upscaler, tmp_path: Path, degrees: int) -> None:
    source = barred_clip(tmp_path / "in.mp4", degrees=degrees)
    _, messages = run_video(engine, source, tmp_path / "out.mp4", crf=2, crop="auto")
    # Even, and without a black line: columns 8 to 55 and rows 12 to 37.
    shown = {0: "48:26:8:12", 90: "26:48:12:8", 180: "48:26:8:10", 270: "26:48:10:8"}[degrees]
    assert f"cropping black bars: --crop {shown}" in messages
    whole, cropped = luma(source), luma(tmp_path / "out.mp4")
    assert cropped.shape == (4, 26, 48)
    assert np.abs(cropped.astype(float) - whole[:, 12:38, 8:56]).mean() < 2
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation % 360 == degrees
    explicit, _ = run_video(engine, source, tmp_path / "again.mp4", crf=2, crop=shown)
    assert explicit.frames == 4
    assert np.array_equal(luma(tmp_path / "again.mp4"), cropped)


def test_what_the_encoder_blurred_into_a_bar_is_cropped() -> None:
    luma = np.full((48, 64), 16, np.uint8)
    luma[12:36] = 120
    luma[11], luma[36], luma[37] = 45, 45, 28
    content = np.concatenate([luma.ravel(), np.full(48 * 64 // 2, 128, np.uint8)]).reshape(72, 64)
    bars = BlackBars()
    bars.record(VideoFrame.from_ndarray(content, format="yuv420p"))
    assert bars.cropping(64, 48) == Cropping(top=12, bottom=12)


def test_a_picture_without_bars_is_whole(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=2)
    _, messages = run_video(engine, source, tmp_path / "out.mp4", crop="auto")
    assert "there are no black bars to crop" in messages
    assert luma(tmp_path / "out.mp4").shape == (2, 48, 64)


@pytest.mark.parametrize(
    ("pixel_format", "crop", "kept"),
    [
        ("yuv420p", "31:21:5:7", "32:22:4:6"),
        ("yuv444p", "31:21:5:7", ""),
        ("yuv420p", (32, 22, 4, 6), ""),
    ],
)
def test_odd_edges_keep_chroma_in_place(
    engine: Upscaler, tmp_path: Path, pixel_format: str, crop: object, kept: str
) -> None:
    source = clip(tmp_path / "in.mkv", frames=2, encoder="ffv1", pixel_format=pixel_format)
    with VideoReader(source, crop=VideoOptions(crop=crop).crop) as reader:  # type: ignore[arg-type]
        cropped = next(reader.frames()).planes
    with VideoReader(source) as reader:
        whole = next(reader.frames()).planes
    columns, rows, left, top = VideoOptions(crop=kept or crop).crop  # type: ignore[arg-type, misc]
    step = 2 if pixel_format == "yuv420p" else 1
    assert torch.equal(cropped[0], whole[0][top : top + rows, left : left + columns])
    for index in (1, 2):
        part = whole[index][top // step : (top + rows) // step, left // step : (left + columns) // step]
        assert torch.equal(cropped[index], part)
    _, messages = run_video(engine, source, tmp_path / "out.mp4", crop=crop)
    text = f"cropping to {kept}; at an odd edge, the pixel that shares its chroma is kept"
    assert (text in messages) == bool(kept)


def test_cropping_adds_to_what_the_container_declares(engine: Upscaler, tmp_path: Path) -> None:
    source = cropped_mkv(tmp_path / "in.mkv")
    run_video(engine, source, tmp_path / "out.mp4", crf=1, crop="40:30:10:2")
    expected = luma(source)[:, 10:40, 16:56].astype(float)
    assert np.abs(luma(tmp_path / "out.mp4") - expected).mean() < 2


def test_a_rectangle_outside_the_picture_is_refused(engine: Upscaler, tmp_path: Path) -> None:
    source = barred_clip(tmp_path / "in.mp4", degrees=90)
    with pytest.raises(UsageError, match=re.escape("--crop 64:48:0:0 is not inside the picture of 48x64")):
        run_video(engine, source, tmp_path / "out.mp4", crop="64:48:0:0")
    for wrong in ("64:48", "0:48:0:0", "64:48:-2:0", "a:b:c:d"):
        with pytest.raises(UsageError, match="--crop"):
            VideoOptions(crop=wrong)


def test_a_preview_is_cropped_alike(engine: Upscaler, tmp_path: Path) -> None:
    source = barred_clip(tmp_path / "in.mp4", degrees=90)
    job = Job(source, tmp_path / "out.preview.png", "preview")
    write_preview(job, engine, VideoOptions(crop="auto"), lambda _: None, Messages())
    with Image.open(job.target) as image:
        assert image.size == (26, 48)


def test_another_crop_restarts(engine: Upscaler, tmp_path: Path) -> None:
    source = barred_clip(tmp_path / "in.mp4")
    names = []
    for crop in (None, "auto", "48:26:8:12", "48:26:8:10"):
        options = VideoOptions(crop=crop)  # type: ignore[arg-type]
        with VideoReader(source, survey=survey(source, options), crop=options.crop) as reader:
            settings = plan_video(
                reader, Job(source, tmp_path / "out.mp4", "video"), engine, options
            ).encoding
            names.append(fingerprint_of(source, [], engine.options, options, settings, 120, reader.cropping))
    assert names[1] == names[2]
    assert names[0] != names[1] != names[3]
