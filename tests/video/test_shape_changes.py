"""Films whose picture changes its size or aspect in the middle."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from support.media import clip, frame_times, identity, run_video

from upscaler.inference.engine import Upscaler
from upscaler.options import VideoOptions
from upscaler.video import survey
from upscaler.video.geometry import Shape


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def part(
    path: Path, encoder: str, first: int, frames: int, size: tuple[int, int], aspect: Fraction = Fraction(1)
) -> Path:
    """A gray film of this size, (width, height), whose frames count from ``first``."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream(encoder, rate=25)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        for index in range(frames):
            planes = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
            planes[: size[1]] = 180
            frame = VideoFrame.from_ndarray(planes, format="yuv420p")
            frame.pts, frame.time_base = first + index, Fraction(1, 25)
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return path


def spliced(path: Path, parts: list[Path]) -> Path:
    """The packets of several WebM files in one, under the header of the first."""
    with av.open(str(path), "w") as output:
        target = None
        for each in parts:
            with av.open(str(each)) as source:
                target = target or output.add_stream_from_template(source.streams.video[0])
                for packet in source.demux():
                    if packet.size:
                        packet.stream = target
                        output.mux(packet)
    return path


def bright_area(path: Path, index: int) -> tuple[slice, slice, tuple[int, int]]:
    """Rows and columns of a frame that are not black, and its (height, width)."""
    with av.open(str(path)) as container:
        frame = [*container.decode(video=0)][index].to_ndarray()
    luma = frame[: len(frame) * 2 // 3]
    rows, columns = np.where(luma.max(1) > 100)[0], np.where(luma.max(0) > 100)[0]
    inside = luma[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    assert np.abs(inside.astype(int) - 180).max() < 12 and set(np.unique(luma[: rows[0]])) <= {16}
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1), luma.shape


def test_a_webm_that_starts_small_is_planned_for_its_larger_part(engine: Upscaler, tmp_path: Path) -> None:
    small = part(tmp_path / "a.webm", "libvpx-vp9", 0, 10, (64, 48))
    large = part(tmp_path / "b.webm", "libvpx-vp9", 10, 15, (192, 144))
    source, target = spliced(tmp_path / "in.webm", [small, large]), tmp_path / "out.mkv"
    done, messages = run_video(engine, source, target, codec="ffv1")
    assert done.frames == len(frame_times(target)) == 25
    for index in (0, 20):  # the same aspect: no bars
        assert bright_area(target, index) == (slice(0, 144), slice(0, 192), (144, 192))
    [line] = [line for line in messages if "another shape" in line]
    assert line == "10 frames have another shape than 192x144 and were fitted into it"


@pytest.mark.parametrize(("aspects", "bars"), [((Fraction(16, 15), Fraction(64, 45)), (20, 140))])
def test_a_broadcast_that_turns_wide_has_bars_before(
    engine: Upscaler, tmp_path: Path, aspects: tuple[Fraction, Fraction], bars: tuple[int, int]
) -> None:
    """4:3, then 16:9, with the same number of pixels."""
    narrow, wide = (
        part(tmp_path / f"{index}.ts", "mpeg2video", 12 * index, 12, (160, 128), aspect)
        for index, aspect in enumerate(aspects)
    )
    source, target = tmp_path / "in.ts", tmp_path / "out.mp4"
    source.write_bytes(narrow.read_bytes() + wide.read_bytes())
    done, messages = run_video(engine, source, target, crf=1)
    assert done.frames == len(frame_times(target)) == 24
    with av.open(str(target)) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspects[1]
    assert bright_area(target, 2) == (slice(0, 128), slice(*bars), (128, 160))
    assert bright_area(target, 20) == (slice(0, 128), slice(0, 160), (128, 160))
    assert any("12 of them with bars" in line for line in messages), messages


def test_a_short_stretch_does_not_decide_the_size(engine: Upscaler, tmp_path: Path) -> None:
    parts = [
        part(tmp_path / "a.webm", "libvpx", 0, 30, (64, 48)),
        part(tmp_path / "b.webm", "libvpx", 30, 2, (64, 96)),
    ]
    target = tmp_path / "out.mkv"
    run_video(engine, spliced(tmp_path / "in.webm", parts), target, codec="ffv1")
    assert bright_area(target, 0) == (slice(0, 48), slice(0, 64), (48, 64))
    assert bright_area(target, 31) == (slice(0, 48), slice(16, 48), (48, 64))


def test_of_a_film_of_unknown_duration_few_frames_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded = []
    decode = survey._Shapes._decoded
    monkeypatch.setattr(
        survey._Shapes, "_decoded", lambda self, packet: decoded.append(1) or decode(self, packet)
    )
    monkeypatch.setattr(survey, "_SAMPLES", 4)
    source = clip(tmp_path / "in.mjpeg", frames=60, encoder="mjpeg", pixel_format="yuvj420p")
    assert survey.survey(source, VideoOptions()).shape == Shape(64, 48, Fraction(1))
    assert 8 <= len(decoded) <= 20  # each four at twice the distance
