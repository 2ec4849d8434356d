"""The report, the exit codes, and damaged or unusable sources, by the command as users run it."""

import hashlib
import json
import os
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image
from support.command import LENGTH, UPSCALE, printed, run
from support.media import clip, frame_times, save

from upscaler.cli.app import app as upscale
from upscaler.video.reader import VideoReader


def reports(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def truncated(path: Path, whole: Path, share: float = 0.6) -> Path:
    """The beginning of a clip; mp4 is rewritten so that its index comes first."""
    if path.suffix == ".mp4":
        first = whole.with_stem("indexed")
        with (
            av.open(str(whole)) as source,
            av.open(str(first), "w", options={"movflags": "faststart"}) as out,
        ):
            copies = {stream.index: out.add_stream_from_template(stream) for stream in source.streams}
            for packet in source.demux():
                if packet.size:
                    packet.stream = copies[packet.stream.index]
                    out.mux(packet)
        whole = first
    path.write_bytes(whole.read_bytes()[: round(whole.stat().st_size * share)])
    return path


def test_one_json_line_per_job(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.png")
    (tmp_path / "in" / "b.png").write_text("not an image")
    clip(tmp_path / "in" / "c.mp4", frames=20, audio=["aac", "pcm_s16le"], seconds=0.8)
    said = run(tmp_path / "in", "--scale", 2, "--json", tmp_path / "report.jsonl", code=1)
    still, bad, video = reports(tmp_path / "report.jsonl")
    assert "{" not in said
    blend = ["balanced-photo-x2", "real-fast-x2"]  # the default for images
    for report, names in ((still, blend), (video, ["fast-photo-x2"])):
        assert sorted(Path(weights["file"]).stem for weights in report["weights"]) == names
        for weights in report["weights"]:
            assert (weights["scale"], weights["architecture"]) == (2, "compact")
            assert weights["sha256"] == hashlib.sha256(Path(weights["file"]).read_bytes()).hexdigest()
    assert (still["kind"], still["outcome"], still["error"]) == ("still", "done", None)
    assert bad["outcome"] == "failed" and "b.png" in bad["error"]
    assert (video["kind"], video["outcome"]) == ("video", "done")
    assert video["source"].endswith("c.mp4") and Path(video["target"]).is_file()
    assert video["frames_in"] == video["frames_out"] == 20 and video["frames_resumed"] == 0
    assert video["reused_share"] == 0
    assert video["seconds_in"] == video["seconds_out"] == pytest.approx(0.8, abs=1e-6)
    assert [(stream["kind"], stream["action"]) for stream in video["streams"]] == [
        ("audio", "copy"),
        ("audio", "convert"),
    ]
    assert {message["severity"] for message in video["messages"]} == {"info"} and "h264" in video["settings"][
        "video"
    ]
    assert video["settings"]["precision"] and video["versions"]["av"] == av.__version__
    assert set(video["stages"]) == {"decode", "network", "encode", "merge", "verify"}
    assert all(0 < stage["seconds"] <= video["seconds"] for stage in video["stages"].values())
    network = video["stages"]["network"]
    assert network["frames_per_second"] == pytest.approx(20 / network["seconds"], rel=0.1)


def test_the_report_can_go_to_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code, written, said = printed(upscale, save(tmp_path / "a.png"), "--json", "-")
    assert code == 0 and json.loads(written)["outcome"] == "done"  # one object and nothing else
    assert "1 of 1 files" in said
    assert capfd.readouterr().out == ""  # nor by a library that writes past Python


@pytest.mark.parametrize(
    ("name", "message"), [("a.png", "image or a video"), ("no/report", "cannot write the report")]
)
def test_a_report_that_cannot_be_written(tmp_path: Path, name: str, message: str) -> None:
    source = save(tmp_path / "a.png")
    before = source.read_bytes()
    assert message in run(source, "--json", tmp_path / name, code=2)
    assert source.read_bytes() == before and not (tmp_path / "a_x4.png").exists()


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm"])
def test_a_truncated_source_is_upscaled_up_to_its_end(tmp_path: Path, suffix: str) -> None:
    encoder, sound = ("libvpx-vp9", "libopus") if suffix == ".webm" else ("libx264", "aac")
    whole = clip(tmp_path / f"whole{suffix}", frames=75, encoder=encoder, audio=[sound], seconds=3)
    run(whole, "-o", tmp_path / f"a{suffix}", "--scale", 1)
    source = truncated(tmp_path / f"in{suffix}", whole)
    there = sum(1 for _ in frame_times(source))
    said = run(source, "-o", tmp_path / f"b{suffix}", "--scale", 1, "--json", tmp_path / "report", code=3)
    assert 0 < there < 75 and len(frame_times(tmp_path / f"b{suffix}")) == there
    assert "warning: " in said and "ends early" in said and "of 3.0" in said
    (report,) = reports(tmp_path / "report")
    assert report["outcome"] == "done with warnings" and report["frames_out"] == there
    warnings = [message["text"] for message in report["messages"] if message["severity"] == "warning"]
    assert any("ends early" in text for text in warnings)


def test_audio_that_outlasts_the_video_is_not_damage(tmp_path: Path) -> None:
    for suffix in (".mp4", ".mkv"):
        source = clip(tmp_path / f"in{suffix}", frames=10, audio=["aac"], seconds=3)
        run(source, "-o", tmp_path / f"out{suffix}", "--scale", 1)


def rewritten(path: Path, whole: Path, change: Callable[[int, bytes], bytes]) -> Path:
    """A clip with other bytes in its video packets, by their number."""
    with av.open(str(whole)) as source, av.open(str(path), "w") as output:
        copy = output.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            result = av.Packet(change(number, bytes(packet)))
            result.pts, result.dts, result.time_base, result.stream = (
                packet.pts,
                packet.dts,
                packet.time_base,
                copy,
            )
            result.is_keyframe = packet.is_keyframe
            output.mux(result)
    return path


def test_damaged_frames_are_counted(tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.mkv", frames=60)

    def change(number: int, content: bytes) -> bytes:
        half = len(content) // 2
        return content[:half] + bytes(len(content) - half) if number % 4 == 3 else content

    source = rewritten(tmp_path / "in.mkv", whole, change)
    with VideoReader(source) as reader:
        frames = sum(1 for _ in reader.frames())
        assert reader.damaged_frames + reader.damaged_packets > 0
    said = run(source, "-o", tmp_path / "out.mkv", "--scale", 1, code=3)
    assert "damaged" in said and "ends early" not in said
    assert len(frame_times(tmp_path / "out.mkv")) == frames > 40


def test_frames_concealed_before_the_first_intact_one_are_kept(tmp_path: Path) -> None:
    whole, packets = clip(tmp_path / "whole.mkv", frames=30), list[bytes]()

    def change(number: int, content: bytes) -> bytes:
        packets.append(content)
        if number == 0:
            return b"\x00\x00\x00\x05\x01noise"
        return content if number < 15 else packets[number - 15]  # with the key frame, now in the middle

    source = rewritten(tmp_path / "in.mkv", whole, change)
    with VideoReader(source) as reader:
        frames = sum(1 for _ in reader.frames())
        assert frames > 20
        assert 5 < reader.damaged_frames < frames


def encrypted(path: Path) -> None:
    """Raw frames: decoded, their noise looks as good as any, as that of H.264 does once in a while."""
    options = {
        "encryption_scheme": "cenc-aes-ctr",
        "encryption_key": "76a6c65c5ea762046bd749a2e632ccbb",
        "encryption_kid": "a7e61c373e219033c21091fa607bf3b8",
    }
    with av.open(str(path), "w", format="mov", options=options) as output:
        stream = output.add_stream("rawvideo", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "rgb24"
        for _ in range(3):
            output.mux(stream.encode(av.VideoFrame(32, 32, "rgb24")))


def cover_only(path: Path) -> None:
    Image.new("RGB", (32, 32)).save(path.with_suffix(".jpg"))
    with av.open(str(path.with_suffix(".jpg"))) as art, av.open(str(path), "w") as output:
        cover = output.add_stream_from_template(art.streams.video[0])
        cover.disposition = av.stream.Disposition.attached_pic
        for packet in art.demux():
            if packet.size:
                packet.stream = cover
                output.mux(packet)
    path.with_suffix(".jpg").unlink()


def noise(path: Path) -> None:
    """A video all of whose packets are noise."""
    plain = clip(path.with_stem("plain"), frames=10)
    rewritten(path, plain, lambda *_: b"\x00\x00\x00\x05\x01noise")
    plain.unlink()


@pytest.mark.parametrize(
    ("make", "reason"),
    [(encrypted, "encrypted (DRM)"), (cover_only, "cover art"), (noise, "no frame of")],
)
def test_inputs_that_cannot_be_upscaled_give_one_line(
    tmp_path: Path, make: Callable[[Path], None], reason: str
) -> None:
    source = tmp_path / "in.mp4"
    make(source)
    said = run(source, "-o", tmp_path / "out.mp4", code=1)
    assert reason in said and said.count("error:") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


@pytest.mark.slow
def test_an_interrupted_video_says_how_to_resume(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=200)
    command = [sys.executable, "-c", UPSCALE, str(source), "-o", str(tmp_path / "out.mp4"), "--scale", "2"]
    process = subprocess.Popen(
        [*command, "--json", str(tmp_path / "report")], stderr=subprocess.PIPE, text=True
    )
    folder = tmp_path / "out.mp4.upscaling"
    deadline = time.monotonic() + 60
    while not (folder / "segment-000001.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "segments in" in said and "rerun the same command" in said and "Traceback" not in said
    assert [report["outcome"] for report in reports(tmp_path / "report")] == ["interrupted"]
    assert not list(folder.glob("*part*")) and not (tmp_path / "out.mp4").exists()
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "resuming after" in done.stderr and f"after {LENGTH} frames" not in done.stderr
    assert not folder.exists()


def test_a_file_name_that_is_not_utf_8_is_reported(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.png")
    sources = [save(tmp_path / "plain.png").rename(tmp_path / name), save(tmp_path / "ä.png")]
    run(*sources, "--scale", 1, "--json", tmp_path / "report")
    assert [Path(report["source"]) for report in reports(tmp_path / "report")] == sources
    assert "ä.png" in (tmp_path / "report").read_text(encoding="utf-8")  # what can be read stays readable


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a full disk is played by /dev/full")
def test_a_full_disk_under_the_report_is_one_line(tmp_path: Path) -> None:
    sources = [save(tmp_path / name) for name in ("a.png", "b.png")]
    said = run(*sources, "--scale", 1, "--json", "/dev/full", code=1)
    assert said.count("error:") == 1 and "cannot write the report '/dev/full': No space left" in said
    assert "2 of 2 files" in said and (tmp_path / "b_x1.png").exists()


@pytest.mark.parametrize("closed", ["at once", pytest.param("before", marks=pytest.mark.slow)])
def test_a_closed_standard_output_is_one_line(tmp_path: Path, closed: str) -> None:
    sources = [str(save(tmp_path / name)) for name in ("a.png", "b.png")]
    command = [sys.executable, "-m", "upscaler", *sources, "--scale", "1", "--json", "-"]
    reading, writing = os.pipe()
    os.close(reading)
    before = {"preexec_fn": lambda: os.close(1)} if closed == "before" else {"stdout": writing}
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=False, **before)
    os.close(writing)
    assert "Traceback" not in done.stderr and "Exception" not in done.stderr
    assert done.stderr.count("error:") == 1 and "standard output" in done.stderr
    assert done.returncode == (2 if closed == "before" else 1)
    assert (tmp_path / "b_x1.png").exists() == (closed == "at once")


def edited(path: Path, *, begin_s: float, seconds: float) -> Path:
    """A clip of 50 frames with a key frame at every tenth, of which an edit list shows a part."""
    with av.open(str(path), "w") as output:
        stream = output.add_stream("libx264", rate=25, options={"g": "10", "bf": "0"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(50):
            output.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        output.mux(stream.encode(None))
        ticks = round(begin_s / stream.time_base)
    content = bytearray(path.read_bytes())
    struct.pack_into(">ii", content, content.index(b"elst") + 12, round(seconds * 1000), ticks)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("begin_s", [0, 0.4, 0.52])
def test_frames_hidden_by_an_edit_list_are_not_an_early_end(tmp_path: Path, begin_s: float) -> None:
    source = edited(tmp_path / "in.mp4", begin_s=begin_s, seconds=0.8)
    said = run(source, "-o", tmp_path / "out.mp4", "--scale", 1)
    assert "ends early" not in said and len(frame_times(tmp_path / "out.mp4")) == 20


def test_an_end_a_few_frames_early_is_reported(tmp_path: Path) -> None:
    whole = clip(tmp_path / "whole.mp4", frames=75, audio=["aac"], seconds=3)
    source = truncated(tmp_path / "in.mp4", whole, 0.96)
    assert 67 < len(frame_times(source)) < 75
    said = run(source, "-o", tmp_path / "out.mp4", "--scale", 1, code=3)
    assert "ends early" in said and "of 75 frames" in said
