"""Frames that damage has cost are counted, and gaps of a variable frame rate are not damage."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from support.media import VARIABLE, clip, frame_times, identity, run_video
from support.messages import Messages

from upscaler.video.reader import VideoReader

FRAMES = 75
TICK = Fraction(1, 25)


def read(path: Path) -> tuple[int, list[str]]:
    """Number of frames, and the warnings."""
    messages = Messages()
    with VideoReader(path, on_message=messages) as reader:
        count = sum(1 for _ in reader.frames())
        reader.report(whole=True)
    return count, messages.warnings


def source(folder: Path, suffix: str, encoder: str, sound: str) -> Path:
    time_base = TICK if suffix in (".avi", ".flv", ".mpg") else Fraction(1, 90000)
    path = folder / f"in{suffix}"
    audio = [] if suffix == ".flv" else [sound]  # 48 kHz is not allowed there
    return clip(path, frames=FRAMES, encoder=encoder, audio=audio, seconds=3, time_base=time_base)


def overwrite(path: Path, begin: float, end: float) -> None:
    """Fill a part of a file, from and to these fractions of it, with zeros."""
    content = bytearray(path.read_bytes())
    first, last = (round(len(content) * share) for share in (begin, end))
    content[first:last] = bytes(last - first)
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("suffix", "encoder", "sound"),
    [
        (".mkv", "libx264", "aac"),
        (".flv", "flv", "libmp3lame"),
        (".ts", "libx264", "aac"),
        (".avi", "mpeg4", "mp2"),
    ],
)
def test_frames_that_a_demuxer_jumps_over_are_counted(
    tmp_path: Path, suffix: str, encoder: str, sound: str
) -> None:
    path = source(tmp_path, suffix, encoder, sound)
    assert read(path) == (FRAMES, [])
    overwrite(path, 0.5, 0.6)
    count, warnings = read(path)
    assert count < FRAMES
    told = [int(line.split()[1]) for line in warnings if "missing where the file is damaged" in line]
    assert len(told) == 1
    assert abs(told[0] - (FRAMES - count)) <= 1


def test_in_a_program_stream_the_sound_shows_how_much_is_missing(tmp_path: Path) -> None:
    path = source(tmp_path, ".mpg", "mpeg2video", "mp2")
    assert read(path) == (FRAMES, [])
    overwrite(path, 0.5, 0.6)
    count, warnings = read(path)
    assert count < FRAMES
    assert sum("missing where the file is damaged" in line for line in warnings) == 1


@pytest.mark.parametrize("suffix", [".mkv", ".mp4"])
def test_hevc_frames_that_refer_to_damaged_ones_are_kept(tmp_path: Path, suffix: str) -> None:
    """By default the decoder discards them without an error, up to the next key frame."""
    path = source(tmp_path, suffix, "libx265", "aac")
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    victim = max(packets[20:30], key=len)
    piece = victim[4:60]  # with the header of the slice, so that this frame is lost
    assert content.count(piece) == 1
    path.write_bytes(content.replace(piece, bytes(len(piece))))
    count, warnings = read(path)
    assert count >= FRAMES - 1
    assert any("damaged frames were concealed" in line for line in warnings)


@pytest.mark.parametrize("suffix", [".mkv", ".mp4", ".webm", ".ts"])
def test_uneven_frame_times_are_not_damage(tmp_path: Path, suffix: str) -> None:
    encoder = "libvpx" if suffix == ".webm" else "libx264"
    stamps = [3003 * index for index in range(20)]
    stamps += [stamps[-1] + 3003 + stamp for stamp in VARIABLE]
    stamps += [stamps[-1] + 900_000 + 3003 * index for index in range(10)]
    sound = "libopus" if suffix == ".webm" else "aac"
    path = clip(tmp_path / f"in{suffix}", pts=stamps, encoder=encoder, audio=[sound])
    assert read(path) == (len(stamps), [])


def test_missing_frames_are_a_warning_of_the_job(tmp_path: Path) -> None:
    path = source(tmp_path, ".mkv", "libx264", "aac")
    overwrite(path, 0.5, 0.6)
    done, messages = run_video(identity(tmp_path), path, tmp_path / "out.mkv")
    assert done.frames == len(frame_times(tmp_path / "out.mkv")) < FRAMES
    assert sum("missing where the file is damaged" in line for line in messages.warnings) == 1
