"""How an interrupted video continues: with the same bytes, or from the start if anything differs."""

import json
import os
import re
from contextlib import AbstractContextManager
from itertools import accumulate
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from PIL import Image
from support.command import LENGTH
from support.interrupted import FRAMES, CutError, cut, run
from support.media import clip
from support.networks import network_of
from support.pictures import photograph

from upscaler import pipeline, video_pipeline
from upscaler.batch.batch import Batch
from upscaler.batch.observer import Observer
from upscaler.batch.result import Result
from upscaler.errors import DeviceError
from upscaler.inference import devices
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.jobs import Job
from upscaler.options import Options, VideoOptions
from upscaler.results import Progress
from upscaler.resume import job_folder


def test_only_selected_frames_decide_whether_compiling_pays(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    prepared = engine.prepared

    def noted(plan: Plan, height: int, width: int, frames: int) -> AbstractContextManager[None]:
        counts.append(frames)
        return prepared(plan, height, width, frames)

    monkeypatch.setattr(engine, "prepared", noted)
    run(engine, clip(tmp_path / "in.mp4", frames=20), tmp_path / "out.mp4", frames=3)
    assert counts == [3]


@pytest.mark.parametrize("codec", ["h264", "hevc", "vp9", "av1"])
def test_resumed_run_writes_the_same_bytes(engine: Upscaler, tmp_path: Path, codec: str) -> None:
    pts = list(accumulate(np.random.default_rng(1).integers(1, 9000, FRAMES).tolist()))
    source = clip(tmp_path / "in.mp4", pts=pts, audio=["aac"])
    run(engine, source, tmp_path / "whole.mp4", codec=codec)
    kept = cut(engine, source, tmp_path / "out.mp4", 10, codec=codec)
    assert "kept 1 segment in" in kept[-1]
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
def test_resumed_run_writes_the_same_packets(engine: Upscaler, tmp_path: Path, suffix: str) -> None:
    source = clip(tmp_path / "in.mkv", frames=FRAMES, audio=["libopus"])
    run(engine, source, tmp_path / f"whole{suffix}")
    cut(engine, source, tmp_path / f"out{suffix}", 15)
    run(engine, source, tmp_path / f"out{suffix}")
    result = []
    for name in ("whole", "out"):
        with av.open(str(tmp_path / f"{name}{suffix}")) as container:
            result.append(
                [(p.stream.index, p.pts, p.dts, p.duration, bytes(p)) for p in container.demux() if p.size]
            )
    assert result[0] == result[1]


def test_run_that_was_interrupted_while_merging_only_merges(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=2 * LENGTH)
    run(engine, source, tmp_path / "whole.mp4")
    with monkeypatch.context() as patched:
        patched.setattr(video_pipeline.mux, "merge", lambda *_, **__: (_ for _ in ()).throw(CutError))
        with pytest.raises(CutError):
            run(engine, source, tmp_path / "out.mp4")
    done, _, seen = run(engine, source, tmp_path / "out.mp4")
    assert seen == [] and done.frames == 2 * LENGTH
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def touch_source(source: Path) -> dict[str, object]:
    content = source.read_bytes()
    source.write_bytes(content)
    os.utime(source, ns=(1, 1))
    return {}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (touch_source, "modification time of the source"),
        (lambda _: {"crf": 30}, "crf was 18 and is 30"),
        (lambda _: {"frames": 20}, "option frames was None and is 20"),
    ],
)
def test_run_with_another_fingerprint_restarts(
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
        ("execution", "threads", "many", "cannot be read"),
    ],
)
def test_other_weights_or_another_machine_restart(
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
        ("threads", "many", "cannot be read"),
        ("max pixels per batch, x2", None, "cannot be read"),
    ],
)
def test_impossible_execution_is_rejected(engine: Upscaler, name: str, value: object, reason: str) -> None:
    plan = engine.plan(48, 64)
    execution = engine.execution(plan)
    with engine.restored_execution(execution, plan):
        pass
    with pytest.raises(DeviceError, match=reason), engine.restored_execution(execution | {name: value}, plan):
        pass


