"""What a worker does with a group of jobs: the files of a plain run, and events for the driver."""

import os
from pathlib import Path

import pytest
from support.media import clip, save

from upscaler import jobs, upscale
from upscaler.batch.task_runner import TaskRunner
from upscaler.executors.local_processes import Place
from upscaler.executors.tasks import Advanced, Event, GroupDone, JobEnded, JobGroup, Said
from upscaler.options import Options


def test_a_group_is_done_as_a_plain_run_does_it(tmp_path: Path, tiny_weights: Path) -> None:
    for name in ("a.png", "b.png"):
        save(tmp_path / "in" / name, 16, 24)
    (tmp_path / "in" / "bad.png").write_bytes(b"\x89PNG\r\n\x1a\n damaged")
    clip(tmp_path / "in" / "c.mkv", frames=2)
    upscale(tmp_path / "in", tmp_path / "plain", model=tiny_weights, device="cpu")
    options = Options(output=tmp_path / "out", model=tiny_weights, device="cuda:7")
    group = JobGroup(tuple(jobs.plan([tmp_path / "in"], options).jobs), options)
    runner, events = TaskRunner(Place("worker 1", "cpu", 1)), list[Event]()
    done = runner.run(group, events.append)
    assert isinstance(done, GroupDone) and done.worker == "worker 1"
    assert [each.outcome for each in done.ended] == ["done", "done", "failed", "done"]
    assert [each for each in events if isinstance(each, JobEnded)] == list(done.ended)
    assert {each.job for each in events if isinstance(each, Advanced)} == {0, 1, 3}
    assert any(isinstance(each, Said) and "24x16 -> 48x32" in each.message.text for each in events)
    failure = done.ended[2].failure
    assert failure and failure.kind == "MediaError" and "bad.png" in failure.message
    for name in ("a.png", "b.png"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()
    assert sorted(os.listdir(tmp_path / "out")) == ["a.png", "b.png", "c.mkv"]


def test_engines_stay_loaded(tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "a.png", 16, 24)
    runner = TaskRunner(Place("worker 1", "cpu", 1))
    loaded: list[object] = []
    from upscaler.batch import batch

    real = batch.Upscaler
    monkeypatch.setattr(batch, "Upscaler", lambda **options: loaded.append(options) or real(**options))
    for name in ("b.png", "c.png"):
        options = Options(output=tmp_path / name, model=tiny_weights)
        runner.run(JobGroup(tuple(jobs.plan([tmp_path / "a.png"], options).jobs), options), lambda _: None)
    assert len(loaded) == 1 and (tmp_path / "c.png").exists()
