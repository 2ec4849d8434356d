from fractions import Fraction
from pathlib import Path

import av
import pytest
from support.media import clip, frame_times, rich_source, sound

from upscaler import pipeline
from upscaler.errors import MediaError, UsageError
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.results import Done


def run(engine: Upscaler, source: Path, target: Path, **options: object) -> Done:
    job = Job(source, target, "video")
    options = {"preset": "ultrafast"} | options
    return pipeline.upscale_video(job, engine, VideoOptions(**options), lambda _: None, lambda _: None)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_part_of_a_video(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    source = rich_source(tmp_path)  # 25 frames at 25/s, two sounds, subtitles at 0.1 and 0.5 s, chapters
    target = tmp_path / f"part{suffix}"
    done = run(engine, source, target, start_s=Fraction("0.39"), end_s=Fraction("0.8"))
    times = frame_times(target)
    assert done.frames == len(times) == 10  # 0.40 to 0.76
    assert times == [Fraction(index, 25) for index in range(10)]
    whole, part = sound(source, 1), sound(target, 1)
    begin = round(0.4 * 48_000)
    lag = max(range(-48, 49), key=lambda by: -abs(whole[begin + 4000 + by :][:9000] - part[4000:13000]).sum())
    assert abs(lag) <= 48  # at most 1 ms off
    assert abs(part[21_000:]).max() == 0  # nothing after the last frame but the packet that began before
    with av.open(str(target)) as container:
        titles = [chapter["metadata"]["title"] for chapter in container.chapters()]
        assert titles == ["Two"]
        assert sum(1 for packet in container.demux(subtitles=0) if packet.size > 2) == 1


def test_frames_limits_the_count(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=20)
    assert run(engine, source, tmp_path / "out.mp4", frames=7).frames == 7
    assert frame_times(tmp_path / "out.mp4") == [Fraction(index, 25) for index in range(7)]
    assert run(engine, source, tmp_path / "all.mp4", frames=70).frames == 20


def test_part_without_frames_is_an_error(engine: Upscaler, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no frame between"):
        run(engine, clip(tmp_path / "in.mp4", frames=5), tmp_path / "out.mp4", start_s=Fraction(9))
    assert not (tmp_path / "out.mp4").exists()


def test_a_part_without_frames_is_rejected() -> None:
    for options in ({"start_s": Fraction(5), "end_s": Fraction(5)}, {"frames": 0}):
        with pytest.raises(UsageError):
            VideoOptions(**options)
