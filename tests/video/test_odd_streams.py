"""Streams that start late, change in mid-file or contain damaged packets."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from support.bitmap_subtitles import dvd_film
from support.media import audio_packets, audio_spans, clip, frame_times, identity, run_video
from support.mpeg_streams import AudioTrack, recording

from upscaler.inference.engine import Upscaler
from upscaler.video import survey

PADDING = b"\x47\x1f\xff\x10" + bytes(184)  # a packet of a transport stream with nothing in it


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def with_late_sound(path: Path) -> Path:
    """Three seconds; the second, beyond what is looked at on opening, has one more stream of sound."""
    pieces = [
        recording(path.with_name("piece.ts"), [AudioTrack()] * (1 + (second == 1)), begin_s=second)
        for second in range(3)
    ]
    path.write_bytes(pieces[0] + PADDING * 30_000 + pieces[1] + PADDING * 3_000 + pieces[2])
    return path


def sounds(path: Path) -> list[list[tuple[Fraction, Fraction]]]:
    with av.open(str(path)) as container:
        count = len(container.streams.audio)
    return [audio_spans(path, index) for index in range(count)]


def test_late_sound_is_kept(engine: Upscaler, tmp_path: Path) -> None:
    source, target = with_late_sound(tmp_path / "in.ts"), tmp_path / "out.mp4"
    done, messages = run_video(engine, source, target)
    assert done.frames == len(frame_times(target)) == 75 and not messages.warnings
    [_], [(begin_s, end_s)] = sounds(target)
    assert abs(begin_s - 1) < 0.05 and abs(end_s - 2) < 0.05
    first, second = audio_packets(target)
    assert second == first[len(first) // 3 : len(first) // 3 + len(second)]  # the same tone


def test_a_sound_that_was_announced_long_before_it_begins_is_copied(engine: Upscaler, tmp_path: Path) -> None:
    silent, loud = (
        recording(tmp_path / "piece.ts", [AudioTrack("ac3", "5.1")], begin_s=index) for index in range(2)
    )
    pids = [silent[first : first + 188] for first in range(0, len(silent), 188)]
    silent = b"".join(each for each in pids if int.from_bytes(each[1:3], "big") & 0x1FFF != 0x101)
    (tmp_path / "in.ts").write_bytes(silent + PADDING * 30_000 + loud)
    done, messages = run_video(engine, tmp_path / "in.ts", tmp_path / "out.mp4")
    assert done.video.streams[0].action == "copy" and not messages.warnings
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.audio[0].codec_context.layout.name == "5.1(side)"
    [[(begin_s, _)]] = sounds(tmp_path / "out.mp4")
    assert abs(begin_s - 1) < 0.07


def test_a_late_subtitle_of_a_dvd_is_kept(engine: Upscaler, tmp_path: Path) -> None:
    padding = b"\0\0\1\xbe\xff\xf0" + b"\xff" * 0xFFF0
    first = dvd_film(tmp_path / "a.vob", [], width=64, height=48)
    second = dvd_film(tmp_path / "b.vob", [0.2, 0.6], begin_s=1, width=64, height=48)
    (tmp_path / "in.vob").write_bytes(first + padding * 100 + second)
    done, messages = run_video(engine, tmp_path / "in.vob", tmp_path / "out.mkv")
    assert done.frames == 50 and not messages.warnings
    with av.open(str(tmp_path / "out.mkv")) as container:
        times = [packet.pts for packet in container.demux(container.streams.subtitles[0]) if packet.size]
    assert [abs(time - expected) < 50 for time, expected in zip(times, (1200, 1600), strict=True)] == [
        True
    ] * 2


def test_a_stream_that_begins_too_late_is_a_warning(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(survey, "_PROBE_BYTES_MAX", 4 << 20)
    source = with_late_sound(tmp_path / "in.ts")
    done, messages = run_video(engine, source, tmp_path / "out.mp4")
    assert done.frames == 75 and len(sounds(tmp_path / "out.mp4")) == 1
    assert messages.warnings == ["dropped a stream that starts too late to be found"]


def test_audio_that_was_probed_only_at_its_end_is_converted(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FFmpeg reads the end for the duration; of a stream that it first finds there, it knows no rate."""
    monkeypatch.setattr(survey, "_PROBE_BYTES_MAX", 0)
    source = tmp_path / "in.ts"
    first, second = (
        recording(tmp_path / "a.ts", [AudioTrack()] * (1 + index), begin_s=index) for index in range(2)
    )
    source.write_bytes(first + PADDING * 30_000 + second)
    with av.open(str(source)) as container:
        assert [stream.codec_context.sample_rate for stream in container.streams.audio] == [48_000, 0]
    run_video(engine, source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        late = [frame for frame in container.decode(audio=1) if frame.pts >= 0]
        assert abs(sum(frame.samples for frame in late) / 48_000 - 1) < 0.05
        assert abs(late[0].time - 1) < 0.07  # AAC is primed


@pytest.mark.parametrize(
    ("second", "suffix", "forced"),
    [
        (AudioTrack("ac3", "stereo"), ".webm", None),
        (AudioTrack("ac3", "mono", 44_100), ".mp4", "aac"),
        (AudioTrack("ac3", "stereo", 32_000), ".mkv", "flac"),
    ],
)
def test_audio_that_changes_channels_and_rate_is_converted(
    engine: Upscaler, tmp_path: Path, second: AudioTrack, suffix: str, forced: str | None
) -> None:
    sounds = [AudioTrack("ac3", "5.1(side)"), second, AudioTrack("ac3", "5.1(side)")]
    source, target = tmp_path / "in.ts", tmp_path / f"out{suffix}"
    pieces = [recording(tmp_path / "a.ts", [sound], begin_s=index) for index, sound in enumerate(sounds)]
    source.write_bytes(b"".join(pieces))
    _, messages = run_video(engine, source, target, audio_codec=forced)
    assert not messages.warnings
    with av.open(str(target)) as container:
        assert container.streams.audio[0].codec_context.channels == 6
    [(begin_s, end_s)] = audio_spans(target)
    assert abs(begin_s) < 0.05 and abs(end_s - 3) < 0.1
    assert pitches(target) == pytest.approx([440, 440, 440], abs=4)


def pitches(path: Path) -> list[float]:
    """Hertz in the middle of every second: how often the mixed channels go from below 0 to above."""
    with av.open(str(path)) as container:
        resampler = av.AudioResampler("fltp", "mono", 48_000)
        decoded = (part for frame in container.decode(audio=0) for part in resampler.resample(frame))
        samples = np.concatenate([part.to_ndarray()[0] for part in decoded])
    middles = [samples[48_000 * second + 14_400 :][:19_200] for second in range(3)]
    return [np.count_nonzero((middle[:-1] < 0) & (middle[1:] >= 0)) / 0.4 for middle in middles]


def with_subtitles(path: Path, lines: list[tuple[int, bytes]]) -> Path:
    """A clip of a second with subtitles (begin in ms, text), each shown for 100 ms."""
    plain, empty = clip(path.with_name("plain.mkv"), frames=25), path.with_name("empty.srt")
    empty.write_text("1\n00:00:00,000 --> 00:00:00,100\nfor its header\n")
    with av.open(str(plain)) as media, av.open(str(empty)) as text, av.open(str(path), "w") as output:
        video = output.add_stream_from_template(media.streams.video[0])
        words = output.add_stream_from_template(text.streams.subtitles[0])
        for packet in media.demux():
            if packet.size:
                packet.stream = video
                output.mux(packet)
        for begin_ms, line in lines:
            packet = av.Packet(line)
            packet.time_base, packet.duration, packet.stream = Fraction(1, 1000), 100, words
            packet.pts = packet.dts = begin_ms
            output.mux(packet)
    return path


def subtitles(path: Path) -> list[tuple[int, bytes]]:
    """Begin in ms and bytes of every subtitle that is shown."""
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(container.streams.subtitles[0]) if packet.size > 2]
        return [(round(packet.pts * packet.time_base * 1000), bytes(packet)) for packet in packets]


