"""``--preview``: one frame as PNG, next to its bicubic version."""

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from support.media import clip, save, turned_clip
from support.pictures import photograph
from typer.testing import CliRunner

from upscaler import jobs
from upscaler.cli.app import app
from upscaler.errors import MediaError, UsageError
from upscaler.frames.preview import write_preview
from upscaler.images import stills
from upscaler.inference.engine import Upscaler
from upscaler.options import Options, VideoOptions
from upscaler.results import Done


def preview(engine: Upscaler, source: Path, **options: object) -> tuple[Done, list[NDArray[np.uint8]]]:
    """Plan and write a preview as the command does; returns both images, upscaled and bicubic."""
    [job] = jobs.plan([source], Options(preview=True, scale=2)).jobs
    done = write_preview(job, engine, VideoOptions(**options), lambda _: None, lambda _: None)
    return done, [stills.read(path).pixels for path in (job.target, jobs.bicubic_beside(job.target))]


def counting_clip(path: Path, frames: int = 60) -> Path:
    """Frames whose brightness says which they are."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"g": "10", "crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(frames):
            frame = VideoFrame.from_ndarray(np.full((72, 64), 30 + 3 * index, np.uint8), format="yuv420p")
            for plane in frame.planes[1:]:
                plane.update(bytes([128]) * plane.buffer_size)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def index_of(pixels: NDArray[np.uint8]) -> int:
    return round((float(pixels.mean()) / 255 * 219 + 16 - 30) / 3)


def test_the_middle_of_the_selected_part(engine: Upscaler, tmp_path: Path) -> None:
    source = counting_clip(tmp_path / "in.mp4")
    for options, index in (({"end_s": Fraction("0.8")}, 10), ({"frames": 40}, 20)):
        _, images = preview(engine, source, **options)
        assert [index_of(pixels) for pixels in images] == [index, index]
        for path in tmp_path.glob("*.png"):
            path.unlink()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".ts"])
def test_the_frame_is_at_start_or_in_the_middle(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    source = counting_clip(tmp_path / f"in{suffix}")
    _, images = preview(engine, source)
    assert [index_of(pixels) for pixels in images] == [30, 30]
    for path in tmp_path.glob("*.png"):
        path.unlink()
    done, images = preview(engine, source, start_s=Fraction("0.55"))
    assert [index_of(pixels) for pixels in images] == [14, 14]
    assert done.frames == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        f"in{suffix}",
        "in_x2.bicubic.png",
        "in_x2.preview.png",
    ]
    for path in tmp_path.glob("*.png"):
        path.unlink()
    for start_s, index in (("0", 0), ("0.1", 3)):  # a .ts is sought to the key frame after them
        _, images = preview(engine, source, start_s=Fraction(start_s))
        assert [index_of(pixels) for pixels in images] == [index, index]
        for path in tmp_path.glob("*.png"):
            path.unlink()
    with pytest.raises(MediaError, match="no frame at 9"):
        preview(engine, source, start_s=Fraction(9))
    assert not list(tmp_path.glob("*.png"))


def test_both_images_show_the_frame_and_differ(engine: Upscaler, tmp_path: Path) -> None:
    _, (upscaled, bicubic) = preview(engine, clip(tmp_path / "in.mp4", frames=1))
    assert upscaled.shape == bicubic.shape == (96, 128, 3)
    source = photograph(112, 128)[:48, :64].astype(float)
    for pixels in (upscaled, bicubic):
        reduced = pixels.astype(float).reshape(48, 2, 64, 2, 3).mean((1, 3))
        assert np.abs(reduced - source).mean() < 12
    assert np.abs(upscaled.astype(int) - bicubic).mean() > 0.3


def test_rotation_and_bit_depth_are_those_of_the_video(engine: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx265", rate=25, options={"x265-params": "log-level=error"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        stream.set_display_rotation(90)
        for _ in range(3):
            image = np.zeros((48, 64, 3), np.uint8)
            image[:, :32] = 200  # the left half; turned counter-clockwise it is the lower one
            output.mux(stream.encode(VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    preview(engine, source)
    for path in tmp_path.glob("*.png"):
        pixels = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        assert (pixels.shape, pixels.dtype) == ((128, 96, 3), np.uint16)
        assert pixels[70:].mean() > 4 * pixels[:60].mean()


def test_existing_files_and_images_are_errors(tmp_path: Path) -> None:
    source = counting_clip(tmp_path / "in.mp4", 2)
    (tmp_path / "in_x4.bicubic.png").write_text("precious")
    with pytest.raises(UsageError, match=r"in_x4\.bicubic\.png' already exists"):
        jobs.plan([source], Options(preview=True))
    assert jobs.plan([source], Options(preview=True, overwrite=True)).jobs[0].kind == "preview"
    with pytest.raises(UsageError, match=r"photo\.png' is an image"):
        jobs.plan([save(tmp_path / "photo.png")], Options(preview=True))
    [job] = jobs.plan([source], Options(preview=True, output=tmp_path / "new.mkv")).jobs
    assert (job.target.name, jobs.bicubic_beside(job.target).name) == ("new.preview.png", "new.bicubic.png")


def test_a_target_folder_that_is_a_file(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=2)
    (tmp_path / "taken").write_text("precious")
    [job] = jobs.plan([source], Options(preview=True, output=tmp_path / "taken")).jobs
    with pytest.raises(MediaError, match=r"cannot make the folder .*taken'"):
        write_preview(job, engine, VideoOptions(), lambda _: None, lambda _: None)
    assert (tmp_path / "taken").read_text() == "precious"


def test_a_start_of_zero_is_not_the_middle(tmp_path: Path) -> None:
    source = counting_clip(tmp_path / "in.mp4")
    for name, arguments in (("middle", []), ("first", ["--start", "0"])):
        target = ["-o", str(tmp_path / f"{name}.mp4")]
        result = CliRunner().invoke(app, [str(source), "--preview", "--scale", "1", *target, *arguments])
        assert result.exit_code == 0, result.output
    found = [index_of(stills.read(tmp_path / f"{name}.preview.png").pixels) for name in ("middle", "first")]
    assert found == [30, 0]


@pytest.mark.parametrize(
    ("rotation", "mirrored", "bright"),
    [(0, True, (0, 1)), (180, True, (1, 0)), (90, True, (1, 1)), (270, True, (0, 0)), (90, False, (1, 0))],
)
def test_mirroring(
    engine: Upscaler, tmp_path: Path, rotation: int, mirrored: bool, bright: tuple[int, int]
) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.set_display_rotation(rotation, hflip=mirrored)
        image = np.zeros((48, 64, 3), np.uint8)
        image[:24, :32] = 200  # the upper left quarter
        output.mux(stream.encode(VideoFrame.from_ndarray(image, format="rgb24")))
        output.mux(stream.encode(None))
    _, images = preview(engine, source)
    for pixels in images:
        height, width = pixels.shape[0] // 2, pixels.shape[1] // 2
        quarters = pixels.reshape(2, height, 2, width, 3).mean((1, 3, 4))
        assert np.unravel_index(quarters.argmax(), (2, 2)) == bright


def test_size_applies_to_the_rotated_frame(tiny_weights: Path, tmp_path: Path) -> None:
    source = turned_clip(tmp_path / "in.mp4", 90)
    _, images = preview(Upscaler(tiny_weights, size_px=(96, 128), precision="fp32"), source)
    assert [pixels.shape for pixels in images] == [(128, 96, 3)] * 2
