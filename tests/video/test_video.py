import os
import struct
from fractions import Fraction
from itertools import accumulate, islice
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from av.packet import Packet
from av.video.frame import VideoFrame
from support.media import (
    audio_packets,
    clip,
    frame_times,
    identity,
    pictures,
    run_video,
    turned_clip,
    write_tone,
)
from support.messages import Messages
from support.pictures import photograph

from upscaler import pipeline
from upscaler.errors import MediaError, UsageError
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.results import Done
from upscaler.video import (
    codecs,
    encoders,
    geometry,
    mux,
    segment_packets,
    segment_writer,
    segments,
    stream_plan,
    yuv,
)
from upscaler.video.reader import VideoReader

# Stamps with gaps of many lengths, in 1/90000 s.
VARIABLE = list(accumulate([0, 3003, 3003, 9000, 1, 20000, 3754, 3753, 45000, 3003, 3003, 1500]))


@pytest.fixture(scope="module")
def engine() -> Upscaler:
    return Upscaler("fast", 2, precision="fp32")


def run(
    engine: Upscaler, source: Path, target: Path, messages: Messages | None = None, **options: object
) -> Done:
    return pipeline.upscale_video(
        Job(source, target, "video"),
        engine,
        VideoOptions(**options),
        lambda _: None,
        Messages() if messages is None else messages,
    )


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_every_frame_at_its_own_time(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    source = clip(tmp_path / "in.mp4", pts=VARIABLE)
    done = run(engine, source, tmp_path / f"out{suffix}")
    assert done.frames == len(VARIABLE)
    times, wanted = frame_times(tmp_path / f"out{suffix}"), [Fraction(pts, 90000) for pts in VARIABLE]
    tolerance = 0 if suffix in (".mp4", ".mov") else Fraction(1, 1000)
    assert len(times) == len(wanted)
    assert all(abs(made - want) <= tolerance for made, want in zip(times, wanted, strict=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", f"out{suffix}"]


def test_every_audio_stream_is_copied_packet_by_packet(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", audio=["aac", "flac", "libopus"])
    for suffix in (".mkv", ".mp4"):
        run(engine, source, tmp_path / f"out{suffix}")
        assert audio_packets(tmp_path / f"out{suffix}") == audio_packets(source)


def test_frames_held_back_by_decoder_and_encoder_arrive(engine: Upscaler, tmp_path: Path) -> None:
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
        for wanted, made in zip(small.planes, large.planes, strict=True):
            wanted_mean = np.asarray(torch.from_dlpack(wanted)).mean()
            assert abs(np.asarray(torch.from_dlpack(made)).mean() - wanted_mean) < 1.0


def test_content_is_the_source_enlarged(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=8)
    run(engine, source, tmp_path / "out.mp4", crf=10)
    small, large = pictures(source).astype(float), pictures(tmp_path / "out.mp4").astype(float)
    count, height, width = small.shape
    reduced = large.reshape(count, height, 2, width, 2).mean((2, 4))
    errors = np.abs(reduced[:, None] - small[None]).mean((2, 3))  # frame against frame
    assert (errors.argmin(1) == np.arange(count)).all()
    assert errors.diagonal().max() < 4


def test_odd_sizes_are_rounded_to_even(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", height=45, width=63, encoder="ffv1", frames=2)
    notes = Messages()
    pipeline.upscale_video(
        Job(source, tmp_path / "out.mp4", "video"),
        Upscaler("fast", 3, precision="fp32"),
        VideoOptions(preset="ultrafast"),
        lambda _: None,
        notes,
    )
    with av.open(str(tmp_path / "out.mp4")) as made:
        assert (made.streams.video[0].width, made.streams.video[0].height) == (188, 134)
    assert "63x45 -> 188x134" in notes[0] and "rounded to even from 189x135" in notes[0]


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_rotation_and_pixel_aspect_are_kept(
    engine: Upscaler, tmp_path: Path, rotation: int, suffix: str
) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        stream.codec_context.sample_aspect_ratio = Fraction(12, 11)
        stream.set_display_rotation(rotation)
        for _ in range(3):
            output.mux(stream.encode(VideoFrame.from_ndarray(photograph(48, 64), format="rgb24")))
        output.mux(stream.encode(None))
    run(engine, source, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as made:
        frame = next(made.decode(video=0))
        assert frame.rotation % 360 == rotation
        shown = Fraction(frame.width, frame.height) * made.streams.video[0].sample_aspect_ratio
        assert abs(shown / (Fraction(64, 48) * Fraction(12, 11)) - 1) < (0.01 if suffix == ".webm" else 1e-9)


@pytest.mark.parametrize("codec", sorted(codecs.CODECS))
@pytest.mark.parametrize("aspect", [Fraction(12, 11), Fraction(8, 9)])
def test_every_codec_is_shown_in_the_right_shape(
    engine: Upscaler, tmp_path: Path, codec: str, aspect: Fraction
) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 96, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        output.mux(stream.encode(VideoFrame.from_ndarray(photograph(96, 96), format="rgb24")))
        output.mux(stream.encode(None))
    for suffix in codecs.CODECS[codec].containers:
        run(engine, source, tmp_path / f"out{suffix}", codec=codec)
        with av.open(str(tmp_path / f"out{suffix}")) as made:
            frame = next(made.decode(video=0))
            pixels = made.streams.video[0].sample_aspect_ratio or 1
            assert abs(Fraction(frame.width, frame.height) * pixels / aspect - 1) < 0.02, suffix


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_size_that_changes_in_mid_stream(engine: Upscaler, tmp_path: Path, interlaced: bool) -> None:
    source = tmp_path / "in.ts"
    parts = b""
    options = {"flags": "+ilme+ildct", "x264-params": "tff=1"} if interlaced else {}
    for number, (width, height) in enumerate(((64, 48), (96, 64), (64, 48))):
        with av.open(str(tmp_path / "part.ts"), "w") as output:
            stream = output.add_stream("libx264", rate=25, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for index in range(6):
                view = np.ascontiguousarray(
                    photograph(48, 64, number).repeat(2, 0).repeat(2, 1)[:height, :width]
                )
                frame = VideoFrame.from_ndarray(view, format="rgb24")
                frame.pts, frame.time_base = 6 * number + index, Fraction(1, 25)
                output.mux(stream.encode(frame))
            output.mux(stream.encode(None))
        parts += (tmp_path / "part.ts").read_bytes()
    source.write_bytes(parts)
    messages = Messages()
    done = run(engine, source, tmp_path / "out.mp4", messages)
    with av.open(str(tmp_path / "out.mp4")) as made:
        sizes = {(frame.width, frame.height) for frame in made.decode(video=0)}
    assert done.frames == len(frame_times(tmp_path / "out.mp4")) == 18
    assert sizes == {(128, 96)}
    assert any("6 frames differ in size" in note for note in messages)


@pytest.mark.parametrize("codec", sorted(codecs.CODECS))
def test_every_codec_in_every_container_it_names(engine: Upscaler, tmp_path: Path, codec: str) -> None:
    source = clip(tmp_path / "in.mp4", frames=5)
    presets = codecs.CODECS[codec].encoders["software"].presets or (None,)
    for suffix in codecs.CODECS[codec].containers:
        target = tmp_path / f"out{suffix}"
        done = run(engine, source, target, codec=codec, preset=presets[-1 if codec in ("vp9", "av1") else 0])
        assert done.frames == len(frame_times(target)) == 5
        with av.open(str(target)) as made:
            assert made.streams.video[0].codec_context.name.replace("libdav1d", "av1") in (
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


def test_codecs_and_containers_are_checked_before() -> None:
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


def test_unreadable_videos_say_why(engine: Upscaler, tmp_path: Path) -> None:
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


def test_damaged_packets_are_told(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mkv", frames=40, encoder="libvpx-vp9")
    whole = bytearray(source.read_bytes())
    generator = np.random.default_rng(0)
    for place in generator.integers(len(whole) // 2, len(whole) - 200, 60):
        whole[place] ^= 1 << generator.integers(8)
    source.write_bytes(whole)
    with VideoReader(source) as reader:
        frames = sum(1 for _ in reader.frames())
        damaged = reader.damaged_packets
    assert damaged > 0
    messages = Messages()
    done = run(engine, source, tmp_path / "out.mkv", messages)
    assert done.frames == frames == len(frame_times(tmp_path / "out.mkv"))
    assert f"could not decode {damaged} damaged packets" in messages.warnings[0]


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
        made = reader._as_frame(frame)
    rgb = yuv.to_rgb(made.planes, made.layout)
    wanted = (
        smooth if pixel_format != "gray" else np.repeat((smooth @ [0.2126, 0.7152, 0.0722])[..., None], 3, -1)
    )
    off = np.abs(rgb.permute(1, 2, 0).numpy() * 255 - wanted)
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


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_a_late_start_is_moved_to_zero(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    first = 36_000 * 90_000
    source = clip(tmp_path / "in.ts", pts=[first + 3600 * index for index in range(10)])
    assert frame_times(source)[0] >= 36_000
    run(engine, source, tmp_path / f"out{suffix}")
    times = frame_times(tmp_path / f"out{suffix}")
    assert times == [Fraction(index, 25) for index in range(10)]


def test_segments_of_one_video_merge_into_the_whole(tmp_path: Path) -> None:
    """Segments give the stamps of one encoding: the property that resuming stands on."""
    source = clip(tmp_path / "in.mp4", pts=VARIABLE, audio=["aac"])
    with VideoReader(source) as reader:
        settings = segment_writer.settings_for(reader.info, encoders.choose(".mp4", VideoOptions()), 48, 64)
        frames = list(reader.frames())
    with segments.SegmentedVideoWriter(tmp_path, settings, 5, []) as writer:
        for frame in frames:
            writer.write(frame.planes, frame.pts)
        writer.finish()
    target = tmp_path / "out.mp4"
    losses = mux.merge(writer.segments, source, target, stream_plan.plan(source, target))
    assert [segment.frames for segment in writer.segments] == [5, 5, 2]
    assert segments.closed_segments(tmp_path) == writer.segments
    assert not losses
    assert frame_times(tmp_path / "out.mp4") == [Fraction(pts, 90000) for pts in VARIABLE]
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)


def test_an_unfinished_segment_is_removed(tmp_path: Path) -> None:
    with VideoReader(clip(tmp_path / "in.mp4")) as reader:
        settings = segment_writer.settings_for(reader.info, encoders.choose(".mp4", VideoOptions()), 48, 64)
        frame = next(reader.frames())
    with segment_writer.SegmentWriter(tmp_path / "segment.mp4", settings) as writer:
        writer.write(frame.planes, 0)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_a_file_that_ends_early_is_named(engine: Upscaler, tmp_path: Path) -> None:
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


def test_hevc_in_mp4_has_the_tag_that_plays_everywhere(engine: Upscaler, tmp_path: Path) -> None:
    run(engine, clip(tmp_path / "in.mp4", frames=3), tmp_path / "out.mp4", codec="hevc", preset="ultrafast")
    made = (tmp_path / "out.mp4").read_bytes()
    assert b"hvc1" in made and b"hev1" not in made


def test_files_that_look_temporary_are_left_alone(engine: Upscaler, tmp_path: Path) -> None:
    precious = [tmp_path / name for name in ("out.part.mp4", ".out.part.mp4", "out.incomplete.mp4")]
    for path in precious:
        path.write_text("precious")
    run(engine, clip(tmp_path / "in.mp4", frames=2), tmp_path / "out.mp4")
    assert all(path.read_text() == "precious" for path in precious)


def test_matroska_keeps_the_start_although_frames_are_reordered(engine: Upscaler, tmp_path: Path) -> None:
    run(engine, clip(tmp_path / "in.mp4", frames=30), tmp_path / "out.mkv")
    assert frame_times(tmp_path / "out.mkv") == [Fraction(index, 25) for index in range(30)]


def test_a_failed_merge_leaves_the_old_target(
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


def test_a_frame_at_another_time_fails_the_job(
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


def marked_clip(path: Path, rotation: int, *, mirrored: bool, aspect: Fraction = Fraction(1)) -> Path:
    """Two frames of 160x96 with a bright corner at the upper left, to be shown as said."""
    picture = np.zeros((96, 160, 3), np.uint8)
    picture[:48, :80] = 200
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 96, "yuv420p"
        stream.codec_context.sample_aspect_ratio = aspect
        stream.set_display_rotation(rotation, hflip=mirrored)
        for _ in range(2):
            output.mux(stream.encode(VideoFrame.from_ndarray(picture, format="rgb24")))
        output.mux(stream.encode(None))
    return path


def display_matrix(path: Path) -> bytes:
    with av.open(str(path)) as made:
        return bytes(next(made.decode(video=0)).side_data["DISPLAYMATRIX"])


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
def test_mirrored_films_stay_mirrored(tmp_path: Path, suffix: str) -> None:
    same = identity(tmp_path)
    for rotation in (0, 90, 180, 270):
        source = marked_clip(tmp_path / f"{rotation}.mp4", rotation, mirrored=True)
        run(same, source, tmp_path / f"{rotation}-out{suffix}")
        assert display_matrix(tmp_path / f"{rotation}-out{suffix}") == display_matrix(source)


def test_odd_display_matrices_are_left_out(tmp_path: Path) -> None:
    source = turned_clip(tmp_path / "in.mp4", 45)
    with VideoReader(source) as reader:
        assert (reader.info.rotation, reader.info.mirrored) == (0, False)


@pytest.mark.parametrize(
    ("aspect", "rotation", "size_px", "suffix", "coded"),
    [
        (Fraction(2), 0, (320, 192), ".webm", (320, 96)),  # whose pixels are made square
        (Fraction(2), 0, (320, 192), ".mp4", (160, 96)),
        (Fraction(1), 90, (384, 640), ".mp4", (640, 384)),
        (Fraction(1), 90, (1300, 780), ".mp4", (780, 468)),  # without the rotation more than 8 times
        (Fraction(1), 180, (640, 384), ".mp4", (640, 384)),
        (Fraction(1, 2), 270, (384, 320), ".mp4", (320, 192)),
        (Fraction(1, 2), 270, (384, 320), ".webm", (320, 384)),
        (Fraction(16, 15), 0, (333, 222), ".webm", (332, 186)),
    ],
)
def test_a_size_is_of_what_is_shown(
    tmp_path: Path,
    aspect: Fraction,
    rotation: int,
    size_px: tuple[int, int],
    suffix: str,
    coded: tuple[int, int],
) -> None:
    source = marked_clip(tmp_path / "in.mp4", rotation, mirrored=False, aspect=aspect)
    engine = Upscaler("fast", size_px=size_px, precision="fp32")
    run(engine, source, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as made:
        stream = made.streams.video[0]
        assert (stream.width, stream.height) == coded
        pixel = stream.sample_aspect_ratio or 1
        width, height = coded[0] * max(1, pixel), coded[1] / min(1, pixel)
        most_width, most_height = size_px[::-1] if rotation % 180 else size_px
        assert width <= most_width and height <= most_height


def test_rotation_is_read_beside_side_data_that_av_does_not_know() -> None:
    class Stereo:
        rotation = -90

        @property
        def side_data(self) -> None:
            raise ValueError("31 is not a valid Type")

    assert geometry.orientation(Stereo()) == (270, False)


def test_a_source_that_changes_meanwhile_is_told(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    job = Job(source, tmp_path / "out.mp4", "video")
    messages = Messages()
    pipeline.upscale_video(job, engine, VideoOptions(), lambda _: os.utime(source, (1, 1)), messages)
    assert any("changed while it was read" in text for text in messages.warnings)


def test_a_video_of_360_degrees_is_named(tmp_path: Path) -> None:
    """With the box that Google's "Spherical Video V1" puts into a track."""
    source = clip(tmp_path / "in.mp4", frames=2)
    marks = {"Spherical": "true", "Stitched": "true", "ProjectionType": "equirectangular"}
    marks |= {"StitchingSoftware": "none", "StereoMode": "top-bottom"}
    text = "".join(f"<GSpherical:{name}>{value}</GSpherical:{name}>" for name, value in marks.items())
    box = bytes.fromhex("ffcc8263f8554a938814587a02521fdd") + f"<rdf:SphericalVideo>{text}".encode()
    box = struct.pack(">I4s", 8 + len(box), b"uuid") + box
    content = source.read_bytes()
    for name, more in ((b"trak", box), (b"moov", b"")):
        begin = content.rindex(name) - 4
        (size,) = struct.unpack(">I", content[begin : begin + 4])
        grown = struct.pack(">I", size + len(box)) + content[begin + 4 : begin + size]
        content = content[:begin] + grown + more + content[begin + size :]
    source.write_bytes(content)
    messages = Messages()
    with VideoReader(source, on_message=messages):
        assert [line.partition(":")[0] for line in messages] == [
            "360 degree metadata is lost",
            "stereoscopic 3D metadata is lost",
        ]
