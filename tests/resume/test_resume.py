import errno
import json
import os
import re
import signal
import subprocess
import sys
import time
from fractions import Fraction
from itertools import accumulate, pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import numpy as np
import pytest
import torch
from av.container import OutputContainer
from PIL import Image
from support.command import LENGTH, UPSCALE
from support.media import audio_packets, clip, frame_times
from support.messages import Messages
from support.pictures import photograph
from torch import Tensor

from upscaler import jobs, pipeline
from upscaler.batch import Batch
from upscaler.errors import DeviceError, MediaError, UsageError
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import Options, VideoOptions
from upscaler.results import Done, Progress
from upscaler.resume import job_folder
from upscaler.video import mux, segment_writer, segments

FRAMES = 24


@pytest.fixture(scope="module")
def engine() -> Upscaler:
    return Upscaler("fast", 2, precision="fp32")


@pytest.fixture(autouse=True)
def _short_segments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "_FRAMES_MIN", LENGTH)
    monkeypatch.setattr(segments, "_FRAMES_MAX", LENGTH)


class CutError(Exception):
    """Stands for whatever ends a run before its time."""


def run(
    engine: Upscaler,
    source: Path,
    target: Path,
    *,
    cut_after: int | None = None,
    messages: Messages | None = None,
    **options: object,
) -> tuple[Done, Messages, list[Progress]]:
    """Upscale; with ``cut_after`` the run ends after that many frames, once the encoder has caught up."""
    messages = Messages() if messages is None else messages
    seen: list[Progress] = []

    def on_progress(progress: Progress) -> None:
        seen.append(progress)
        if progress.done == cut_after:
            closed = job_folder.folder_of(target) / f"segment-{cut_after // LENGTH - 1:06}.json"
            deadline = time.monotonic() + 30
            while cut_after >= LENGTH and not closed.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            raise CutError

    job = Job(source, target, "video")
    done = pipeline.upscale_video(job, engine, VideoOptions(**options), on_progress, messages)
    return done, messages, seen


def cut(engine: Upscaler, source: Path, target: Path, after: int, **options: object) -> Messages:
    """A run that is cut off; returns what it said."""
    messages = Messages()
    with pytest.raises(CutError):
        run(engine, source, target, cut_after=after, messages=messages, **options)
    return messages


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_a_resumed_run_gives_the_same_bytes(engine: Upscaler, tmp_path: Path, codec: str) -> None:
    pts = list(accumulate(np.random.default_rng(1).integers(1, 9000, FRAMES).tolist()))
    source = clip(tmp_path / "in.mp4", pts=pts, audio=["aac"])
    run(engine, source, tmp_path / "whole.mp4", codec=codec)
    kept = cut(engine, source, tmp_path / "out.mp4", 10, codec=codec)
    assert "1 segments are kept" in kept[-1]
    assert not (tmp_path / "out.mp4").exists()
    cut(engine, source, tmp_path / "out.mp4", 23, codec=codec)
    done, notes, seen = run(engine, source, tmp_path / "out.mp4", codec=codec)
    assert any("resuming after 21 frames" in note for note in notes)
    assert [progress.done for progress in seen] == [22, 23, 24] and seen[0].resumed == 21
    assert done.video is not None
    assert (done.video.frames_in, done.video.frames_resumed, done.frames) == (24, 21, 24)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4", "whole.mp4"]


