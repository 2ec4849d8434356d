"""A video through the whole pipeline: frames, times, audio, colours, errors."""

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from support.media import (
    VARIABLE,
    audio_packets,
    clip,
    frame_times,
    pictures,
    run,
    write_tone,
)
from support.messages import Messages

from upscaler import pipeline
from upscaler.errors import MediaError, UsageError
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.video import (
    codecs,
    encoders,
    segment_writer,
)
from upscaler.video.reader import VideoReader


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_every_frame_keeps_its_time(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    source = clip(tmp_path / "in.mp4", pts=VARIABLE)
    done = run(engine, source, tmp_path / f"out{suffix}")
    assert done.frames == len(VARIABLE)
    times, expected = frame_times(tmp_path / f"out{suffix}"), [Fraction(pts, 90000) for pts in VARIABLE]
    tolerance = 0 if suffix in (".mp4", ".mov") else Fraction(1, 1000)
    assert len(times) == len(expected)
    assert all(abs(result - want) <= tolerance for result, want in zip(times, expected, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", f"out{suffix}"]


def test_every_audio_stream_is_copied_packet_by_packet(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", audio=["aac", "flac", "libopus"])
    for suffix in (".mkv", ".mp4"):
        run(engine, source, tmp_path / f"out{suffix}")
        assert audio_packets(tmp_path / f"out{suffix}") == audio_packets(source)


def test_delayed_frames_are_flushed(engine: Upscaler, tmp_path: Path) -> None:
    for frames in (1, 2, 3, 60):
        source = clip(tmp_path / f"{frames}.mp4", frames=frames)  # x264 with B-frames holds back many
        done = run(engine, source, tmp_path / f"{frames}-out.mp4")
        assert done.frames == len(frame_times(tmp_path / f"{frames}-out.mp4")) == frames


@pytest.mark.parametrize("matrix", [1, 6])
def test_matrix_is_used_and_tagged(engine: Upscaler, tmp_path: Path, matrix: int) -> None:
    source = clip(tmp_path / "in.mp4", matrix=matrix, pixel_format="yuv444p", frames=2)
    run(engine, source, tmp_path / "out.mp4", crf=0)
    with av.open(str(source)) as before, av.open(str(tmp_path / "out.mp4")) as after:
        small = next(before.decode(video=0))
        large = next(after.decode(video=0))
        assert (int(large.colorspace), int(large.color_range)) == (matrix, 1)
        for expected, result in zip(small.planes, large.planes, strict=True):
            wanted_mean = np.asarray(torch.from_dlpack(expected)).mean()
            assert abs(np.asarray(torch.from_dlpack(result)).mean() - wanted_mean) < 1.0


def test_content_is_the_upscaled_source(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=8)
    run(engine, source, tmp_path / "out.mp4", crf=10)
    small, large = pictures(source).astype(float), pictures(tmp_path / "out.mp4").astype(float)
    count, height, width = small.shape
    reduced = large.reshape(count, height, 2, width, 2).mean((2, 4))
    errors = np.abs(reduced[:, None] - small[None]).mean((2, 3))  # frame against frame
    assert (errors.argmin(1) == np.arange(count)).all()
    assert errors.diagonal().max() < 4


@pytest.mark.parametrize("codec", sorted(codecs.CODECS))
def test_every_codec_in_all_of_its_containers(engine: Upscaler, tmp_path: Path, codec: str) -> None:
    source = clip(tmp_path / "in.mp4", frames=5)
    presets = codecs.CODECS[codec].encoders["software"].presets or (None,)
    for suffix in codecs.CODECS[codec].containers:
        target = tmp_path / f"out{suffix}"
        done = run(engine, source, target, codec=codec, preset=presets[-1 if codec in ("vp9", "av1") else 0])
        assert done.frames == len(frame_times(target)) == 5
        with av.open(str(target)) as result:
            assert result.streams.video[0].codec_context.name.replace("libdav1d", "av1") in (
                codec,
                f"lib{codec}",
            )


def test_crf_and_preset_reach_the_encoder(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=10)
    sizes = []
    for crf in (10, 40):
        run(engine, source, tmp_path / f"{crf}.mp4", crf=crf, preset="ultrafast")
        sizes.append((tmp_path / f"{crf}.mp4").stat().st_size)
    assert sizes[0] > 2 * sizes[1]
    assert b"rc=crf" in (tmp_path / "10.mp4").read_bytes()
    assert b"crf=40.0" in (tmp_path / "40.mp4").read_bytes()


def test_codecs_and_containers_are_checked_before_work() -> None:
    assert encoders.choose(".webm", VideoOptions()).codec == "vp9"
    assert (
        encoders.choose(".mp4", VideoOptions()).describe() == "h264 crf 18 preset medium (libx264, yuv420p)"
    )
    with pytest.raises(UsageError, match=r"\.webm does not support h264") as caught:
        encoders.choose(".webm", VideoOptions(codec="h264"))
    assert ".mkv" in caught.value.hint
    with pytest.raises(UsageError, match="CRF 60"):
        encoders.choose(".mp4", VideoOptions(codec="h264", crf=60))
    with pytest.raises(UsageError, match="preset"):
        encoders.choose(".mp4", VideoOptions(codec="h264", preset="warp"))


def test_unreadable_videos_give_the_reason(engine: Upscaler, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "text.mp4").write_text("no video at all" * 100)
    whole = clip(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(whole[: len(whole) // 2])
    with av.open(str(tmp_path / "sound.mp4"), "w") as output:
        write_tone(output, output.add_stream("aac", rate=48000, layout="stereo"), 440, 0.5)
    for name, reason in {
        "empty.mp4": "empty",
        "text.mp4": "not a readable video",
        "half.mp4": "not a readable video",
        "sound.mp4": "has no video stream",
        "missing.mp4": "does not exist",
    }.items():
        with pytest.raises(MediaError, match=reason):
            run(engine, tmp_path / name, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_a_failing_network_ends_the_job_and_leaves_nothing(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=30)
    whole = engine.upscale_flagged
    calls = iter(range(100))

    def failing(*arguments: object, **named: object) -> object:
        if next(calls) == 5:
            raise RuntimeError("planted")
        return whole(*arguments, **named)

    monkeypatch.setattr(engine, "upscale_flagged", failing)
    with pytest.raises(RuntimeError, match="planted"):
        run(engine, source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_failing_encoder_ends_the_job_and_leaves_nothing(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=30)

    def failing(self: object, planes: object, pts: int) -> None:
        raise MediaError("planted")

    monkeypatch.setattr(segment_writer.SegmentWriter, "write", failing)
    with pytest.raises(MediaError, match="planted"):
        run(engine, source, tmp_path / "out.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_damaged_packets_are_counted(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", frames=40, encoder="libvpx-vp9")
    whole = bytearray(source.read_bytes())
    generator = np.random.default_rng(0)
    for index in generator.integers(len(whole) // 2, len(whole) - 200, 60):
        whole[index] ^= 1 << generator.integers(8)
    source.write_bytes(whole)
    with VideoReader(source) as reader:
        frames = sum(1 for _ in reader.frames())
        damaged = reader.damaged_packets
    assert damaged > 0
    messages = Messages()
    done = run(engine, source, tmp_path / "out.mkv", messages)
    assert done.frames == frames == len(frame_times(tmp_path / "out.mkv"))
    assert f"could not decode {damaged} damaged packets" in messages.warnings[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_late_start_is_moved_to_zero(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    first = 36_000 * 90_000
    source = clip(tmp_path / "in.ts", pts=[first + 3600 * index for index in range(10)])
    assert frame_times(source)[0] >= 36_000
    run(engine, source, tmp_path / f"out{suffix}")
    times = frame_times(tmp_path / f"out{suffix}")
    assert times == [Fraction(index, 25) for index in range(10)]


def test_truncated_file_is_reported(engine: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    whole = clip(tmp_path / "whole.mp4", frames=60)
    with (
        av.open(str(whole)) as container,
        av.open(str(source), "w", options={"movflags": "faststart"}) as output,
    ):
        copy = output.add_stream_from_template(container.streams.video[0])
        for packet in container.demux(video=0):
            if packet.size:
                packet.stream = copy
                output.mux(packet)
    messages = Messages()
    run(engine, source, tmp_path / "whole-out.mp4", messages)
    assert messages.warnings == []
    source.write_bytes(source.read_bytes()[: source.stat().st_size * 3 // 4])
    done = run(engine, source, tmp_path / "out.mp4", messages)
    assert 0 < done.frames < 60
    assert any("ends early" in line and "of 60 frames" in line for line in messages.warnings)


def test_source_that_changes_meanwhile_is_reported(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    job = Job(source, tmp_path / "out.mp4", "video")
    messages = Messages()
    pipeline.upscale_video(job, engine, VideoOptions(), lambda _: os.utime(source, (1, 1)), messages)
    assert any("changed while it was read" in text for text in messages.warnings)
