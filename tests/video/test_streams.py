from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.frame import VideoFrame
from PIL import Image
from support.media import audio_packets, clip, identity, rich_source, run_video, sound
from support.messages import Messages
from support.pictures import photograph

from upscaler import pipeline
from upscaler.errors import UsageError
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import VideoOptions
from upscaler.video import stream_plan, timecode
from upscaler.video.demux import Source


def run(engine: Upscaler, source: Path, target: Path, **options: object) -> Messages:
    notes = Messages()
    job = Job(source, target, "video")
    options = {"preset": "ultrafast"} | options if target.suffix != ".webm" else options
    pipeline.upscale_video(job, engine, VideoOptions(**options), lambda _: None, notes)
    return notes


def kinds(path: Path) -> list[str]:
    with av.open(str(path)) as container:
        return [
            f"{stream.type}:{stream.codec_context.name if stream.codec_context else '-'}"
            for stream in container.streams
        ]


def subtitles(path: Path) -> list[tuple[Fraction, Fraction, str]]:
    """Start, duration and text of every subtitle."""
    found = []
    with av.open(str(path)) as container:
        stream = container.streams.subtitles[0]
        for packet in container.demux(stream):
            if packet.size and (decoded := stream.codec_context.decode2(packet)) is not None:
                text = b"".join(part.dialogue for part in decoded).decode()
                if text:
                    base = packet.time_base
                    found.append((packet.pts * base, packet.duration * base, text))
    return found


def test_mkv_keeps_everything(engine: Upscaler, tmp_path: Path) -> None:
    source = rich_source(tmp_path)
    notes = run(engine, source, tmp_path / "out.mkv")
    target = tmp_path / "out.mkv"
    assert kinds(target) == kinds(source)
    assert audio_packets(target) == audio_packets(source)
    assert subtitles(target) == subtitles(source)
    with av.open(str(source)) as before, av.open(str(target)) as after:
        for old, new in zip(before.streams, after.streams, strict=True):
            assert new.metadata.get("language") == old.metadata.get("language")
            assert new.metadata.get("title") == old.metadata.get("title")
            assert new.disposition == old.disposition
        assert after.metadata["title"] == "The Film"
        assert [(chapter["start"], chapter["end"]) for chapter in after.chapters()] == [
            (chapter["start"], chapter["end"]) for chapter in before.chapters()
        ]
        assert [chapter["metadata"]["title"] for chapter in after.chapters()] == ["One", "Two"]
        assert after.streams.attachments[0].data == b"not really a font"
    assert sum("copied" in note for note in notes) == 5  # two sounds, subtitles, a font, chapters
    header = next(note for note in notes if note.startswith("stream"))
    rows = notes[notes.index(header) :]
    assert all(row[header.index("result") :].startswith("copied") for row in rows[1:])  # aligned
    assert rows[2].split() == ["audio", "2", "pcm_s24le", "eng", "copied"]
    assert not any("dropped" in note for note in notes)


def test_mp4_converts_or_reports_what_it_does_not_support(engine: Upscaler, tmp_path: Path) -> None:
    source = rich_source(tmp_path)
    notes = run(engine, source, tmp_path / "out.mp4")
    target = tmp_path / "out.mp4"
    assert kinds(target)[:4] == ["video:h264", "audio:aac", "audio:alac", "subtitle:mov_text"]
    assert audio_packets(target)[0] == audio_packets(source)[0]
    assert np.abs(sound(target, 1) - sound(source, 1)).max() < 1e-6  # without loss, and at the same time
    assert [(start, length, text.split(",")[-1]) for start, length, text in subtitles(target)] == [
        (start, length, text.split(",")[-1]) for start, length, text in subtitles(source)
    ]
    with av.open(str(target)) as after:
        assert [stream.metadata.get("language") for stream in after.streams.audio] == ["ger", "eng"]
        assert [chapter["metadata"]["title"] for chapter in after.chapters()] == ["One", "Two"]
        assert after.metadata["title"] == "The Film"
    assert any("converted to alac" in note and "PCM" in note for note in notes)
    assert any("converted to mov_text" in note for note in notes)
    assert any("font.ttf" in note and "dropped" in note and ".mkv keeps it" in note for note in notes)