@pytest.mark.parametrize("suffix", [".mkv", ".webm"])
def test_a_resumed_run_gives_the_same_streams(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    source = clip(tmp_path / "in.mkv", frames=FRAMES, audio=["libopus"])
    run(engine, source, tmp_path / f"whole{suffix}")
    cut(engine, source, tmp_path / f"out{suffix}", 15)
    run(engine, source, tmp_path / f"out{suffix}")
    made = []
    for name in ("whole", "out"):
        with av.open(str(tmp_path / f"{name}{suffix}")) as container:
            made.append(
                [(p.stream.index, p.pts, p.dts, p.duration, bytes(p)) for p in container.demux() if p.size]
            )
    assert made[0] == made[1]


def test_a_run_cut_off_before_the_first_segment_leaves_nothing(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    said = cut(engine, source, tmp_path / "out.mp4", LENGTH - 1)
    assert not any("kept" in text for text in said)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_all_segments_may_be_there_already(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=2 * LENGTH)
    run(engine, source, tmp_path / "whole.mp4")
    with monkeypatch.context() as patched:
        patched.setattr(pipeline.mux, "merge", lambda *_, **__: (_ for _ in ()).throw(CutError))
        with pytest.raises(CutError):
            run(engine, source, tmp_path / "out.mp4")
    done, _, seen = run(engine, source, tmp_path / "out.mp4")
    assert seen == [] and done.frames == 2 * LENGTH
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_frames_of_uneven_length_at_a_border(engine: Upscaler, tmp_path: Path) -> None:
    """The decoding times of a segment's start would fall behind those of the end before it."""
    steps = [1] * LENGTH + [90_000] * LENGTH + [1] * 3
    source = clip(tmp_path / "in.mp4", pts=list(accumulate(steps)))
    for suffix in (".mp4", ".mkv"):
        for codec in ("h264", "hevc"):
            target = tmp_path / f"{codec}{suffix}"
            run(engine, source, target, codec=codec)
            if suffix == ".mp4":
                with av.open(str(target)) as container:
                    dts = [packet.dts for packet in container.demux(video=0) if packet.size]
                assert all(earlier < later for earlier, later in pairwise(dts))
    assert frame_times(tmp_path / "h264.mp4") == [Fraction(pts - 1, 90_000) for pts in accumulate(steps)]


def test_segments_join_without_a_seam(engine: Upscaler, tmp_path: Path) -> None:
    """Every frame decodes to what its segment alone decodes to, and audio is untouched."""
    source = clip(tmp_path / "in.mp4", frames=FRAMES, audio=["aac"])
    cut(engine, source, tmp_path / "out.mp4", 21)
    alone = []
    for path in sorted(job_folder.folder_of(tmp_path / "out.mp4").glob("segment-*.mp4")):
        with av.open(str(path)) as container:
            alone += [frame.to_ndarray() for frame in container.decode(video=0)]
    run(engine, source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        joined = [frame.to_ndarray() for frame in container.decode(video=0)]
    assert len(alone) == 21 and len(joined) == FRAMES
    assert all(np.array_equal(one, other) for one, other in zip(alone, joined[:21], strict=True))
    assert audio_packets(tmp_path / "out.mp4") == audio_packets(source)


def changed_source(source: Path) -> dict[str, object]:
    content = source.read_bytes()
    source.write_bytes(content)
    os.utime(source, ns=(1, 1))
    return {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (changed_source, "modification time of the source"),
        (lambda _: {"crf": 30}, "crf was 18 and is 30"),
        (lambda _: {"frames": 20}, "option frames was None and is 20"),
    ],
)
def test_what_does_not_match_is_begun_anew(
    engine: Upscaler, tmp_path: Path, change: object, reason: str
) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    cut(engine, source, tmp_path / "out.mp4", 15)
    options = change(source)
    _, notes, seen = run(engine, source, tmp_path / "out.mp4", **options)
    assert any(note.startswith("restarting") for note in notes)
    assert any(re.search(reason, note) for note in notes), notes
    assert seen[0].done == 1
    run(engine, source, tmp_path / "whole.mp4", **options)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.parametrize(
    ("part", "name", "value", "reason"),
    [
        ("fingerprint", "hash of the weights", "0", "hash of the weights was 0"),
        ("execution", "device", "Difference Engine", "device was Difference Engine and is"),
    ],
)
def test_changed_weights_and_another_machine_begin_anew(
    engine: Upscaler, tmp_path: Path, part: str, name: str, value: str, reason: str
) -> None:
    source = clip(tmp_path / "in.mp4", frames=LENGTH + 1)
    cut(engine, source, tmp_path / "out.mp4", LENGTH)
    path = job_folder.folder_of(tmp_path / "out.mp4") / "job.json"
    manifest = json.loads(path.read_text())
    assert name in manifest[part]
    manifest[part][name] = value
    path.write_text(json.dumps(manifest))
    _, notes, seen = run(engine, source, tmp_path / "out.mp4")
    assert any(note.startswith("restarting") and reason in note for note in notes), notes
    assert seen[0].done == 1


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("precision", "fp16", "precision was fp16 and is fp32"),
        ("runtime, x2", "steam", "runtime was steam"),
        ("threads", 5000, "5000 threads"),
    ],
)
def test_an_execution_that_is_impossible_here_is_refused(
    engine: Upscaler, name: str, value: object, reason: str
) -> None:
    plan = engine.plan(48, 64)
    execution = engine.execution(plan)
    with engine.restored_execution(execution, plan):
        pass
    with pytest.raises(DeviceError, match=reason), engine.restored_execution(execution | {name: value}, plan):
        pass


