"""A resumed film is decoded from a key frame before its missing part, and has the bytes of one run."""

import re
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
from support.command import LENGTH
from support.interrupted import cut, moving_clip, run
from support.media import FieldOrder, identity

from upscaler.inference.engine import Upscaler
from upscaler.options import VideoOptions
from upscaler.video import cuts
from upscaler.video.frame_index import FrameIndex
from upscaler.video.reader import VideoReader
from upscaler.video.survey import survey
from upscaler.video.trim import selected_frames, selected_positions

FRAMES = 24
AFTER = 2 * LENGTH
GOP = 5
FAST = {"preset": "ultrafast"}

# Container and encoder -> options of the encoder.
SAFE = {
    "B-frames.mp4": ("libx264", {"bf": "3", "g": str(GOP), "b-pyramid": "normal"}),
    "open.mp4": ("libx264", {"bf": "3", "g": str(GOP), "x264-params": "open-gop=1:keyint=5:scenecut=0"}),
    "film.mkv": ("libx264", {"bf": "2", "g": str(GOP)}),
    "broadcast.ts": ("libx264", {"bf": "2", "g": str(GOP)}),
    "mpeg2.ts": ("mpeg2video", {"bf": "2", "g": str(GOP), "q": "4"}),
    "hevc.mp4": (
        "libx265",
        {"preset": "ultrafast", "x265-params": "keyint=5:bframes=2:open-gop=1:log-level=0"},
    ),
    "film.webm": ("libvpx-vp9", {"g": str(GOP), "deadline": "realtime", "cpu-used": "8"}),
    "intra.avi": ("mjpeg", {}),
    "old.avi": ("mpeg4", {"g": str(GOP)}),
    "lossless.mkv": ("ffv1", {}),
}
SLOW = ("intra.avi", "open.mp4", "mpeg2.ts", "hevc.mp4", "film.webm", "lossless.mkv")


def film(path: Path, *encoder: object, **how: object) -> Path:
    return moving_clip(path, *encoder, frames=FRAMES, **how)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Upscaler:
    return identity(tmp_path_factory.mktemp("identity"))


def resumed(engine: Upscaler, source: Path, folder: Path, **options: object) -> tuple[int, list[str]]:
    """Frames that a resumed run decodes, whose bytes are those of one run; and what it says."""
    run(engine, source, folder / "whole.mp4", **FAST, **options)
    cut(engine, source, folder / "out.mp4", AFTER, **FAST, **options)
    done, said, _ = run(engine, source, folder / "out.mp4", **FAST, **options)
    assert (folder / "out.mp4").read_bytes() == (folder / "whole.mp4").read_bytes()
    assert done.video is not None and done.video.frames_resumed == AFTER
    return done.video.frames_decoded, [text for text in said if text.startswith("decoding from the start")]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in SLOW)) for name in SAFE]
)
def test_only_the_end_is_decoded(engine: Upscaler, tmp_path: Path, name: str) -> None:
    decoded, said = resumed(engine, film(tmp_path / name, *SAFE[name]), tmp_path)
    assert said == []
    assert FRAMES - AFTER < decoded <= FRAMES - AFTER + GOP


def test_times_may_be_uneven(engine: Upscaler, tmp_path: Path) -> None:
    steps = np.random.default_rng(1).integers(1, 90, FRAMES).tolist()
    source = film(tmp_path / "in.mkv", pts=list(accumulate(steps)))
    decoded, said = resumed(engine, source, tmp_path)
    assert said == [] and decoded <= FRAMES - AFTER + GOP


@pytest.mark.parametrize(
    ("options", "most"),
    [({"start_s": 0.1, "end_s": 0.8}, 3 + GOP), ({"start_s": 0.2, "frames": 18}, 4 + GOP)],
    ids=str,
)
def test_parts_are_cut_too(engine: Upscaler, tmp_path: Path, options: dict[str, object], most: int) -> None:
    source = film(tmp_path / "in.mp4", "libx264", {"bf": "2", "g": str(GOP)})
    decoded, said = resumed(engine, source, tmp_path, **options)
    assert said == [] and decoded <= most


def test_an_edit_list_shifts_no_frame(engine: Upscaler, tmp_path: Path) -> None:
    whole = film(tmp_path / "whole.mp4", "libx264", {"bf": "2", "g": str(GOP)})
    source = tmp_path / "in.mp4"
    with av.open(str(whole)) as read, av.open(str(source), "w") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        for packet in read.demux(video=0):
            if packet.size:
                packet.pts, packet.dts = packet.pts - 1100, packet.dts - 1100  # two frames before the start
                packet.stream = stream
                written.mux(packet)
    with VideoReader(source) as reader:
        assert len(list(reader.frames())) < FRAMES
    decoded, said = resumed(engine, source, tmp_path)
    assert said == [] and decoded <= FRAMES - AFTER + GOP