def test_execution_of_the_earlier_run_is_restored(tiny_weights: Path, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    before = Upscaler(tiny_weights, 2, precision="fp32")
    network_of(before, 2).max_batch_px = 1000  # as if memory had run out
    cut(before, source, tmp_path / "out.mp4", 15)
    if (os.cpu_count() or 1) > 1:
        torch.set_num_threads(2)
    threads = torch.get_num_threads()
    after = Upscaler(tiny_weights, 2, precision="fp32")
    done, _, _ = run(after, source, tmp_path / "out.mp4")
    assert done.video is not None and done.video.settings["max pixels per batch, x2"] == 1000
    assert done.video.settings["threads"] == 1
    # The next file of the batch does not inherit it.
    assert network_of(after, 2).max_batch_px > 1000
    assert torch.get_num_threads() == threads


def test_resumed_video_changes_nothing_for_the_next_file_of_a_batch(
    tiny_weights: Path, tmp_path: Path
) -> None:
    """One engine serves a batch: what the resumed video needs must not reach the still after it."""
    video, still = clip(tmp_path / "a.mp4", frames=FRAMES), tmp_path / "b.png"
    Image.fromarray(photograph(48, 64)).save(still)
    before = Upscaler(tiny_weights, 2, precision="fp32")
    network_of(before, 2).max_batch_px = 1000  # as if memory had run out
    cut(before, video, tmp_path / "out" / "a.mp4", 15)

    options = Options(output=tmp_path / "out", model=tiny_weights, scale=2, precision="fp32")
    with Batch([video, still], options) as batch:
        threads = torch.get_num_threads() + 1
        torch.set_num_threads(threads)
        engine = batch.engines["video"]
        assert engine is batch.engines["still"]
        executions: dict[str, dict[str, str | int]] = {}

        class Notes(Observer):
            def progress(self, job: Job, progress: Progress) -> None:
                executions[job.kind] = engine.execution(engine.plan(48, 64))

            def end(self, result: Result) -> None:
                assert result.outcome == "done", result.error_line

        batch.run(Notes())
    assert (executions["video"]["max pixels per batch, x2"], executions["video"]["threads"]) == (
        1000,
        threads - 1,
    )
    fresh = Upscaler(tiny_weights, 2, precision="fp32")
    assert executions["still"] == fresh.execution(fresh.plan(48, 64))
    assert executions["still"]["threads"] == threads


@pytest.mark.parametrize("error", [CutError, KeyboardInterrupt])
def test_resumed_video_that_is_interrupted_again_restores_the_engine(
    tiny_weights: Path, tmp_path: Path, error: type[BaseException]
) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    before = Upscaler(tiny_weights, 2, precision="fp32")
    network_of(before, 2).max_batch_px = 1000
    cut(before, source, tmp_path / "out.mp4", 8)
    engine = Upscaler(tiny_weights, 2, precision="fp32")
    whole = engine.execution(engine.plan(48, 64))

    def stop(_progress: Progress) -> None:
        assert network_of(engine, 2).max_batch_px == 1000
        raise error

    with pytest.raises(error):
        pipeline.upscale_video(
            Job(source, tmp_path / "out.mp4", "video"), engine, VideoOptions(), stop, lambda _: None
        )
    assert engine.execution(engine.plan(48, 64)) == whole


def test_compiled_run_resumes_compiled(engine: Upscaler, monkeypatch: pytest.MonkeyPatch) -> None:
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


@pytest.mark.parametrize("damage", ["shorter", "no record", "bad record", "gone"])
def test_damaged_segment_is_encoded_again(engine: Upscaler, tmp_path: Path, damage: str) -> None:
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
    assert any("resuming after 14 frames" in note for note in notes)  # the first and the third segment
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_no_resume_restarts_without_a_message(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    cut(engine, source, tmp_path / "out.mp4", 15)
    _, notes, seen = run(engine, source, tmp_path / "out.mp4", resume=False)
    assert seen[0].done == 1 and not any("resuming" in note or "restarting" in note for note in notes)
    assert not job_folder.folder_of(tmp_path / "out.mp4").exists()


def test_other_streams_may_be_selected_when_resuming(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES, audio=["aac"])
    cut(engine, source, tmp_path / "out.mp4", 15)
    _, notes, _ = run(engine, source, tmp_path / "out.mp4", audio=False)
    assert any("resuming after 14 frames" in note for note in notes)
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert len(container.streams) == 1


@pytest.mark.parametrize(
    "options",
    [{"deinterlace": "bob"}, {"deinterlace": "ivtc"}, {"crop": "auto"}, {"crop": "64:48:10:4"}],
    ids=str,
)
def test_new_frames_and_cropped_ones_resume(
    engine: Upscaler, tmp_path: Path, options: dict[str, object]
) -> None:
    """Where frames are doubled or left out, a run continues inside a cycle; bars are found again."""
    step = 1001 * 3 if options.get("deinterlace") == "ivtc" else 3600
    pts = [step * index for index in range(FRAMES)]
    # The output has 128x96 pixels: of many smaller sizes, x264 varies by itself.
    height, width = (56, 80) if options.get("crop") == "64:48:10:4" else (48, 64)
    source = clip(tmp_path / "in.mp4", pts=pts, height=height, width=width)
    run(engine, source, tmp_path / "whole.mp4", **options)
    cut(engine, source, tmp_path / "out.mp4", 2 * LENGTH, **options)
    _, messages, _ = run(engine, source, tmp_path / "out.mp4", **options)
    assert f"resuming after {2 * LENGTH} frames of an earlier run" in messages
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
