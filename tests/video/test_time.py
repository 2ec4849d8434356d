"""Every frame at its own time, and the sound with the picture, whatever stamps the source has."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from av.container import Flags
from av.video.frame import VideoFrame
from support.media import clip, frame_times, identity, run_video, write_tone
from support.pictures import photograph

from upscaler.inference.engine import Upscaler
from upscaler.video.reader import VideoReader
from upscaler.video.timestamps import BestEffortTimestamps

EVENT = 15  # frame of the flash, at 25 frames/s, and of the beep
FRAMES = 25


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


@dataclass(frozen=True)
class Kind:
    """How a clip with a flash and a beep is written.

    Attributes:
        suffix: Of its container.
        video: Encoder.
        audio: Encoder.
        rate: Of the sound, hertz.
        video_late_s: By how much the picture starts after the sound.
        audio_late_s: By how much the sound starts after the picture.
        start_s: Added to all stamps.
    """

    suffix: str
    video: str = "libx264"
    audio: str = "aac"
    rate: int = 48_000
    video_late_s: Fraction = Fraction(0)
    audio_late_s: Fraction = Fraction(0)
    start_s: Fraction = Fraction(0)


KINDS = {
    "mp4": Kind(".mp4"),
    "mov": Kind(".mov", audio="pcm_s16le"),
    "mkv": Kind(".mkv", audio="flac"),
    "webm": Kind(".webm", "libvpx-vp9", "libopus"),
    "ts": Kind(".ts", "mpeg2video", "mp2"),
    "ts after 10 hours": Kind(".ts", start_s=Fraction(36_000)),
    "avi": Kind(".avi", "mpeg4", "libmp3lame"),
    "late picture": Kind(".mp4", video_late_s=Fraction(7, 25)),
    "late sound": Kind(".mkv", audio_late_s=Fraction(7, 25)),
    "late sound in mp4": Kind(".mp4", audio_late_s=Fraction(7, 25)),
    "negative": Kind(".mov", start_s=Fraction(-1, 5)),
}


def flash_and_beep(path: Path, kind: Kind) -> Path:
    """One white frame among dark ones, and a burst of 1 kHz that begins with it."""
    with av.open(str(path), "w") as output:
        options = {"deadline": "realtime", "cpu-used": "8"} if "vpx" in kind.video else {}
        video = output.add_stream(kind.video, rate=25, options=options)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        audio = output.add_stream(kind.audio, rate=kind.rate, layout="stereo")
        packets = []
        for index in range(round(kind.video_late_s * 25), FRAMES):
            value = 235 if index == EVENT else 16 + index
            frame = VideoFrame.from_ndarray(np.full((72, 64), value, np.uint8), format="yuv420p")
            for plane in frame.planes[1:]:
                plane.update(bytes([128]) * plane.buffer_size)
            frame.pts, frame.time_base = index + round(kind.start_s * 25), Fraction(1, 25)
            packets += video.encode(frame)
        packets += video.encode(None)
        step, first = kind.rate // 50, round(kind.audio_late_s * kind.rate)
        beep = np.arange(kind.rate * FRAMES // 25)
        begin = kind.rate * EVENT // 25
        on = (beep >= begin) & (beep < begin + kind.rate // 20)
        samples = (0.5 * on * np.sin((beep - begin) * 2 * np.pi * 1000 / kind.rate)).astype(np.float32)
        for start in range(first, len(samples) - step + 1, step):
            sound = AudioFrame.from_ndarray(np.stack([samples[start : start + step]] * 2), "fltp", "stereo")
            sound.sample_rate, sound.time_base = kind.rate, Fraction(1, kind.rate)
            sound.pts = start + round(kind.start_s * kind.rate)
            packets += audio.encode(sound)
        packets += audio.encode(None)
        for packet in sorted(packets, key=lambda packet: packet.dts * packet.time_base):
            output.mux(packet)
    return path


def offset_s(path: Path) -> Fraction:
    """Time from the flash to the beep, by plain PyAV."""
    with av.open(str(path)) as container:
        container.flags &= ~int(Flags.gen_pts.value)
        flashes = [
            (frame.pts if frame.pts is not None else frame.dts) * container.streams.video[0].time_base
            for frame in container.decode(video=0)
            if frame.to_ndarray(format="gray").mean() > 128
        ]
    assert len(flashes) == 1
    with av.open(str(path)) as container:
        for frame in container.decode(audio=0):
            values = np.abs(frame.to_ndarray().astype(np.float64)).reshape(-1)
            if not frame.format.is_planar:
                values = values[::2]
            else:
                values = np.abs(frame.to_ndarray()[0].astype(np.float64))
            peak = (
                0.1
                if frame.format.name.startswith(("flt", "dbl"))
                else 0.1 * 2 ** (8 * frame.format.bytes - 1)
            )
            loud = np.flatnonzero(values > peak)
            if len(loud):
                return frame.pts * frame.time_base + Fraction(int(loud[0]), frame.sample_rate) - flashes[0]
    raise AssertionError("no beep")


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
@pytest.mark.parametrize("name", KINDS)
def test_audio_stays_in_sync(engine: Upscaler, tmp_path: Path, name: str, suffix: str) -> None:
    source = flash_and_beep(tmp_path / f"in{KINDS[name].suffix}", KINDS[name])
    target = tmp_path / f"out{suffix}"
    done, notes = run_video(engine, source, target)
    assert done.frames == len(frame_times(target)) == len(frame_times(source))
    shift_ms = float(offset_s(target) - offset_s(source)) * 1000
    encoded_again = any("converted to aac" in note for note in notes)  # which smears the onset
    assert abs(shift_ms) < (1.0 if suffix == ".mkv" or encoded_again else 0.05)


def test_converted_audio_stays_in_sync(engine: Upscaler, tmp_path: Path) -> None:
    for name in ("mp4", "mov", "late sound"):
        source = flash_and_beep(tmp_path / f"in{KINDS[name].suffix}", KINDS[name])
        run_video(engine, source, tmp_path / "out.webm")
        # Opus smears the onset over a few samples.
        assert abs(float(offset_s(tmp_path / "out.webm") - offset_s(source))) * 1000 < 1.5


def test_audio_before_an_edit_list_stays_hidden(engine: Upscaler, tmp_path: Path) -> None:
    """A copy from the middle, as ``ffmpeg -ss ... -c copy`` makes it: what lies before 0 is hidden."""
    whole = flash_and_beep(tmp_path / "whole.mp4", KINDS["mp4"])
    source = tmp_path / "in.mp4"
    with av.open(str(whole)) as container, av.open(str(source), "w") as output:
        targets = {stream.index: output.add_stream_from_template(stream) for stream in container.streams}
        for packet in container.demux():
            if packet.size:
                packet.pts -= round(Fraction(2, 5) / packet.time_base)
                packet.dts -= round(Fraction(2, 5) / packet.time_base)
                packet.stream = targets[packet.stream.index]
                output.mux(packet)
    with av.open(str(source)) as container:
        assert any(packet.is_discard for packet in container.demux() if packet.size)
    for suffix, tolerance_ms in ((".mp4", 0.05), (".mov", 0.05), (".mkv", 1.0)):
        target = tmp_path / f"out{suffix}"
        done, _ = run_video(engine, source, target)
        assert done.frames == len(frame_times(source)) == len(frame_times(target)) == 15
        assert abs(float(offset_s(target) - offset_s(source))) * 1000 < tolerance_ms


def at_90k(gaps: list[int], first: int = 0) -> tuple[list[int], Fraction]:
    return list(accumulate(gaps, initial=first)), Fraction(1, 90_000)


PATTERNS: dict[str, tuple[list[int], Fraction]] = {
    "NTSC": ([1001 * index for index in range(20)], Fraction(1, 30_000)),
    "NTSC film": ([1001 * index for index in range(20)], Fraction(1, 24_000)),
    "1/90000": at_90k([3003, 1, 89_999, 2, 3003, 45_000, 3754, 3753, 3754, 1500]),
    "variable, in ms": ([0, 33, 67, 100, 433, 434, 1000, 1001, 2500], Fraction(1, 1000)),
    "late start": at_90k([3600] * 9, first=63_000),
}


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv", ".webm"])
@pytest.mark.parametrize("name", PATTERNS)
def test_timestamps_are_kept(engine: Upscaler, tmp_path: Path, name: str, suffix: str) -> None:
    pts, time_base = PATTERNS[name]
    source = clip(tmp_path / "in.mp4", pts=pts, time_base=time_base, audio=["aac"], seconds=0.5)
    target = tmp_path / f"out{suffix}"
    run_video(engine, source, target)
    tolerance = 0 if suffix in (".mp4", ".mov") else Fraction(1, 1000)
    # Matroska has no stamps below 0: sound that begins there moves everything together.
    times, expected = frame_times(target), frame_times(source)
    assert expected == [stamp * time_base for stamp in pts]
    moved = times[0] - expected[0] if suffix in (".mkv", ".webm") else 0
    assert abs(moved) < Fraction(1, 20)
    assert len(times) == len(expected)
    for result, want in zip(times, expected, strict=True):
        assert abs(result - moved - want) <= tolerance


def test_h264_in_avi_keeps_the_order_of_its_frames(engine: Upscaler, tmp_path: Path) -> None:
    """AVI has no presentation stamps; those that libavformat makes up by itself are out of order."""
    source = tmp_path / "in.avi"
    with av.open(str(source), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"bf": "3"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for index in range(30):
            frame = VideoFrame.from_ndarray(np.full((72, 64), 30 + 6 * index, np.uint8), format="yuv420p")
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    done, _ = run_video(engine, source, tmp_path / "out.mp4")
    times = frame_times(tmp_path / "out.mp4")
    assert done.frames == len(times) == 30
    assert [b - a for a, b in pairwise(times)] == [Fraction(1, 25)] * 29
    with av.open(str(tmp_path / "out.mp4")) as container:
        brightness = [frame.to_ndarray()[:48].mean() for frame in container.decode(video=0)]
    assert brightness == sorted(brightness)


def test_raw_stream_gets_timestamps_from_its_rate(engine: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "in.h264"
    with av.open(str(source), "w", format="h264") as output:
        stream = output.add_stream("libx264", rate=Fraction(30_000, 1001))
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for seed in range(12):
            output.mux(stream.encode(VideoFrame.from_ndarray(photograph(48, 64, seed), format="rgb24")))
        output.mux(stream.encode(None))
    run_video(engine, source, tmp_path / "out.mp4")
    times = frame_times(tmp_path / "out.mp4")
    assert len(times) == 12
    assert all(
        abs(time - index * Fraction(1001, 30_000)) < Fraction(1, 1000) for index, time in enumerate(times)
    )


def missing_everywhere(stamps: list[int]) -> list[tuple[int | None, int | None]]:
    return [(None, None) for _ in stamps]


def missing_here_and_there(stamps: list[int]) -> list[tuple[int | None, int | None]]:
    return [(stamp if index % 3 else None, stamp) for index, stamp in enumerate(stamps)]


def decoding_only(stamps: list[int]) -> list[tuple[int | None, int | None]]:
    return [(None, stamp) for stamp in stamps]


def shuffled_presentation(stamps: list[int]) -> list[tuple[int | None, int | None]]:
    mixed = stamps.copy()
    random.Random(0).shuffle(mixed)
    return list(zip(mixed, stamps, strict=True))


@pytest.mark.parametrize(
    "spoil", [missing_everywhere, missing_here_and_there, decoding_only, shuffled_presentation]
)
def test_missing_and_disordered_timestamps_are_repaired(
    spoil: Callable[[list[int]], list[tuple[int | None, int | None]]],
) -> None:
    stamps = [40 * index for index in range(30)]
    mender = BestEffortTimestamps(40)
    mended = [mender.next(pts, dts) for pts, dts in spoil(stamps)]
    assert all(a < b for a, b in pairwise(mended))
    assert mended[-10:] == stamps[-10:] or spoil is shuffled_presentation
    assert len(mended) == len(stamps)


def test_declared_frame_rate_is_never_used_for_time(tmp_path: Path) -> None:
    """The rate that a variable clip claims has nothing to do with its stamps."""
    pts, time_base = PATTERNS["1/90000"]
    with VideoReader(clip(tmp_path / "in.mp4", pts=pts, time_base=time_base)) as reader:
        assert [frame.pts for frame in reader.frames()] == pts


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("source_suffix", [".ts", ".mkv"])
def test_frames_before_the_start_time_are_kept(
    engine: Upscaler, tmp_path: Path, source_suffix: str, suffix: str
) -> None:
    """A recording that begins with an HEVC key frame whose leading pictures are shown before it."""
    whole, source = tmp_path / "whole.mp4", tmp_path / f"in{source_suffix}"
    parameters = "radl=2:keyint=20:min-keyint=20:open-gop=0:bframes=3:b-adapt=0:scenecut=0:log-level=error"
    with av.open(str(whole), "w") as output:
        stream = output.add_stream("libx265", rate=25, options={"x265-params": parameters})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for seed in range(40):
            output.mux(stream.encode(VideoFrame.from_ndarray(photograph(48, 64, seed), format="rgb24")))
        output.mux(stream.encode(None))
    with av.open(str(whole)) as container, av.open(str(source), "w") as output:
        target = output.add_stream_from_template(container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.size]
        second_key = [number for number, packet in enumerate(packets) if packet.is_keyframe][1]
        for packet in packets[second_key:]:
            packet.stream = target
            output.mux(packet)
    with av.open(str(source)) as container:
        start_s = Fraction(container.start_time, 1_000_000)
        decoded = [frame.pts * frame.time_base for frame in container.decode(video=0)]
    assert decoded[0] < start_s
    done, messages = run_video(engine, source, tmp_path / f"out{suffix}")
    assert done.frames == len(decoded)
    assert frame_times(tmp_path / f"out{suffix}") == [time - decoded[0] for time in decoded]
    assert not messages.warnings


def default_frame_rate(path: Path) -> float:
    """Frames per second from Matroska's element DefaultDuration (nanoseconds), read without FFmpeg."""
    content = path.read_bytes()
    at = content.index(b"\x23\xe3\x83") + 3
    size = content[at] & 0x7F
    return 1e9 / int.from_bytes(content[at + 1 : at + 1 + size], "big")


