"""Telemetry and timed metadata of cameras, judged by a reader of raw boxes and by FFmpeg's."""

from fractions import Fraction
from pathlib import Path

import av
import pytest
from support.media import clip, identity, run_video
from support.mp4_boxes import metadata_tracks, with_tracks

from upscaler.inference.engine import Upscaler

# Of 25 frames per second and 50 frames: 2 s, in samples of 0.1 s.
GPMD = [b"DEVC" + bytes([number]) * (4 + number) for number in range(20)]
MEBX = [b"\0\0\0\x0c\0\0\0\1" + bytes([number] * 4) for number in range(20)]
KEYS = b"\0\0\0\x0ckeys\0\0\0\0"


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


@pytest.fixture(scope="module")
def camera(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = clip(tmp_path_factory.mktemp("camera") / "in.mp4", frames=50, audio=["aac"])
    return with_tracks(path, [(b"gpmd", b"", GPMD, 0), (b"mebx", KEYS, MEBX, 30)])


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_timed_metadata_are_copied(engine: Upscaler, tmp_path: Path, camera: Path, suffix: str) -> None:
    _, messages = run_video(engine, camera, tmp_path / f"out{suffix}")
    assert any("gpmd" in line and "copied" in line for line in messages)
    gpmd, mebx = metadata_tracks(tmp_path / f"out{suffix}")
    assert [data for _, data in gpmd.samples] == GPMD and [data for _, data in mebx.samples] == MEBX
    assert {length for length, _ in gpmd.samples + mebx.samples} == {100}
    assert gpmd.timescale == mebx.timescale == 1000
    assert (gpmd.refers_to, mebx.refers_to) == (1, 1) and gpmd.number < mebx.number
    assert gpmd.description[12:16] == b"gpmd" and mebx.description.endswith(KEYS)
    assert gpmd.handler[8:12] == b"meta" and gpmd.handler.endswith(b"Telemetry\0")
    assert gpmd.media_header == [b"gmhd", b"dinf", b"stbl"]
    each = gpmd.movie_timescale
    assert gpmd.edits == [(2 * each, 0)]
    assert mebx.edits == [(round(1.97 * each), 30)]
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        assert [stream.type for stream in container.streams] == ["video", "audio", "data", "data"]
        read = [bytes(packet) for packet in container.demux(container.streams[2]) if packet.size]
    assert read == GPMD


def test_they_survive_twice(engine: Upscaler, tmp_path: Path, camera: Path) -> None:
    run_video(engine, camera, tmp_path / "once.mp4", frames=2)
    run_video(engine, tmp_path / "once.mp4", tmp_path / "twice.mov")
    once, twice = (metadata_tracks(tmp_path / name) for name in ("once.mp4", "twice.mov"))
    assert [track.samples for track in once] == [track.samples for track in twice]
    assert len(once) == 2 and all(track.samples for track in once)


def test_a_trimmed_film_trims_them(engine: Upscaler, tmp_path: Path, camera: Path) -> None:
    """The sample in which the part begins is kept; an edit begins in its middle."""
    run_video(engine, camera, tmp_path / "out.mp4", start_s=Fraction(16, 25), end_s=1.0)
    gpmd, mebx = metadata_tracks(tmp_path / "out.mp4")
    each = gpmd.movie_timescale
    assert [data for _, data in gpmd.samples] == GPMD[6:10]
    assert gpmd.edits == [(round(0.36 * each), 40)]
    # 0.64 s of the film are 0.67 s of this track, whose edit skips 0.03 s.
    assert [data for _, data in mebx.samples] == MEBX[6:11]
    assert mebx.edits == [(round(0.36 * each), 70)]


def test_other_containers_name_them(engine: Upscaler, tmp_path: Path, camera: Path) -> None:
    _, messages = run_video(engine, camera, tmp_path / "out.mkv", frames=2)
    text = "\n".join(messages)
    assert text.count(".mkv has no timed metadata; .mp4 and .mov keep it") == 2


def test_samples_of_several_kinds_are_named(engine: Upscaler, tmp_path: Path) -> None:
    """Their packets do not say of which of the kinds they are."""
    path = clip(tmp_path / "in.mp4", frames=2)
    with_tracks(path, [(b"gpmd", b"", GPMD, 0)])
    content = path.read_bytes()
    at = content.index(b"stsd", content.rindex(b"Telemetry"))
    path.write_bytes(content[: at + 8] + (2).to_bytes(4) + content[at + 12 :])
    _, messages = run_video(engine, path, tmp_path / "out.mp4")
    assert any("data" in line and "dropped" in line for line in messages)
    assert not metadata_tracks(tmp_path / "out.mp4")
