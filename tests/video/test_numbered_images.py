"""Numbered images as one video, a video as numbered images or an animation, and an animation as a video."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from numpy.typing import NDArray
from PIL import Image, ImageSequence
from support.media import clip, frame_times, identity, run_video
from support.messages import Messages
from support.pictures import photograph

from upscaler import jobs
from upscaler.errors import UsageError
from upscaler.frames.video_to_images import upscale_to_images
from upscaler.images.encoding import Encoding
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import Options, VideoOptions

SIDES = (48, 64)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def deep(path: Path) -> NDArray[np.uint16]:
    """The samples of an image of 16 bits, as FFmpeg reads them."""
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.format.name in ("rgb48be", "rgb48le"), frame.format.name
        return frame.to_ndarray(format="rgb48le")


def numbered(folder: Path, pattern: str, numbers: range) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        Image.fromarray(photograph(*SIDES, number)).save(folder / (pattern % number))
    return folder / pattern


def to_images(engine: Upscaler, source: Path, target: Path, **options: object) -> Messages:
    messages = Messages()
    job = jobs.plan([source], Options(output=target)).jobs[0]
    assert job.writes_images
    upscale_to_images(job, engine, VideoOptions(**options), Encoding(), lambda _: None, messages)
    return messages


@pytest.mark.parametrize(
    ("pattern", "names", "fps", "step"),
    [
        ("a_%05d.png", ["a_00007.png", "a_00008.png", "a_00009.png"], "24", Fraction(1, 24)),
        ("50%_%d.png", ["50%_98.png", "50%_99.png", "50%_100.png"], "23.976", Fraction(1001, 24000)),
        ("%04d.tif", ["0000.tif", "0001.tif", "0002.tif"], "30000/1001", Fraction(1001, 30000)),
    ],
)
def test_numbered_images_become_a_video(
    engine: Upscaler, tmp_path: Path, pattern: str, names: list[str], fps: str, step: Fraction
) -> None:
    folder = tmp_path / "100%d of it"
    folder.mkdir()
    for number, name in enumerate(names):
        Image.fromarray(photograph(*SIDES, number)).save(folder / name)
    job = jobs.plan([folder / pattern], Options(output=tmp_path / "out.mp4", fps=fps)).jobs[0]
    run_video(engine, job.source, job.target, fps=fps, crf=1)
    assert frame_times(tmp_path / "out.mp4") == [index * step for index in range(3)]
    with av.open(str(tmp_path / "out.mp4")) as container:
        for number, frame in enumerate(container.decode(video=0)):
            original = VideoFrame.from_ndarray(photograph(*SIDES, number), format="rgb24")
            luma = original.reformat(format="yuv420p", dst_colorspace=6).to_ndarray()[: SIDES[0]]
            assert np.abs(frame.to_ndarray()[: SIDES[0]].astype(int) - luma).mean() < 1.5


def test_deep_images_stay_deep(engine: Upscaler, tmp_path: Path) -> None:
    """Through FFV1 and back into images every code of 16 bits is the same."""
    codes = np.random.default_rng(0).integers(0, 65536, (2, *SIDES, 3)).astype(np.uint16)
    for number, picture in enumerate(codes):
        with av.open(str(tmp_path / f"in{number}.png"), "w", format="image2") as output:
            stream = output.add_stream("png", rate=25)
            stream.width, stream.height, stream.pix_fmt = SIDES[1], SIDES[0], "rgb48be"
            output.mux(
                stream.encode(VideoFrame.from_ndarray(picture, format="rgb48le").reformat(format="rgb48be"))
            )
            output.mux(stream.encode(None))
    run_video(engine, tmp_path / "in%d.png", tmp_path / "film.mkv", codec="ffv1")
    to_images(engine, tmp_path / "film.mkv", tmp_path / "out" / "%03d.png")
    for number, picture in enumerate(codes):
        assert np.array_equal(deep(tmp_path / "out" / f"{number + 1:03}.png"), picture)


@pytest.mark.parametrize(
    ("suffix", "pixel_format", "bits"), [(".png", "yuv420p10le", 16), (".jpg", "yuv420p", 8)]
)
def test_a_video_becomes_numbered_images(
    engine: Upscaler, tmp_path: Path, suffix: str, pixel_format: str, bits: int
) -> None:
    source = clip(tmp_path / "in.mkv", frames=5, encoder="ffv1", pixel_format=pixel_format, audio=["aac"])
    messages = to_images(engine, source, tmp_path / "new" / f"f_%04d{suffix}", start_s=0.03)
    found = sorted(path.name for path in (tmp_path / "new").iterdir())
    assert found == [f"f_{number:04}{suffix}" for number in range(1, 5)]
    assert any(f"of {bits} bits" in line for line in messages)
    assert "images keep no audio, subtitles and chapters" in messages
    with av.open(str(source)) as container:
        frame = [*container.decode(video=0)][1]
        luma = frame.to_ndarray()[: SIDES[0]].astype(float) / (4 if bits == 16 else 1)
    first = tmp_path / "new" / f"f_0001{suffix}"
    rgb = deep(first) / 257 if bits == 16 else np.asarray(Image.open(first)).astype(float)
    expected = 16 + 219 / 255 * rgb @ [0.299, 0.587, 0.114]
    assert np.abs(expected - luma).mean() < (0.3 if bits == 16 else 1.5)


def test_images_are_upright_with_square_pixels(engine: Upscaler, tmp_path: Path) -> None:
    with av.open(str(tmp_path / "in.mp4"), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.height, stream.width = SIDES
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(3, 2)
        stream.set_display_rotation(90)
        output.mux(stream.encode(VideoFrame.from_ndarray(photograph(*SIDES), format="rgb24")))
        output.mux(stream.encode(None))
    to_images(engine, tmp_path / "in.mp4", tmp_path / "%d.png")
    with Image.open(tmp_path / "1.png") as image:
        assert image.size == (48, 96)
        turned = Image.fromarray(np.rot90(photograph(*SIDES))).resize((48, 96), Image.Resampling.BICUBIC)
        difference = np.asarray(image.convert("L")).astype(int) - np.asarray(turned.convert("L"))
        assert np.abs(difference).mean() < 4


@pytest.mark.parametrize("suffix", [".gif", ".webp", ".png"])
def test_a_video_becomes_an_animation_and_a_video_again(
    engine: Upscaler, tmp_path: Path, suffix: str
) -> None:
    pts = [0, 40, 120, 180]
    source = clip(tmp_path / "in.mp4", pts=pts, time_base=Fraction(1, 1000))
    to_images(engine, source, tmp_path / f"moving{suffix}")
    with Image.open(tmp_path / f"moving{suffix}") as image:
        durations = []
        for frame in ImageSequence.Iterator(image):
            frame.load()
            durations.append(frame.info["duration"])
        assert durations[:3] == [40, 80, 60] and len(durations) == 4
        assert image.info["loop"] == 0
    if suffix == ".webp":
        return  # FFmpeg does not decode animated WebP
    job = jobs.plan([tmp_path / f"moving{suffix}"], Options(output=tmp_path / "again.mp4")).jobs[0]
    assert job.kind == "video"
    run_video(engine, job.source, job.target)
    assert frame_times(tmp_path / "again.mp4") == [Fraction(stamp, 1000) for stamp in pts]


def test_what_cannot_be_is_one_line(tmp_path: Path) -> None:
    pattern = numbered(tmp_path / "p", "%03d.png", range(1, 5))
    (tmp_path / "p" / "003.png").unlink()
    with pytest.raises(UsageError, match=r"'.*003\.png' is missing") as error:
        jobs.plan([pattern], Options())
    assert error.value.hint == "the numbers go from 1 to 4"
    with pytest.raises(UsageError, match=r"there are no images '.*%d\.png'"):
        jobs.plan([tmp_path / "%d.png"], Options())
    with pytest.raises(UsageError, match=r"'.*001\.png' already exists \(and 2 more\)"):
        jobs.plan([clip(tmp_path / "in.mp4", frames=2)], Options(output=pattern))
    with pytest.raises(UsageError, match=r"cannot write an image to '.*%d\.mp4'|cannot read"):
        jobs.plan([tmp_path / "p" / "%d.xyz"], Options())
    with pytest.raises(UsageError, match="--fps 0 must be frames per second"):
        VideoOptions(fps=0)


def test_names_without_a_target(tmp_path: Path) -> None:
    for pattern, name in (("shot_%04d.png", "shot_x4.mp4"), ("%04d.png", "p_x4.mp4")):
        job = jobs.plan([numbered(tmp_path / "p", pattern, range(1))], Options()).jobs[0]
        assert (job.target.name, job.kind) == (name, "video")


def test_a_longer_earlier_run_leaves_nothing(engine: Upscaler, tmp_path: Path) -> None:
    pattern = numbered(tmp_path / "p", "%03d.png", range(1, 5))
    source = clip(tmp_path / "in.mp4", frames=2)
    job = Job(source, pattern, "video")
    upscale_to_images(job, engine, VideoOptions(), Encoding(), lambda _: None, Messages())
    assert sorted(path.name for path in pattern.parent.iterdir()) == ["001.png", "002.png"]