def test_webm_takes_opus_and_webvtt(engine: Upscaler, tmp_path: Path) -> None:
    source = rich_source(tmp_path)
    run(engine, source, tmp_path / "out.webm")
    assert kinds(tmp_path / "out.webm")[:4] == [
        "video:vp9",
        "audio:opus",
        "audio:opus",
        "subtitle:webvtt",
    ]
    for index in (0, 1):
        before, after = sound(source, index), sound(tmp_path / "out.webm", index)
        core = slice(4_000, 40_000)
        lags = [np.abs(after[core] - np.roll(before, lag)[core]).mean() for lag in range(-100, 101)]
        assert abs(int(np.argmin(lags)) - 100) <= 48  # 1 ms
        assert min(lags) < 0.02


def test_unwanted_streams_are_dropped(engine: Upscaler, tmp_path: Path) -> None:
    source = rich_source(tmp_path)
    notes = run(engine, source, tmp_path / "a.mkv", audio=False, subtitles=False)
    assert kinds(tmp_path / "a.mkv") == ["video:h264", "attachment:-"]
    assert sum("as requested (--no-" in note for note in notes) == 3


def test_an_audio_codec_can_be_forced(engine: Upscaler, tmp_path: Path) -> None:
    source = rich_source(tmp_path)
    run(engine, source, tmp_path / "a.mkv", audio_codec="opus")
    assert kinds(tmp_path / "a.mkv")[1:3] == ["audio:opus", "audio:opus"]
    with pytest.raises(UsageError, match=r"\.webm does not support aac"):
        run(engine, source, tmp_path / "a.webm", audio_codec="aac")
    with pytest.raises(UsageError, match="--audio-codec 'wax' must be"):
        VideoOptions(audio_codec="wax")


def film_with_cover(folder: Path, art_suffix: str) -> Path:
    plain = clip(folder / "plain.mp4", audio=["aac"])
    Image.fromarray(photograph(40, 40)).save(folder / f"cover{art_suffix}")
    source = folder / "source.mp4"
    with (
        av.open(str(plain)) as media,
        av.open(str(folder / f"cover{art_suffix}")) as art,
        av.open(str(source), "w") as output,
    ):
        targets = {stream.index: output.add_stream_from_template(stream) for stream in media.streams}
        cover = output.add_stream_from_template(art.streams.video[0])
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in art.demux():
            if packet.size:
                packet.stream = cover
                output.mux(packet)
        for packet in media.demux():
            if packet.size:
                packet.stream = targets[packet.stream.index]
                output.mux(packet)
    return source


def covers(path: Path) -> int:
    """How many pictures of a finished file are cover art."""
    with av.open(str(path)) as media:
        pictures = [each for each in media.streams if each.type in ("video", "attachment")]
        return sum(bool(each.disposition & av.stream.Disposition.attached_pic) for each in pictures)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
@pytest.mark.parametrize("art_suffix", [".jpg", ".png"])
def test_cover_art_is_not_upscaled_and_kept_if_the_table_says_so(
    engine: Upscaler, tmp_path: Path, art_suffix: str, suffix: str
) -> None:
    source, target = film_with_cover(tmp_path, art_suffix), tmp_path / f"out{suffix}"
    done, _ = run_video(engine, source, target)
    [plan] = [plan for plan in done.video.streams if plan.kind == "cover"]
    assert covers(target) == (plan.action == "copy") == (suffix != ".mov")
    if plan.action == "drop":
        assert ".mkv and .mp4 would keep it" in plan.reason
    with av.open(str(target)) as after:
        assert after.streams.video[0].width == 128


