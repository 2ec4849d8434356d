"""Which streams of a film with several are used."""

from pathlib import Path

import av
import pytest
from av.stream import Disposition
from PIL import Image
from support.media import audio_packets, clip, frame_times, identity, run_video
from support.messages import Messages
from support.mpeg_streams import AudioTrack, joined_programs, recording

from upscaler.errors import MediaError
from upscaler.frames.preview import write_preview
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.video.languages import is_language


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("weights"))


def streams(path: Path) -> list[tuple[str, int, int]]:
    """Type, width and height (0 for audio) of every stream."""
    with av.open(str(path)) as container:
        sizes = [(each.codec_context.width, each.codec_context.height) for each in container.streams.video]
        return [("video", *size) for size in sizes] + [("audio", 0, 0) for _ in container.streams.audio]


def two_programs(folder: Path) -> Path:
    """Program 1 with one sound track and 64 columns, program 2 with two and 96."""
    first = recording(folder / "a.ts", [AudioTrack()], program=1)
    second = recording(folder / "b.ts", [AudioTrack(), AudioTrack()], program=2, width=96)
    path = folder / "in.ts"
    path.write_bytes(joined_programs(second, first))
    return path


@pytest.mark.parametrize(
    ("options", "width", "sounds", "other"),
    [({}, 96, 2, 1), ({"program": 1}, 64, 1, 2), ({"program": 2}, 96, 2, 1)],
)
def test_only_one_program_is_taken(
    engine: Upscaler, tmp_path: Path, options: dict[str, int], width: int, sounds: int, other: int
) -> None:
    source, target = two_programs(tmp_path), tmp_path / "out.mkv"
    done, messages = run_video(engine, source, target, **options)
    assert streams(target) == [("video", width, 48)] + [("audio", 0, 0)] * sounds
    assert done.frames == len(frame_times(target)) == 25 and not messages.warnings
    assert sum(f"another program, {other}" in line for line in messages) == 4 - sounds  # and its video
    [source_sound] = {tuple(packets) for packets in audio_packets(source)}  # all have the same sound
    assert {tuple(packets) for packets in audio_packets(target)} == {source_sound}


def test_a_program_that_is_missing(engine: Upscaler, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no program 7") as caught:
        run_video(engine, two_programs(tmp_path), tmp_path / "out.mkv", program=7)
    assert "2, 1" in str(caught.value)
    with pytest.raises(MediaError, match="no program 1"):
        run_video(engine, clip(tmp_path / "in.mp4"), tmp_path / "out.mkv", program=1)


def several_videos(folder: Path) -> Path:
    """A small video and a larger one that is the default."""
    small, large = clip(folder / "a.mkv", height=16, width=16), clip(folder / "b.mkv", frames=9)
    path = folder / "in.mkv"
    with av.open(str(small)) as one, av.open(str(large)) as two, av.open(str(path), "w") as output:
        targets = [output.add_stream_from_template(each.streams.video[0]) for each in (one, two)]
        targets[0].disposition, targets[1].disposition = Disposition(0), Disposition.default
        for source, target in zip((one, two), targets, strict=True):
            for packet in source.demux():
                if packet.size:
                    packet.stream = target
                    output.mux(packet)
    return path


@pytest.mark.parametrize(("options", "width", "frames"), [({}, 64, 9), ({"video_stream": 0}, 16, 12)])
def test_the_default_video_wins_unless_another_is_named(
    engine: Upscaler, tmp_path: Path, options: dict[str, int], width: int, frames: int
) -> None:
    done, messages = run_video(engine, several_videos(tmp_path), tmp_path / "out.mp4", **options)
    assert streams(tmp_path / "out.mp4") == [("video", width, width * 3 // 4 if width > 16 else 16)]
    assert done.frames == frames
    assert sum("only one video stream is upscaled" in line for line in messages) == 1


def test_a_video_stream_that_is_missing(engine: Upscaler, tmp_path: Path) -> None:
    with pytest.raises(MediaError, match="no video stream 2") as caught:
        run_video(engine, several_videos(tmp_path), tmp_path / "out.mp4", video_stream=2)
    assert "0, 1" in str(caught.value)


def spoken(folder: Path, *languages: str) -> Path:
    plain, path = clip(folder / "plain.mkv", audio=["aac"] * len(languages)), folder / "in.mkv"
    with av.open(str(plain)) as source, av.open(str(path), "w") as output:
        targets = [output.add_stream_from_template(each) for each in source.streams]
        for target, language in zip(targets[1:], languages, strict=True):
            target.metadata["language"] = language
        for packet in source.demux():
            if packet.size:
                packet.stream = targets[packet.stream.index]
                output.mux(packet)
    return path


@pytest.mark.parametrize(
    ("requested", "kept"),
    [("eng,deu", ["eng", "ger"]), ("FR", ["fre"]), ("jpn", ["eng", "ger", "fre"])],
)
def test_audio_is_chosen_by_language(
    engine: Upscaler, tmp_path: Path, requested: str, kept: list[str]
) -> None:
    source, target = spoken(tmp_path, "eng", "ger", "fre"), tmp_path / "out.mkv"
    _, messages = run_video(engine, source, target, audio_language=requested)
    said = "\n".join(messages)
    with av.open(str(target)) as container:
        assert [stream.metadata["language"] for stream in container.streams.audio] == kept
    assert said.count("none of the requested languages") == 3 - len(kept)
    assert ("no audio stream" in said) == (requested == "jpn")


def test_codes_of_one_language_are_equal() -> None:
    assert is_language("ger", ["deu"]) and is_language("de-AT", ["ger"]) and is_language("eng", ["fr", "en"])
    assert not is_language("", ["eng"]) and not is_language("gre", ["ger"])


def test_a_preview_shows_the_requested_stream(engine: Upscaler, tmp_path: Path) -> None:
    job = Job(several_videos(tmp_path), tmp_path / "a.preview.png", "preview")
    write_preview(job, engine, VideoOptions(video_stream=0), lambda _: None, Messages())
    with Image.open(job.target) as image:
        assert image.size == (16, 16)
