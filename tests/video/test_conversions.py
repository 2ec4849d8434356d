"""What is said and kept where sound and subtitles have to be converted."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.audio.frame import AudioFrame
from support.media import clip, identity, run_video

from upscaler.inference.engine import Upscaler
from upscaler.video.overlapping_lines import Line, OneAtATime


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def with_sound(folder: Path, codec: str, layout: str, samples: np.ndarray) -> Path:
    """A clip with interleaved samples ``(1, samples * channels)`` at 48 kHz."""
    path = folder / "in.mkv"
    with av.open(str(clip(folder / "plain.mkv"))) as source, av.open(str(path), "w") as output:
        video = output.add_stream_from_template(source.streams.video[0])
        audio = output.add_stream(codec, rate=48_000, layout=layout)
        for packet in source.demux():
            if packet.size:
                packet.stream = video
                output.mux(packet)
        name = "s16" if samples.dtype == np.int16 else "flt"
        frame = AudioFrame.from_ndarray(samples, format=name, layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 0, Fraction(1, 48_000)
        output.mux([*audio.encode(frame), *audio.encode(None)])
    return path


@pytest.mark.parametrize(
    ("codec", "layout", "dtype", "suffix", "lost"),
    [
        ("pcm_s16le", "hexadecagonal", np.int16, ".mp4", "16 channels become 2"),
        ("pcm_f32le", "stereo", np.float32, ".mp4", "samples beyond full scale are clipped"),
        ("pcm_f32le", "stereo", np.float32, ".mkv", ""),
    ],
)
def test_what_a_conversion_of_sound_loses_is_said(
    engine: Upscaler, tmp_path: Path, codec: str, layout: str, dtype: type, suffix: str, lost: str
) -> None:
    channels = 16 if layout == "hexadecagonal" else 2
    samples = np.full((1, 4800 * channels), 2 if dtype is np.float32 else 9000, dtype)
    source = with_sound(tmp_path, codec, layout, samples)
    done, messages = run_video(engine, source, tmp_path / f"out{suffix}")
    [plan] = done.video.streams
    assert plan.reason.endswith(lost) and (plan.action == "convert") == bool(lost)
    assert any(lost in line for line in messages if line.startswith("audio 1"))


SCRIPT = """[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,20

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Dialogue: 0,0:00:00.10,0:00:00.50,Default,,0,0,0,,one
Dialogue: 0,0:00:00.10,0:00:00.30,Default,,0,0,0,,two
Dialogue: 0,0:00:00.40,0:00:00.60,Default,,0,0,0,,three
Dialogue: 0,0:00:00.70,0:00:00.80,Default,,0,0,0,,four
"""


def with_script(folder: Path) -> Path:
    (folder / "words.ass").write_text(SCRIPT, encoding="utf-8")
    path = folder / "in.mkv"
    with (
        av.open(str(clip(folder / "plain.mkv", frames=25))) as film,
        av.open(str(folder / "words.ass")) as words,
        av.open(str(path), "w") as output,
    ):
        targets = [output.add_stream_from_template(each.streams[0]) for each in (film, words)]
        for source, target in zip((film, words), targets, strict=True):
            for packet in source.demux():
                if packet.size:
                    packet.stream = target
                    output.mux(packet)
    return path


def shown(path: Path) -> list[tuple[int, int, str]]:
    """Begin and end (ms) and text of every subtitle that has one."""
    found = []
    with av.open(str(path)) as container:
        for packet in container.demux(container.streams.subtitles[0]):
            content = bytes(packet)
            text = content[2 : 2 + int.from_bytes(content[:2], "big")].decode()
            if text:
                begin, length = (
                    round(ticks * packet.time_base * 1000) for ticks in (packet.pts, packet.duration)
                )
                found.append((begin, begin + length, text))
    return found


def test_overlapping_lines_are_shown_together_in_mp4(engine: Upscaler, tmp_path: Path) -> None:
    source = with_script(tmp_path)
    _, messages = run_video(engine, source, tmp_path / "out.mp4")
    assert shown(tmp_path / "out.mp4") == [
        (100, 300, "one\ntwo"),
        (300, 400, "one"),
        (400, 500, "one\nthree"),
        (500, 600, "three"),
        (700, 800, "four"),
    ]
    assert sum("2 lines are shown below an earlier one" in line for line in messages) == 1, messages
    assert not messages.warnings
    _, messages = run_video(engine, source, tmp_path / "out.mkv")
    assert not any("below an earlier one" in line for line in messages)


def test_lines_that_do_not_overlap_are_unchanged() -> None:
    lines = [Line(0, 10, b"\0\1a styles"), Line(10, 20, b"\0\1b"), Line(30, 31, b"\0\1c")]
    sequence = OneAtATime()
    found = [each for line in lines for each in sequence.add(line)] + [*sequence.flush()]
    assert found == lines and sequence.merged == 0