def test_subtitles_that_are_not_utf8_are_dropped_and_counted(engine: Upscaler, tmp_path: Path) -> None:
    lines = [(100, b"one"), (300, "Gr\u00fc\u00dfe".encode("latin-1")), (500, b"three")]
    source = with_subtitles(tmp_path / "in.mkv", lines)
    _, messages = run_video(engine, source, tmp_path / "out.mp4")
    assert subtitles(tmp_path / "out.mp4") == [(100, b"\x00\x03one"), (500, b"\x00\x05three")]
    [warning] = messages.warnings
    assert "subtitle 1" in warning and "dropped 1 packet that" in warning and "; .mkv" in warning
    _, messages = run_video(engine, source, tmp_path / "out.mkv")
    assert subtitles(tmp_path / "out.mkv") == lines and not messages.warnings


def test_subtitle_stored_after_a_later_one_is_moved_and_counted(engine: Upscaler, tmp_path: Path) -> None:
    source = with_subtitles(tmp_path / "in.mkv", [(100, b"one"), (500, b"two"), (600, b"three")])
    written = source.read_bytes()
    block = (600).to_bytes(2, "big") + b"\x00three"  # its time and flags, as they stand in the file
    assert written.count(block) == 1
    source.write_bytes(written.replace(block, (200).to_bytes(2, "big") + b"\x00three"))
    _, messages = run_video(engine, source, tmp_path / "out.mkv")
    assert subtitles(tmp_path / "out.mkv") == [(100, b"one"), (500, b"two"), (500, b"three")]
    [warning] = messages.warnings
    assert "subtitle 1" in warning and "moved 1 packet after" in warning
    _, messages = run_video(engine, source, tmp_path / "out.mp4")  # where lines are put in order
    assert [text[2:] for _, text in subtitles(tmp_path / "out.mp4")] == [b"one", b"three", b"two"]
    assert [begin_ms for begin_ms, _ in subtitles(tmp_path / "out.mp4")] == [100, 200, 500]
    assert not messages.warnings


@pytest.mark.parametrize(("ticks", "suffix"), [(10**7, ".mp4"), (10**9, ".mov"), (2**31 - 1, ".mp4")])
def test_late_video_with_a_fine_time_base_starts_exactly(
    engine: Upscaler, tmp_path: Path, ticks: int, suffix: str
) -> None:
    plain = clip(tmp_path / "plain.mp4", time_base=Fraction(1, ticks), audio=["aac"], frames=5)
    source, late = tmp_path / "in.mp4", round(0.2345678 * ticks) | 1
    options = {"movie_timescale": str(ticks)}
    with av.open(str(plain)) as media, av.open(str(source), "w", options=options) as output:
        targets = [output.add_stream_from_template(stream) for stream in media.streams]
        for packet in media.demux():
            if packet.size:
                by = late if packet.stream.type == "video" else 0
                packet.pts, packet.dts = packet.pts + by, packet.dts + by
                packet.stream = targets[packet.stream.index]
                output.mux(packet)
    times = frame_times(source)
    assert times[0] == Fraction(late, ticks)
    run_video(engine, source, tmp_path / f"out{suffix}")
    assert frame_times(tmp_path / f"out{suffix}") == times
    assert abs(audio_spans(tmp_path / f"out{suffix}")[0][0] - audio_spans(source)[0][0]) < 0.00005
