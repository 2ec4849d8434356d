"""Sources whose streams are not what they were on opening: late, damaged, changed, or joined from files."""

from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.video.frame import VideoFrame
from support.media import clip, frame_times, identity, run_video

from upscaler.inference.engine import Upscaler
from upscaler.video.timeline import Timeline

PADDING = b"\x47\x1f\xff\x10" + bytes(184)  # a packet of a transport stream with nothing in it


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


@dataclass(frozen=True)
class Sound:
    """A stream of sound in a piece of a transport stream.

    Attributes:
        codec: Its encoder.
        layout: FFmpeg's name.
        rate: Hertz.
    """

    codec: str = "mp2"
    layout: str = "stereo"
    rate: int = 48_000


def piece(path: Path, sounds: list[Sound], begin_s: int = 0) -> bytes:
    """A second of a transport stream, 25 frames/s that get brighter; with a tone in every sound."""
    with av.open(str(path), "w") as output:
        video = output.add_stream("mpeg2video", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        streams = [output.add_stream(sound.codec, rate=sound.rate, layout=sound.layout) for sound in sounds]
        packets = []
        for index in range(25):
            frame = VideoFrame.from_ndarray(np.full((72, 64), 30 + 8 * index, np.uint8), format="yuv420p")
            frame.pts, frame.time_base = begin_s * 25 + index, Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        for sound, stream in zip(sounds, streams, strict=True):
            wave = 0.3 * np.sin(np.arange(sound.rate) * 2 * np.pi * 440 / sound.rate)
            samples = np.stack([wave.astype(np.float32)] * stream.layout.nb_channels)
            frame = AudioFrame.from_ndarray(samples, format="fltp", layout=sound.layout)
            frame.sample_rate, frame.time_base = sound.rate, Fraction(1, sound.rate)
            frame.pts = begin_s * sound.rate
            packets += [*stream.encode(frame), *stream.encode(None)]
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return path.read_bytes()


def with_late_sound(path: Path) -> Path:
    """Three seconds; the second, beyond what is looked at on opening, has one more stream of sound."""
    pieces = [
        piece(path.with_name("piece.ts"), [Sound()] * (1 + (second == 1)), begin_s=second)
        for second in range(3)
    ]
    path.write_bytes(pieces[0] + PADDING * 30_000 + pieces[1] + PADDING * 3_000 + pieces[2])
    return path


@pytest.mark.parametrize("audio", [True, False])
def test_a_stream_that_begins_late_is_named_and_the_rest_is_kept(
    engine: Upscaler, tmp_path: Path, audio: bool
) -> None:
    source = with_late_sound(tmp_path / "in.ts")
    done, messages = run_video(engine, source, tmp_path / "out.mp4", audio=audio)
    assert done.frames == len(frame_times(tmp_path / "out.mp4")) == 75
    assert not messages.warnings
    assert sum("starts too late" in note for note in messages) == 1
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams.audio) == audio


