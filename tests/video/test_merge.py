"""Segments, the merge, and the verification of the finished file."""

from fractions import Fraction
from itertools import count, islice
from pathlib import Path

import pytest
from av.packet import Packet
from support.media import (
    VARIABLE,
    audio_packets,
    clip,
    frame_times,
    run,
)
from support.messages import Messages

from upscaler.errors import MediaError
from upscaler.inference.engine import Upscaler
from upscaler.options import VideoOptions
from upscaler.video import (
    encoders,
    mux,
    segment_packets,
    segment_writer,
    segments,
    stream_plan,
)
from upscaler.video.demux import Source
from upscaler.video.reader import VideoReader


def test_segments_of_one_video_merge_into_the_whole(tmp_path: Path) -> None:
    """Segments give the stamps of one encoding: the property that resuming stands on."""
    source = clip(tmp_path / "in.mp4", pts=VARIABLE, audio=["aac"])
    with VideoReader(source) as reader:
        settings = segment_writer.settings_for(reader.info, encoders.choose(".mp4", VideoOptions()), 48, 64)
        frames = list(reader.frames())
    with segments.SegmentedVideoWriter(tmp_path, settings, 5, count()) as writer:
        for frame in frames:
            writer.write(frame.planes, frame.pts)
        writer.finish()
    target = tmp_path / "out.mp4"
    messages, plans = Messages(), stream_plan.plan(Source(source), target)
    made = list(writer.made.values())
    assert mux.merge(made, Source(source), target, plans, on_message=messages) == plans
    assert [segment.frames for segment in made] == [5, 5, 2]
    assert segments.closed_segments(tmp_path) == writer.made
    assert not messages
    assert frame_times(tmp_path / "out.mp4") == [Fraction(pts, 90000) for pts in VARIABLE]
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)


def test_an_unfinished_segment_is_removed(tmp_path: Path) -> None:
    with VideoReader(clip(tmp_path / "in.mp4")) as reader:
        settings = segment_writer.settings_for(reader.info, encoders.choose(".mp4", VideoOptions()), 48, 64)
        frame = next(reader.frames())
    with segment_writer.SegmentWriter(tmp_path / "segment.mp4", settings) as writer:
        writer.write(frame.planes, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_hevc_in_mp4_is_tagged_hvc1(engine: Upscaler, tmp_path: Path) -> None:
    run(engine, clip(tmp_path / "in.mp4", frames=3), tmp_path / "out.mp4", codec="hevc", preset="ultrafast")
    result = (tmp_path / "out.mp4").read_bytes()
    assert b"hvc1" in result and b"hev1" not in result


def test_files_that_look_temporary_are_kept(engine: Upscaler, tmp_path: Path) -> None:
    precious = [tmp_path / name for name in ("out.part.mp4", ".out.part.mp4", "out.incomplete.mp4")]
    for path in precious:
        path.write_text("precious")
    run(engine, clip(tmp_path / "in.mp4", frames=2), tmp_path / "out.mp4")
    assert all(path.read_text() == "precious" for path in precious)


def test_matroska_keeps_the_start_although_frames_are_reordered(engine: Upscaler, tmp_path: Path) -> None:
    run(engine, clip(tmp_path / "in.mp4", frames=30), tmp_path / "out.mkv")
    assert frame_times(tmp_path / "out.mkv") == [Fraction(index, 25) for index in range(30)]


def test_failed_merge_keeps_the_old_target(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=5)
    (tmp_path / "out.mp4").write_text("precious")
    whole = mux.segment_packets
    monkeypatch.setattr(mux, "segment_packets", lambda *a, **k: islice(whole(*a, **k), 4))
    with pytest.raises(MediaError, match=r"contains 4 of 5 frames.*kept as .*incomplete\.mp4"):
        run(engine, source, tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").read_text() == "precious"
    assert len(frame_times(tmp_path / "out.mp4.upscaling" / "incomplete.mp4")) == 4


def test_frame_at_another_time_fails_the_job(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=5)
    whole = segment_packets.retarget

    def late(packet: Packet, offset_s: Fraction, target: object) -> Packet:
        moved = whole(packet, offset_s, target)
        moved.pts += moved.pts == 4 * 3600
        return moved

    monkeypatch.setattr(segment_packets, "retarget", late)
    with pytest.raises(MediaError, match=r"frame 4 is off by 0\.011 ms"):
        run(engine, source, tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()