def interlaced(path: Path) -> Path:
    order = FieldOrder("tff")
    return film(path, "libx264", {"g": str(GOP), "flags": "+ilme+ildct"}, shown=order.flagged)


def joined(path: Path) -> Path:
    path.write_bytes(film(path.with_name("part.ts"), "mpeg2video").read_bytes() * 2)
    return path


def cut_short(path: Path) -> Path:
    content = film(path.with_name("long.mkv"), pts=[200 * number for number in range(FRAMES)]).read_bytes()
    path.write_bytes(content[: len(content) * 4 // 5])
    return path


def without_key_frames(path: Path) -> Path:
    return film(path, "libx264", {"g": "1000", "sc_threshold": "0"})


def test_columns_may_be_refreshed_instead_of_frames(engine: Upscaler, tmp_path: Path) -> None:
    """From such a key frame on, pictures become whole after a while: cut or not, the bytes are right."""
    intra = {"x264-params": "intra-refresh=1:keyint=5:scenecut=0"}
    resumed(engine, film(tmp_path / "in.ts", "libx264", intra), tmp_path)


def with_b_frames(path: Path) -> Path:
    return film(path, "mpeg4", {"bf": "2", "g": str(GOP)})


@pytest.mark.parametrize(
    ("make", "name", "reason"),
    [
        (interlaced, "in.mp4", "interlaced"),
        (joined, "in.ts", "joined|damaged"),
        (cut_short, "in.mkv", "ends early|damaged"),
        (without_key_frames, "in.mp4", "one key frame"),
        (with_b_frames, "in.avi", ""),
    ],
)
def test_what_cannot_be_cut_is_decoded_from_the_start(
    engine: Upscaler, tmp_path: Path, make: Callable[[Path], Path], name: str, reason: str
) -> None:
    decoded, said = resumed(engine, make(tmp_path / name), tmp_path)
    assert len(said) == 1 and re.search(reason, said[0]), said
    assert decoded >= FRAMES // 2


def test_a_wrong_index_is_found_out(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Frames that do not come, and frames that come with other samples."""
    source = film(tmp_path / "in.mp4")
    plan = cuts.cut_before

    def shifted(*arguments: object) -> cuts.Cut:
        found = plan(*arguments)
        return cuts.Cut(found.position, found.dts, [found.pts[0], *[pts + 1 for pts in found.pts[1:]]])

    with monkeypatch.context() as patch:
        patch.setattr("upscaler.video_pipeline.cut_before", shifted)
        decoded, said = resumed(engine, source, tmp_path)
    assert decoded == FRAMES and "not those that its packets announce" in said[0]
    with monkeypatch.context() as patch:
        patch.setattr("upscaler.frames.video_range.digest", lambda frame: str(id(frame)))
        decoded, said = resumed(engine, source, tmp_path)
    assert decoded == FRAMES and "depend on those before" in said[0]


def test_an_index_names_the_frames_that_are_decoded(tmp_path: Path) -> None:
    for name in ("B-frames.mp4", "film.mkv", "broadcast.ts", "intra.avi"):
        source = film(tmp_path / name, *SAFE[name])
        for options in (
            VideoOptions(),
            VideoOptions(start_s=0.1, end_s=0.7),
            VideoOptions(start_s=0.3, frames=9),
        ):
            surveyed = survey(source, options)
            index = surveyed.index
            assert index is not None and index.obstacle == ""
            with VideoReader(source, survey=surveyed) as reader:
                decoded = [
                    frame.pts for frame in selected_frames(reader.frames(), reader.info.time_base, options)
                ]
            positions = selected_positions(index, options)
            assert [index.pts[position] for position in positions] == decoded
            again = FrameIndex.from_json(index.to_json())
            assert (again.pts, again.keys, again.time_base) == (index.pts, index.keys, index.time_base)


def test_a_segment_of_a_damaged_part_is_not_cut_after(engine: Upscaler, tmp_path: Path) -> None:
    """The message about the damage must come again."""
    source = film(tmp_path / "in.mp4", "libx264", {"g": str(GOP)})
    content = bytearray(source.read_bytes())
    with av.open(str(source)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][LENGTH + 3]
        content[packet.pos + 5 : packet.pos + packet.size] = bytes(packet.size - 5)
    source.write_bytes(content)
    decoded, said = resumed(engine, source, tmp_path)
    assert len(said) == 1 and "damaged" in said[0]
    assert decoded >= FRAMES - GOP