@pytest.mark.parametrize("suffix", [".mkv", ".webm", ".mp4", ".mov"])
@pytest.mark.parametrize(
    ("source_suffix", "time_base", "pts", "rate"),
    [
        (".mkv", Fraction(1, 1000), [40 * index for index in range(30)], 25),
        (".ts", Fraction(1, 90_000), [3003 * index for index in range(30)], 30_000 / 1001),
        (".mp4", Fraction(1, 90_000), [90 * stamp for stamp in (0, 33, 67, 500, 900, 933, 1400, 1800)], 4),
    ],
)
def test_header_declares_the_real_frame_rate(
    engine: Upscaler,
    tmp_path: Path,
    source_suffix: str,
    time_base: Fraction,
    pts: list[int],
    rate: float,
    suffix: str,
) -> None:
    source = clip(tmp_path / f"in{source_suffix}", pts=pts, time_base=time_base)
    target = tmp_path / f"out{suffix}"
    run_video(engine, source, target)
    if suffix in (".mkv", ".webm"):
        assert default_frame_rate(target) == pytest.approx(rate, rel=0.13)
    else:
        with av.open(str(target)) as container:
            assert float(container.streams.video[0].average_rate) == pytest.approx(rate, rel=0.13)


@pytest.fixture(scope="module")
def slides(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four pictures of five seconds each, and 20 s of sound."""
    path = tmp_path_factory.mktemp("slides") / "slides.mp4"
    with av.open(str(path), "w") as output:
        video = output.add_stream("libx264", rate=Fraction(1, 5))
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        sound = output.add_stream("aac", rate=48000, layout="stereo")
        for index in range(4):
            frame = VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = index, Fraction(5)
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
        write_tone(output, sound, 220.0, 20.0)
    return path


@pytest.mark.parametrize(
    ("suffix", "preset"), [(".mp4", "ultrafast"), (".mp4", "medium"), (".mkv", "medium")]
)
def test_last_frame_keeps_its_duration(
    engine: Upscaler, tmp_path: Path, slides: Path, suffix: str, preset: str
) -> None:
    target = tmp_path / f"out{suffix}"
    done, _ = run_video(engine, slides, target, preset=preset)
    assert done.video is not None and done.video.seconds_in == 20
    with av.open(str(target)) as container:
        video = container.streams.video[0]
        if suffix == ".mp4":
            assert video.duration * video.time_base == 20
        else:
            assert video.metadata["DURATION"].startswith("00:00:20.0")


@pytest.mark.parametrize(("suffix", "encoder"), [(".flv", "flv"), (".avi", "mpeg4")])
@pytest.mark.parametrize("truncated", [False, True])
def test_last_slide_lasts_to_the_declared_end(
    engine: Upscaler, tmp_path: Path, suffix: str, encoder: str, truncated: bool
) -> None:
    """FLV and AVI store no duration of a frame; without this the file would seem to end early."""
    source = tmp_path / f"in{suffix}"
    with av.open(str(source), "w") as output:
        stream = output.add_stream(encoder, rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        packets = []
        for index in range(4):
            frame = VideoFrame(64, 48, "yuv420p")
            frame.pts, frame.time_base = 25 * index, Fraction(1, 25)
            packets += stream.encode(frame)
        packets += stream.encode(None)
        packets[-1].duration = (
            75 if truncated else 25
        )  # frames; too long for a slide where the end is missing
        for packet in packets:
            output.mux(packet)
    done, messages = run_video(engine, source, tmp_path / "out.mp4")
    assert done.frames == 4
    assert any("ends early" in warning for warning in messages.warnings) is truncated
    with av.open(str(tmp_path / "out.mp4")) as container:
        video = container.streams.video[0]
        assert truncated or video.duration * video.time_base == 4


def test_audio_continues_to_the_requested_end(engine: Upscaler, tmp_path: Path, slides: Path) -> None:
    target = tmp_path / "out.mp4"
    run_video(engine, slides, target, end_s=Fraction(9))
    assert frame_times(target) == [0, 5]
    with av.open(str(target)) as container:
        for stream in container.streams:
            assert abs(stream.duration * stream.time_base - 9) < Fraction(1, 20)