def test_a_sound_of_which_only_the_end_was_looked_at_is_converted(engine: Upscaler, tmp_path: Path) -> None:
    """FFmpeg looks at the end for the duration; of a stream that it first meets there it knows no rate."""
    source = tmp_path / "in.ts"
    first, second = (piece(tmp_path / "a.ts", [Sound()] * (1 + place), begin_s=place) for place in range(2))
    source.write_bytes(first + PADDING * 30_000 + second)
    with av.open(str(source)) as container:
        assert [stream.codec_context.sample_rate for stream in container.streams.audio] == [48_000, 0]
    run_video(engine, source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        late = [frame for frame in container.decode(audio=1) if frame.pts >= 0]
        assert abs(sum(frame.samples for frame in late) / 48_000 - 1) < 0.05
        assert abs(late[0].time - 1) < 0.07  # AAC is primed


def tones(path: Path, index: int = 0) -> list[tuple[Fraction, Fraction]]:
    """Begin and end of every stretch of sound without a gap of 50 ms, seconds."""
    found: list[tuple[Fraction, Fraction]] = []
    with av.open(str(path)) as container:
        for frame in container.decode(audio=index):
            begin_s = frame.pts * frame.time_base
            end_s = begin_s + Fraction(frame.samples, frame.sample_rate)
            if found and begin_s - found[-1][1] < Fraction(1, 20):
                found[-1] = (found[-1][0], end_s)
            else:
                found.append((begin_s, end_s))
    return found


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_transport_streams_joined_by_cat_go_on_after_one_another(
    engine: Upscaler, tmp_path: Path, suffix: str
) -> None:
    source, target = tmp_path / "in.ts", tmp_path / f"out{suffix}"
    second = piece(tmp_path / "a.ts", [Sound()])
    source.write_bytes(second * 3)
    done, messages = run_video(engine, source, target)
    times = frame_times(target)
    assert done.frames == len(times) == 75
    assert not messages.warnings
    assert sum("jump 2 times" in note for note in messages) == 1
    for before, after in pairwise(times):
        assert Fraction(1, 26) < after - before < Fraction(7, 100)  # the sound is longer than the picture
    [(begin_s, end_s)] = tones(target)
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
    pieces = [piece(tmp_path / f"a{container}", [Sound()], begin_s) for begin_s in begins_s]
    source.write_bytes(b"".join(pieces))
    done, messages = run_video(engine, source, target)
    times = frame_times(target)
    assert done.frames == len(times) == 25 * len(begins_s)
    assert not messages.warnings
    count = "once" if len(begins_s) == 2 else f"{len(begins_s) - 1} times"
    assert sum(f"timestamps jump {count}" in message for message in messages) == 1
    for before, after in pairwise(times):
        assert Fraction(1, 26) < after - before < Fraction(1, 8)  # audio is longer than video
    [(begin_s, end_s)] = tones(target)
    assert abs(begin_s - times[0]) < 0.1 and abs(end_s - times[-1] - Fraction(1, 25)) < 0.1


def test_timestamps_that_overflow_are_no_joint(engine: Upscaler, tmp_path: Path) -> None:
    source, target = tmp_path / "in.ts", tmp_path / "out.mp4"
    begin_s = int(OVERFLOW_S)  # 0.7 s before the overflow
    source.write_bytes(piece(tmp_path / "a.ts", [Sound()], begin_s) + piece(source, [Sound()], begin_s + 1))
    done, messages = run_video(engine, source, target)
    times = frame_times(target)
    assert done.frames == len(times) == 50
    assert [after - before for before, after in pairwise(times)] == [Fraction(1, 25)] * 49
    assert not messages.warnings and not any("jump" in message for message in messages)
    [(sound_s, _)] = tones(target)
    assert abs(sound_s - times[0]) < 0.05


def test_a_gap_in_a_trusted_container_is_kept(engine: Upscaler, tmp_path: Path) -> None:
    pts = [*range(0, 400, 40), *range(300_000, 300_400, 40)]
    source = clip(tmp_path / "in.mkv", pts=pts, time_base=Fraction(1, 1000))
    run_video(engine, source, tmp_path / "out.mp4")
    assert frame_times(tmp_path / "out.mp4") == [Fraction(stamp, 1000) for stamp in pts]


def test_audio_that_pauses_in_a_transport_stream_is_no_joint(engine: Upscaler, tmp_path: Path) -> None:
    source, target = tmp_path / "in.ts", tmp_path / "out.mp4"
    silent = [piece(tmp_path / "a.ts", [], begin_s) for begin_s in range(1, 15)]
    first, last = (piece(tmp_path / "a.ts", [Sound()], begin_s) for begin_s in (0, 15))
    source.write_bytes(first + b"".join(silent) + last)
    done, messages = run_video(engine, source, target)
    assert done.frames == 400 and not any("jump" in message for message in messages)
    [_, (begin_s, _)] = tones(target)
    assert abs(begin_s - 15) < 0.1


def test_without_sound_too(engine: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "in.ts"
    source.write_bytes(piece(tmp_path / "a.ts", [Sound()]) * 2)
    run_video(engine, source, tmp_path / "out.mp4", audio=False)
    gaps_s = [after - before for before, after in pairwise(frame_times(tmp_path / "out.mp4"))]
    assert len(gaps_s) == 49 and all(Fraction(1, 26) < gap_s < Fraction(7, 100) for gap_s in gaps_s)


@pytest.mark.parametrize(
    ("second", "suffix", "forced"),
    [
        (Sound("ac3", "stereo"), ".webm", None),
        (Sound("ac3", "mono", 44_100), ".mp4", "aac"),
        (Sound("ac3", "stereo", 32_000), ".mkv", "flac"),
    ],
)
def test_sound_that_changes_channels_and_rate_is_converted(
    engine: Upscaler, tmp_path: Path, second: Sound, suffix: str, forced: str | None
) -> None:
    sounds = [Sound("ac3", "5.1(side)"), second, Sound("ac3", "5.1(side)")]
    source, target = tmp_path / "in.ts", tmp_path / f"out{suffix}"
    pieces = [piece(tmp_path / "a.ts", [sound], begin_s=place) for place, sound in enumerate(sounds)]
    source.write_bytes(b"".join(pieces))
    _, messages = run_video(engine, source, target, audio_codec=forced)
    assert not messages.warnings
    with av.open(str(target)) as container:
        assert container.streams.audio[0].codec_context.channels == 6
    [(begin_s, end_s)] = tones(target)
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


def test_subtitles_that_are_not_utf8_are_left_out_and_counted(engine: Upscaler, tmp_path: Path) -> None:
    lines = [(100, b"one"), (300, "Gr\u00fc\u00dfe".encode("latin-1")), (500, b"three")]
    source = with_subtitles(tmp_path / "in.mkv", lines)
    _, messages = run_video(engine, source, tmp_path / "out.mp4")
    assert subtitles(tmp_path / "out.mp4") == [(100, b"\x00\x03one"), (500, b"\x00\x05three")]
    [warning] = messages.warnings
    assert "subtitle 1" in warning and "dropped 1 packet that" in warning and "; .mkv" in warning
    _, messages = run_video(engine, source, tmp_path / "out.mkv")
    assert subtitles(tmp_path / "out.mkv") == lines and not messages.warnings


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_a_subtitle_that_stands_after_a_later_one_is_kept_and_told(
    engine: Upscaler, tmp_path: Path, suffix: str
) -> None:
    source = with_subtitles(tmp_path / "in.mkv", [(100, b"one"), (500, b"two"), (600, b"three")])
    written = source.read_bytes()
    block = (600).to_bytes(2, "big") + b"\x00three"  # its time and flags, as they stand in the file
    assert written.count(block) == 1
    source.write_bytes(written.replace(block, (200).to_bytes(2, "big") + b"\x00three"))
    _, messages = run_video(engine, source, tmp_path / f"out{suffix}")
    found = [(begin_ms, text[-3:]) for begin_ms, text in subtitles(tmp_path / f"out{suffix}")]
    assert found == [(100, b"one"), (500, b"two"), (500, b"ree")]
    [warning] = messages.warnings
    assert "subtitle 1" in warning and "moved 1 packet after" in warning


@pytest.mark.parametrize(("ticks", "suffix"), [(10**7, ".mp4"), (10**9, ".mov"), (2**31 - 1, ".mp4")])
def test_a_late_picture_with_fine_stamps_begins_exactly_then(
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
    assert abs(tones(tmp_path / f"out{suffix}")[0][0] - tones(source)[0][0]) < 0.00005


def times_of(packets: list[av.Packet], index: int) -> list[Fraction]:
    return [packet.dts * packet.time_base for packet in packets if packet.stream.index == index]


def test_streams_jump_one_by_one_and_are_moved_alike(tmp_path: Path) -> None:
    """At a joint, sound of the part before may stand behind pictures of the next."""
    piece(tmp_path / "a.ts", [Sound()])
    with av.open(str(tmp_path / "a.ts")) as one, av.open(str(tmp_path / "a.ts")) as two:
        first, second = ([packet for packet in part.demux() if packet.size] for part in (one, two))
        wanted = [times_of(first, 0), times_of(first, 1)]
        late = [packet for packet in first if packet.stream.index == 1][-5:]
        early = [packet for packet in second if packet.stream.index == 0][:8]
        packets = [packet for packet in first if packet not in late] + early + late
        packets += [packet for packet in second if packet not in early]
        timeline = Timeline(one)
        for packet in packets:
            timeline.shift(packet)
        assert timeline.joints == 1
        assert [times_of(first, 0), times_of(first, 1)] == wanted
        found = [*times_of(second, 0), *times_of(second, 1)]
        [by_s] = {after - before for before, after in zip([*wanted[0], *wanted[1]], found, strict=True)}
        assert abs(by_s - 1) < Fraction(1, 20)


@pytest.mark.parametrize("wrong_s", [1000, -20])
@pytest.mark.parametrize("index", [0, 1])
def test_a_single_wrong_stamp_is_no_jump(tmp_path: Path, wrong_s: int, index: int) -> None:
    piece(tmp_path / "a.ts", [Sound()], begin_s=50)
    with av.open(str(tmp_path / "a.ts")) as container:
        packets = [packet for packet in container.demux() if packet.size]
        wrong = [packet for packet in packets if packet.stream.index == index][12]
        right = [packet for packet in packets if packet is not wrong]
        wanted = [times_of(right, 0), times_of(right, 1)]
        wrong.pts, wrong.dts = wrong.pts + wrong_s * 90_000, wrong.dts + wrong_s * 90_000
        timeline = Timeline(container)
        for packet in packets:
            timeline.shift(packet)
        assert timeline.joints == 0
        assert [times_of(right, 0), times_of(right, 1)] == wanted


def test_pictures_whose_stamps_go_back_where_no_joint_may_be_are_told(
    engine: Upscaler, tmp_path: Path
) -> None:
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