def test_the_execution_of_the_earlier_run_is_followed(tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    before = Upscaler("fast", 2, precision="fp32")
    before._network(2).max_batch_px = 1000  # as if memory had run out
    cut(before, source, tmp_path / "out.mp4", 15)
    if (os.cpu_count() or 1) > 1:
        torch.set_num_threads(2)
    threads = torch.get_num_threads()
    after = Upscaler("fast", 2, precision="fp32")
    done, _, _ = run(after, source, tmp_path / "out.mp4")
    assert done.video is not None and done.video.settings["max pixels per batch, x2"] == 1000
    assert done.video.settings["threads"] == 1
    # The next file of the batch does not inherit it.
    assert after._network(2).max_batch_px > 1000
    assert torch.get_num_threads() == threads


def test_a_resumed_video_changes_nothing_for_the_next_file_of_a_batch(tmp_path: Path) -> None:
    """One engine serves a batch: what the resumed video needs must not reach the still after it."""
    video, still = clip(tmp_path / "a.mp4", frames=FRAMES), tmp_path / "b.png"
    Image.fromarray(photograph(48, 64)).save(still)
    before = Upscaler("fast", 2, precision="fp32")
    before._network(2).max_batch_px = 1000  # as if memory had run out
    cut(before, video, tmp_path / "out" / "a.mp4", 15)

    options = Options(output=tmp_path / "out", model="fast", scale=2, precision="fp32")
    batch = Batch([video, still], options)
    threads = torch.get_num_threads() + 1
    torch.set_num_threads(threads)
    engine = batch.engines["video"]
    assert engine is batch.engines["still"]
    executions: dict[str, dict[str, str | int]] = {}
    for job in batch.job_list.jobs:

        def note(_progress: Progress, kind: str = job.kind) -> None:
            executions[kind] = engine.execution(engine.plan(48, 64))

        result = batch.run(job, note, lambda _: None)
        assert result.outcome == "done", result.error_line
    assert (executions["video"]["max pixels per batch, x2"], executions["video"]["threads"]) == (
        1000,
        threads - 1,
    )
    fresh = Upscaler("fast", 2, precision="fp32")
    assert executions["still"] == fresh.execution(fresh.plan(48, 64))
    assert executions["still"]["threads"] == threads


@pytest.mark.parametrize("error", [CutError, KeyboardInterrupt])
def test_a_resumed_video_that_is_cut_off_again_restores_the_engine(
    tmp_path: Path, error: type[BaseException]
) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    before = Upscaler("fast", 2, precision="fp32")
    before._network(2).max_batch_px = 1000
    cut(before, source, tmp_path / "out.mp4", 8)
    engine = Upscaler("fast", 2, precision="fp32")
    whole = engine.execution(engine.plan(48, 64))

    def stop(_progress: Progress) -> None:
        assert engine._network(2).max_batch_px == 1000
        raise error

    with pytest.raises(error):
        pipeline.upscale_video(
            Job(source, tmp_path / "out.mp4", "video"), engine, VideoOptions(), stop, lambda _: None
        )
    assert engine.execution(engine.plan(48, 64)) == whole


def test_an_earlier_run_that_was_compiled_goes_on_compiled(
    engine: Upscaler, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = engine.plan(48, 64)
    compiled = engine.execution(plan) | {"runtime, x2": "compiled"}
    monkeypatch.setattr(devices, "has_compiler", lambda: False)
    with pytest.raises(DeviceError, match="no C\\+\\+ compiler"), engine.restored_execution(compiled, plan):
        pass
    monkeypatch.setattr(devices, "has_compiler", lambda: True)
    monkeypatch.setattr(torch, "compile", lambda network, dynamic: network)
    with engine.restored_execution(compiled, plan):
        assert engine.execution(plan)["runtime, x2"] == "compiled"
    assert engine.execution(plan)["runtime, x2"] == "eager"


def test_batches_end_at_a_segments_border(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    engine = Upscaler("fast", 2, precision="fp32", batch=4)
    whole, sizes = engine.upscale_flagged, []

    def noted(rgb: Tensor, *rest: object, **named: object) -> tuple[Tensor, Tensor]:
        sizes.append(len(rgb))
        return whole(rgb, *rest, **named)

    monkeypatch.setattr(engine, "upscale_flagged", noted)
    run(engine, source, tmp_path / "whole.mp4")
    assert sizes == [4, 3, 4, 3, 4, 3, 3]
    cut(engine, source, tmp_path / "out.mp4", 2 * LENGTH)
    sizes.clear()
    run(engine, source, tmp_path / "out.mp4")
    assert sizes == [4, 3, 3]
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@pytest.mark.parametrize("damage", ["shorter", "no record", "bad record", "gone"])
def test_a_damaged_segment_is_made_again(engine: Upscaler, tmp_path: Path, damage: str) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    run(engine, source, tmp_path / "whole.mp4")
    cut(engine, source, tmp_path / "out.mp4", 22)
    second = job_folder.folder_of(tmp_path / "out.mp4") / "segment-000001.mp4"
    record = second.with_suffix(".json")
    if damage == "shorter":
        second.write_bytes(second.read_bytes()[:-1])
    elif damage == "bad record":
        record.write_text("{")
    else:
        (record if damage == "no record" else second).unlink()
    _, notes, _ = run(engine, source, tmp_path / "out.mp4")
    assert any("resuming after 7 frames" in note for note in notes)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_no_resume_begins_anew(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    cut(engine, source, tmp_path / "out.mp4", 15)
    _, notes, seen = run(engine, source, tmp_path / "out.mp4", resume=False)
    assert seen[0].done == 1 and not any("resuming" in note or "restarting" in note for note in notes)
    assert not job_folder.folder_of(tmp_path / "out.mp4").exists()


def test_streams_may_be_chosen_anew_when_resuming(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES, audio=["aac"])
    cut(engine, source, tmp_path / "out.mp4", 15)
    _, notes, _ = run(engine, source, tmp_path / "out.mp4", audio=False)
    assert any("resuming after 14 frames" in note for note in notes)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams) == 1


def test_a_folder_that_is_not_ours_is_left_alone(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    folder = job_folder.folder_of(tmp_path / "out.mp4")
    folder.mkdir()
    (folder / "diary.txt").write_text("precious")
    with pytest.raises(MediaError, match="is not a job folder"):
        run(engine, source, tmp_path / "out.mp4")
    assert (folder / "diary.txt").read_text() == "precious"
    file = job_folder.folder_of(tmp_path / "other.mp4")
    file.write_text("precious")
    with pytest.raises(MediaError, match="already exists"):
        run(engine, source, tmp_path / "other.mp4")
    assert file.read_text() == "precious"


def test_a_file_put_into_a_job_folder_survives(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    cut(engine, source, tmp_path / "out.mp4", 15)
    diary = job_folder.folder_of(tmp_path / "out.mp4") / "diary.txt"
    diary.write_text("precious")
    run(engine, source, tmp_path / "out.mp4")
    assert list(diary.parent.iterdir()) == [diary]


def test_one_job_at_a_time(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    with job_folder.JobFolder(tmp_path / "out.mp4") as folder:
        with pytest.raises(MediaError, match="another upscale is writing"):
            run(engine, source, tmp_path / "out.mp4")
        assert folder.path.exists()
    run(engine, source, tmp_path / "out.mp4")


class Container:
    """An output on a disk with room for so many packets; av's own class cannot be patched."""

    def __init__(self, container: OutputContainer, room: int) -> None:
        self._container = container
        self._room = room

    def __getattr__(self, name: str) -> object:
        return getattr(self._container, name)

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def mux(self, packet: object) -> None:
        self._room -= 1
        if self._room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._container.mux(packet)


@pytest.mark.parametrize(("module", "room", "kept"), [(segment_writer, 3, 0), (mux, 17, 4)])
def test_a_full_disk_is_told_and_the_segments_are_kept(
    engine: Upscaler,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    module: ModuleType,
    room: int,
    kept: int,
) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    run(engine, source, tmp_path / "whole.mp4")
    if not kept:
        cut(engine, source, tmp_path / "out.mp4", 15)
        kept = 2

    def limited(path: str, mode: str = "r", **options: object) -> object:
        container = av.open(path, mode, **options)
        return Container(container, room) if mode == "w" else container

    with monkeypatch.context() as patched:
        patched.setattr(module, "av", SimpleNamespace(open=limited))
        messages = Messages()
        with pytest.raises(MediaError, match="no space left on the disk"):
            run(engine, source, tmp_path / "out.mp4", messages=messages)
    assert f"{kept} segments are kept" in messages[-1]
    names = [path.name for path in job_folder.folder_of(tmp_path / "out.mp4").glob("*.mp4")]
    assert sorted(names) == [f"segment-{number:06}.mp4" for number in range(kept)]
    _, notes, _ = run(engine, source, tmp_path / "out.mp4")
    assert any(f"resuming after {min(kept * LENGTH, FRAMES)} frames" in note for note in notes)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_a_run_killed_after_its_last_rename_is_finished_by_the_same_command(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=10)
    target = tmp_path / "out.mp4"
    options = Options(output=target)
    publish = job_folder.JobFolder.publish

    def killed(self: job_folder.JobFolder, merged: Path) -> None:
        publish(self, merged)
        raise CutError

    with monkeypatch.context() as patched:
        patched.setattr(job_folder.JobFolder, "publish", killed)
        with pytest.raises(CutError):
            run(engine, source, target)
    before = target.read_bytes()
    assert jobs.plan([source], options).jobs == [Job(source, target, "video")]
    run(engine, source, target)
    assert target.read_bytes() == before and not job_folder.folder_of(target).exists()
    with pytest.raises(UsageError, match="exists"):
        jobs.plan([source], options)


def test_a_target_of_somebody_else_is_not_taken_for_a_finished_one(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    cut(engine, source, tmp_path / "out.mp4", 15)
    (tmp_path / "out.mp4").write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        jobs.plan([source], Options(output=tmp_path / "out.mp4"))


def test_job_folders_are_no_input(engine: Upscaler, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = clip(tmp_path / "in" / "a.mp4", frames=FRAMES)
    cut(engine, source, tmp_path / "in" / "b.mp4", 15)
    found = jobs.plan([tmp_path / "in"], Options(output=tmp_path / "out"))
    assert [job.source.name for job in found.jobs] == ["a.mp4"]


def test_segments_are_about_a_minute_of_work() -> None:
    frames = segments.frames_per_segment
    segments._FRAMES_MIN, segments._FRAMES_MAX = 120, 1200
    assert frames(1e14, "cpu") == 120
    assert frames(640 * 480 * 52_000, "cpu") == 375
    assert frames(0, "cpu") == frames(1e9, "cuda") == 1200


def command(source: Path, target: Path) -> list[str]:
    return [sys.executable, "-c", UPSCALE, str(source), "-o", str(target), "--scale", "2"]


def kill_and_go_on(tmp_path: Path, *, frames: int, stride: int, number: signal.Signals) -> int:
    """Kill a run every few segments, let the last one end; returns how many kills met one at work.

    Each kill comes a random moment after 1 to ``stride`` further segments are done, the last ones while these
    are joined.
    """
    source, target = clip(tmp_path / "in.mp4", frames=frames, audio=["aac"]), tmp_path / "out.mp4"
    subprocess.run(command(source, tmp_path / "whole.mp4"), check=True, capture_output=True)
    folder, last = job_folder.folder_of(target), -(-frames // LENGTH) - 1
    random = np.random.default_rng(frames)
    killed = done = 0
    while done < last:
        wanted = min(done + int(random.integers(1, stride, endpoint=True)), last)
        process = subprocess.Popen(command(source, target), stderr=subprocess.PIPE, text=True)
        while process.poll() is None and done < wanted:
            time.sleep(0.01)
            done = len(list(folder.glob("segment-*.json")))
        time.sleep(random.uniform(0, 0.05))
        if process.poll() is None:
            process.send_signal(number)
            killed += 1
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said
        if target.exists() and not folder.exists():
            break  # it was done, even if it was killed on its way out
        done = len(list(folder.glob("segment-*.json")))
    else:
        subprocess.run(command(source, target), check=True, capture_output=True)
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4", "whole.mp4"]
    return killed


@pytest.mark.slow
def test_killed_every_few_segments_and_gone_on(tmp_path: Path) -> None:
    assert kill_and_go_on(tmp_path, frames=60, stride=3, number=signal.SIGKILL) > 0


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_again_and_again(tmp_path: Path, number: signal.Signals) -> None:
    for frames in (100, 150):
        folder = tmp_path / str(frames)
        folder.mkdir()
        assert kill_and_go_on(folder, frames=frames, stride=3, number=number) > 1