def test_further_videos_are_reported_as_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "two.mkv"
    with av.open(str(source), "w") as output:
        both = [output.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in both:
            stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for stream in both:
            output.mux(stream.encode(VideoFrame.from_ndarray(photograph(48, 64), format="rgb24")))
            output.mux(stream.encode(None))
    plans = stream_plan.plan(Source(source), tmp_path / "out.mp4")
    assert [(plan.kind, plan.action) for plan in plans] == [("video", "drop")]
    assert "only one video" in plans[0].result()


def test_the_default_video_is_upscaled(engine: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as output:
        small, large = (output.add_stream("libx264", rate=25) for _ in range(2))
        for stream, size in ((small, 32), (large, 64)):
            stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
        small.disposition, large.disposition = 0, av.stream.Disposition.default
        for stream, size in ((small, 32), (large, 64)):
            output.mux(stream.encode(VideoFrame.from_ndarray(photograph(size, size), format="rgb24")))
            output.mux(stream.encode(None))
    notes = run(engine, source, tmp_path / "out.mp4")
    assert "64x64 -> 128x128" in notes[0]
    assert any("video 0" in note and "dropped" in note for note in notes)


def test_timecode_track_is_recreated(engine: Upscaler, tmp_path: Path) -> None:
    source = tmp_path / "camera.mov"
    with av.open(str(source), "w") as output:
        video = output.add_stream("libx264", rate=Fraction(30000, 1001))
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.metadata["timecode"] = "01:02:03;04"
        output.mux(video.encode(VideoFrame(64, 48, "yuv420p")))
        output.mux(video.encode(None))
    lines = run(engine, source, tmp_path / "out.mov")
    assert "the timecode is kept with the video" in "".join(lines)
    with av.open(str(tmp_path / "out.mov")) as container:
        assert [stream.metadata["timecode"] for stream in container.streams.data] == ["01:02:03;04"]


@pytest.mark.parametrize(
    ("first", "frames", "rate", "later"),
    [
        ("01:02:03:04", 25, Fraction(25), "01:02:04:04"),
        ("00:59:59:24", 1, Fraction(25), "01:00:00:00"),
        ("00:00:59;29", 1, Fraction(30000, 1001), "00:01:00;02"),
        ("00:09:59;29", 1, Fraction(30000, 1001), "00:10:00;00"),
        ("00:00:00;00", 107_892, Fraction(30000, 1001), "01:00:00;00"),
        ("00:00:00;00", 17_982 + 1_800, Fraction(30000, 1001), "00:11:00;02"),
        ("00:00:59;59", 1, Fraction(60000, 1001), "00:01:00;04"),
        ("00:00:59:29", 1, Fraction(30000, 1001), "00:01:00:00"),
        ("nonsense", 1, Fraction(25), "nonsense"),
    ],
)
def test_a_later_timecode(first: str, frames: int, rate: Fraction, later: str) -> None:
    """An hour of drop-frame timecode has 107,892 frames (SMPTE ST 12-1)."""
    assert timecode.advanced({"timecode": first, "title": first}, frames / rate, rate) == {
        "timecode": later,
        "title": first,
    }


@pytest.mark.parametrize("suffix", [".mov", ".mkv"])
def test_the_timecode_of_a_part_is_that_of_its_first_frame(tmp_path: Path, suffix: str) -> None:
    source = tmp_path / "camera.mov"
    with av.open(str(source), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.metadata["timecode"] = "01:02:03:04"
        for number in range(30):
            frame = VideoFrame(64, 48, "yuv420p")
            frame.pts = number
            output.mux(video.encode(frame))
        output.mux(video.encode(None))
    run_video(identity(tmp_path), source, tmp_path / f"out{suffix}", start_s=1, end_s=1.1)
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        found = [
            value
            for stream in container.streams
            for key, value in stream.metadata.items()
            if key.lower() == "timecode"
        ]
    assert found and set(found) == {"01:02:04:04"}


def test_refusal_quotes_the_muxer(tmp_path: Path) -> None:
    with av.open(str(clip(tmp_path / "in.mkv", audio=["aac"]))) as container:
        stream = container.streams.audio[0]
        assert stream_plan.refusal(stream, ".mkv") is None
        assert stream_plan.refusal(stream, ".mp4") is None
        assert "webm" in (stream_plan.refusal(stream, ".webm") or "")
    with av.open(str(clip(tmp_path / "in.mkv", audio=["flac"]))) as container:
        assert stream_plan.refusal(container.streams.audio[0], ".mov") == "flac only supported in MP4"


def test_audio_before_an_edit_list_keeps_exactly_its_priming(engine: Upscaler, tmp_path: Path) -> None:
    """AAC in mp4 begins with a packet that is not to be heard; it must still be there, once."""
    source = clip(tmp_path / "in.mp4", audio=["aac"])
    with av.open(str(source)) as container:
        first = next(packet for packet in container.demux(audio=0) if packet.size)
        assert first.pts < 0
    run(engine, source, tmp_path / "out.mp4")
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)
    assert np.array_equal(sound(tmp_path / "out.mp4"), sound(source))


def sounding(path: Path, encoder: str, rate: int, layout: str) -> Path:
    """A clip with one sound of this rate and layout, every channel at a loudness of its own."""
    plain = clip(path.with_name("plain.mkv"), frames=10)
    with av.open(str(plain)) as media, av.open(str(path), "w") as output:
        video = output.add_stream_from_template(media.streams.video[0])
        audio = output.add_stream(encoder, rate=rate, layout=layout)
        channels = len(av.AudioLayout(layout).channels)
        wave = np.sin(np.arange(rate // 2) * 2 * np.pi * 300 / rate)
        samples = np.stack([wave * (channel + 1) / (channels + 1) for channel in range(channels)])
        frame = av.AudioFrame.from_ndarray(samples.astype(np.float32), format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        for packet in [*audio.encode(frame), *audio.encode(None)]:
            output.mux(packet)
        for packet in media.demux():
            if packet.size:
                packet.stream = video
                output.mux(packet)
    return path


@pytest.mark.parametrize(
    ("encoder", "rate", "layout", "suffix", "forced", "result"),
    [
        ("ac3", 48_000, "5.1(side)", ".webm", None, ("opus", 48_000, 6)),
        ("pcm_s16le", 96_000, "mono", ".mp4", "mp3", ("mp3float", 48_000, 1)),
        ("pcm_s16le", 44_100, "quad", ".mp4", None, ("alac", 44_100, 4)),
        ("pcm_s16le", 11_025, "stereo", ".webm", None, ("opus", 48_000, 2)),
        ("flac", 96_000, "5.1(side)", ".mov", None, ("alac", 96_000, 6)),
        ("libopus", 48_000, "stereo", ".mov", None, ("aac", 48_000, 2)),
    ],
)
def test_audio_of_any_rate_and_layout_is_converted(
    engine: Upscaler,
    tmp_path: Path,
    encoder: str,
    rate: int,
    layout: str,
    suffix: str,
    forced: str | None,
    result: tuple[str, int, int],
) -> None:
    source = sounding(tmp_path / "in.mkv", encoder, rate, layout)
    run(engine, source, tmp_path / f"out{suffix}", audio_codec=forced)
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        context = container.streams.audio[0].codec_context
        assert (context.name, context.sample_rate, context.channels) == result
        frames = [frame.to_ndarray() for frame in container.decode(audio=0)]
        seconds = sum(frame.shape[-1] for frame in frames) / result[1]
    assert abs(seconds - 0.5) < 0.06


@pytest.mark.parametrize("suffix", [".mov", ".mp4", ".mkv"])
def test_tags_of_a_phone_are_kept(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    tags = {
        "com.apple.quicktime.location.ISO6709": "+52.5163+013.3777+034.000/",
        "com.apple.quicktime.make": "Apple",
        "com.apple.quicktime.creationdate": "2024-05-01T12:00:00+0200",
    }
    source = tmp_path / "in.mov"
    with av.open(str(source), "w", options={"movflags": "use_metadata_tags"}) as output:
        output.metadata.update(tags | {"title": "Tiergarten"})
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        output.mux(video.encode(VideoFrame(64, 48, "yuv420p")))
        output.mux(video.encode(None))
    run(engine, source, tmp_path / f"out{suffix}")
    with av.open(str(tmp_path / f"out{suffix}")) as container:
        kept = {key.lower(): value for key, value in container.metadata.items()}
    assert {key: kept.get(key.lower()) for key in tags} == tags
    assert kept["title"] == "Tiergarten"


@pytest.mark.parametrize(("suffix", "kept"), [(".mp4", False), (".webm", False), (".mov", True)])
def test_audio_with_a_custom_order_of_channels(
    engine: Upscaler, tmp_path: Path, suffix: str, kept: bool
) -> None:
    """QuickTime's layout tag 122 (L R Ls Rs C LFE). Decoding it would abort this process."""
    source = sounding(tmp_path / "in.mov", "pcm_s16le", 48_000, "5.1(side)")
    content = source.read_bytes()
    tag = content.index(b"chan") + 8
    source.write_bytes(content[:tag] + (122 << 16 | 6).to_bytes(4, "big") + content[tag + 4 :])
    notes = run(engine, source, tmp_path / f"out{suffix}")
    [line] = [note for note in notes if note.startswith("audio 1")]
    assert ("copied" in line) is kept
    assert ("FL+FR+SL+SR+FC+LFE cannot be converted" in line) is not kept
    assert len(kinds(tmp_path / f"out{suffix}")) == 1 + kept


def test_dropped_stream_names_a_container_that_keeps_it(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as output:
        video = output.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        output.add_stream("dvbsub").codec_context.extradata = b""
        output.mux(video.encode(VideoFrame(64, 48, "yuv420p")))
        output.mux(video.encode(None))
    plans = stream_plan.plan(Source(source), tmp_path / "out.webm")
    assert plans[0].action == "drop" and ".mkv" in plans[0].reason and "would keep it" in plans[0].reason
