"""Recordings joined by appending their files, and other timestamps that jump."""

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import pytest
from support.media import audio_spans, clip, frame_times, identity, run_video
from support.mpeg_streams import AudioTrack, recording

from upscaler.inference.engine import Upscaler
from upscaler.video.timeline import Timeline


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_transport_streams_joined_by_cat_continue(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    source, target = tmp_path / "in.ts", tmp_path / f"out{suffix}"
    second = recording(tmp_path / "a.ts", [AudioTrack()])
    source.write_bytes(second * 3)
    done, messages = run_video(engine, source, target)
    times = frame_times(target)
    assert done.frames == len(times) == 75
    assert not messages.warnings
    assert sum("jump 2 times" in note for note in messages) == 1
    for before, after in pairwise(times):
        assert Fraction(1, 26) < after - before < Fraction(7, 100)  # the sound is longer than the picture
    [(begin_s, end_s)] = audio_spans(target)
    assert abs(begin_s - times[0]) < 0.05 and abs(end_s - times[-1] - Fraction(1, 25)) < 0.05


OVERFLOW_S = 2**33 / 90_000  # of 33-bit timestamps


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("container", [".ts", ".vob"])
@pytest.mark.parametrize("begins_s", [(100, 0), (4000, 0), (0, 300), (10, 4000), (500, 0, 500)])
def test_recordings_joined_in_any_order(
    engine: Upscaler, tmp_path: Path, begins_s: tuple[int, ...], container: str, suffix: str
) -> None:
    """FFmpeg takes a jump back by more than 60 s for an overflow, and adds 26 hours."""
    source, target = tmp_path / f"in{container}", tmp_path / f"out{suffix}"
    pieces = [recording(tmp_path / f"a{container}", [AudioTrack()], begin_s) for begin_s in begins_s]
    source.write_bytes(b"".join(pieces))
    done, messages = run_video(engine, source, target)
    times = frame_times(target)
    assert done.frames == len(times) == 25 * len(begins_s)
    assert not messages.warnings
    count = "once" if len(begins_s) == 2 else f"{len(begins_s) - 1} times"
    assert sum(f"timestamps jump {count}" in message for message in messages) == 1
    for before, after in pairwise(times):
        assert Fraction(1, 26) < after - before < Fraction(1, 8)  # audio is longer than video
    [(begin_s, end_s)] = audio_spans(target)
    assert abs(begin_s - times[0]) < 0.1 and abs(end_s - times[-1] - Fraction(1, 25)) < 0.1


def test_overflow_of_timestamps_is_not_a_joint(engine: Upscaler, tmp_path: Path) -> None:
    source, target = tmp_path / "in.ts", tmp_path / "out.mp4"
    begin_s = int(OVERFLOW_S)  # 0.7 s before the overflow
    source.write_bytes(
        recording(tmp_path / "a.ts", [AudioTrack()], begin_s) + recording(source, [AudioTrack()], begin_s + 1)
    )
    done, messages = run_video(engine, source, target)
    times = frame_times(target)
    assert done.frames == len(times) == 50
    assert [after - before for before, after in pairwise(times)] == [Fraction(1, 25)] * 49
    assert not messages.warnings and not any("jump" in message for message in messages)
    [(sound_s, _)] = audio_spans(target)
    assert abs(sound_s - times[0]) < 0.05


def test_gap_in_a_trusted_container_is_kept(engine: Upscaler, tmp_path: Path) -> None:
    pts = [*range(0, 400, 40), *range(300_000, 300_400, 40)]
    source = clip(tmp_path / "in.mkv", pts=pts, time_base=Fraction(1, 1000))
    run_video(engine, source, tmp_path / "out.mp4")
    assert frame_times(tmp_path / "out.mp4") == [Fraction(stamp, 1000) for stamp in pts]


def test_pause_of_the_audio_alone_is_not_a_joint(engine: Upscaler, tmp_path: Path) -> None:
    source, target = tmp_path / "in.ts", tmp_path / "out.mp4"
    silent = [recording(tmp_path / "a.ts", [], begin_s) for begin_s in range(1, 15)]
    first, last = (recording(tmp_path / "a.ts", [AudioTrack()], begin_s) for begin_s in (0, 15))
    source.write_bytes(first + b"".join(silent) + last)
    done, messages = run_video(engine, source, target)
    assert done.frames == 400 and not any("jump" in message for message in messages)
    [_, (begin_s, _)] = audio_spans(target)
    assert abs(begin_s - 15) < 0.1


def test_joined_streams_without_audio_continue(engine: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "in.ts"
    source.write_bytes(recording(tmp_path / "a.ts", [AudioTrack()]) * 2)
    run_video(engine, source, tmp_path / "out.mp4", audio=False)
    gaps_s = [after - before for before, after in pairwise(frame_times(tmp_path / "out.mp4"))]
    assert len(gaps_s) == 49 and all(Fraction(1, 26) < gap_s < Fraction(7, 100) for gap_s in gaps_s)


def times_of(packets: list[av.Packet], index: int) -> list[Fraction]:
    return [packet.dts * packet.time_base for packet in packets if packet.stream.index == index]


def test_streams_that_jump_separately_are_shifted_alike(tmp_path: Path) -> None:
    """At a joint, audio of the previous part may be stored after video of the next."""
    recording(tmp_path / "a.ts", [AudioTrack()])
    with av.open(str(tmp_path / "a.ts")) as one, av.open(str(tmp_path / "a.ts")) as two:
        first, second = ([packet for packet in part.demux() if packet.size] for part in (one, two))
        expected = [times_of(first, 0), times_of(first, 1)]
        late = [packet for packet in first if packet.stream.index == 1][-5:]
        early = [packet for packet in second if packet.stream.index == 0][:8]
        packets = [packet for packet in first if packet not in late] + early + late
        packets += [packet for packet in second if packet not in early]
        timeline = Timeline(one)
        for packet in packets:
            timeline.shift(packet)
        assert timeline.joints == 1
        assert [times_of(first, 0), times_of(first, 1)] == expected
        found = [*times_of(second, 0), *times_of(second, 1)]
        [by_s] = {after - before for before, after in zip([*expected[0], *expected[1]], found, strict=True)}
        assert abs(by_s - 1) < Fraction(1, 20)


@pytest.mark.parametrize("wrong_s", [1000, -20])
@pytest.mark.parametrize("index", [0, 1])
def test_single_wrong_timestamp_is_not_a_jump(tmp_path: Path, wrong_s: int, index: int) -> None:
    recording(tmp_path / "a.ts", [AudioTrack()], begin_s=50)
    with av.open(str(tmp_path / "a.ts")) as container:
        packets = [packet for packet in container.demux() if packet.size]
        wrong = [packet for packet in packets if packet.stream.index == index][12]
        right = [packet for packet in packets if packet is not wrong]
        expected = [times_of(right, 0), times_of(right, 1)]
        wrong.pts, wrong.dts = wrong.pts + wrong_s * 90_000, wrong.dts + wrong_s * 90_000
        timeline = Timeline(container)
        for packet in packets:
            timeline.shift(packet)
        assert timeline.joints == 0
        assert [times_of(right, 0), times_of(right, 1)] == expected


def test_non_monotonic_frames_in_a_trusted_container_are_counted(engine: Upscaler, tmp_path: Path) -> None:
    plain = clip(tmp_path / "in.mkv", frames=25, encoder="mpeg4", time_base=Fraction(1, 1000))
    written = plain.read_bytes()
    for begin_ms in range(600, 1000, 40):
        block = b"\x81" + begin_ms.to_bytes(2, "big")
        assert written.count(block) == 1
        written = written.replace(block, b"\x81" + (begin_ms - 560).to_bytes(2, "big"))
    plain.write_bytes(written)
    done, messages = run_video(engine, plain, tmp_path / "out.mp4")
    assert done.frames == len(frame_times(tmp_path / "out.mp4")) == 25
    assert sum("frames after their predecessor" in warning for warning in messages.warnings) == 1
