"""The job folder: what it keeps, what it leaves alone, and who may use it."""

import errno
import os
from pathlib import Path
from types import ModuleType, SimpleNamespace

import av
import av.logging
import pytest
from av.container import OutputContainer
from support.command import LENGTH
from support.interrupted import FRAMES, CutError, cut, run
from support.media import clip
from support.messages import Messages

from upscaler import jobs
from upscaler.errors import MediaError, UsageError
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job
from upscaler.options import Options
from upscaler.resume import job_folder
from upscaler.video import mux, segment_writer


def test_run_interrupted_before_the_first_segment_leaves_nothing(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    said = cut(engine, source, tmp_path / "out.mp4", LENGTH - 1)
    assert not any("kept" in text for text in said)
    assert [path.name for path in tmp_path.iterdir()] == ["in.mp4"]


def test_folder_or_file_of_somebody_else_is_left_alone(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    folder = job_folder.folder_of(tmp_path / "out.mp4")
    folder.mkdir()
    (folder / "diary.txt").write_text("precious")
    with pytest.raises(MediaError, match="is not a job folder"):
        run(engine, source, tmp_path / "out.mp4")
    assert (folder / "diary.txt").read_text() == "precious"
    file = job_folder.folder_of(tmp_path / "other.mp4")
    file.write_text("precious")
    with pytest.raises(MediaError, match="is a file or a link"):
        run(engine, source, tmp_path / "other.mp4")
    assert file.read_text() == "precious"


def test_file_put_into_a_job_folder_survives(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    cut(engine, source, tmp_path / "out.mp4", 15)
    diary = job_folder.folder_of(tmp_path / "out.mp4") / "diary.txt"
    diary.write_text("precious")
    run(engine, source, tmp_path / "out.mp4")
    assert list(diary.parent.iterdir()) == [diary]


def test_only_one_process_uses_a_job_folder(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    with job_folder.JobFolder(tmp_path / "out.mp4") as folder:
        with pytest.raises(MediaError, match="another upscale is writing"):
            run(engine, source, tmp_path / "out.mp4")
        assert folder.path.exists()
    run(engine, source, tmp_path / "out.mp4")


class Container:
    """An output on a disk with room for this many packets; av's own class cannot be patched."""

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
def test_full_disk_is_reported_and_the_segments_are_kept(
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
        patched.setattr(module, "av", SimpleNamespace(**vars(av) | {"open": limited}))
        messages = Messages()
        with pytest.raises(MediaError, match="no space left on the disk"):
            run(engine, source, tmp_path / "out.mp4", messages=messages)
    assert f"kept {kept} segments in" in messages[-1]
    names = [path.name for path in job_folder.folder_of(tmp_path / "out.mp4").glob("*.mp4")]
    assert sorted(names) == [f"segment-{number:06}.mp4" for number in range(kept)]
    _, notes, _ = run(engine, source, tmp_path / "out.mp4")
    assert any(f"resuming after {min(kept * LENGTH, FRAMES)} frames" in note for note in notes)
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()


def test_run_killed_after_its_last_rename_is_finished_by_the_same_command(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = clip(tmp_path / "in.mp4", frames=10)
    target = tmp_path / "out.mp4"
    options = Options(output=target)
    publish = job_folder.JobFolder.publish

    def killed(self: job_folder.JobFolder, merged: Path, **options: bool) -> None:
        publish(self, merged, **options)
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


def test_run_killed_while_it_removes_its_folder_is_done(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever it was killed, the target is complete and the next command removes the rest."""
    source, target = clip(tmp_path / "in.mp4", frames=10), tmp_path / "out.mp4"
    unlink, left = Path.unlink, iter(range(3))

    def killed(path: Path, missing_ok: bool = False) -> None:
        if ".removing" in path.parent.name and next(left, None) is None:
            raise CutError
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", killed)
        with pytest.raises(CutError):
            run(engine, source, target)
    assert not job_folder.folder_of(target).exists()
    assert sum(1 for _ in tmp_path.iterdir()) == 4  # source, target, what is left of the folder, its lock
    with pytest.raises(UsageError, match="exists"):
        jobs.plan([source], Options(output=target))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4"]


def test_target_of_somebody_else_is_not_taken_for_a_finished_one(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    cut(engine, source, tmp_path / "out.mp4", 15)
    (tmp_path / "out.mp4").write_text("precious")
    with pytest.raises(UsageError, match="exists"):
        jobs.plan([source], Options(output=tmp_path / "out.mp4"))


def test_job_folders_are_not_inputs(engine: Upscaler, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    source = clip(tmp_path / "in" / "a.mp4", frames=FRAMES)
    cut(engine, source, tmp_path / "in" / "b.mp4", 15)
    found = jobs.plan([tmp_path / "in"], Options(output=tmp_path / "out"))
    assert [job.source.name for job in found.jobs] == ["a.mp4"]


@pytest.mark.parametrize(
    ("error", "hint"),
    [(av.error.InvalidDataError(1, "planted"), False), (av.error.OSError(errno.EIO, "planted"), True)],
    ids=["a stream that cannot be merged", "a disk that fails"],
)
def test_the_hint_to_rerun_is_given_only_where_that_may_help(
    engine: Upscaler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, hint: bool
) -> None:
    def failing(*_: object, **__: object) -> None:
        raise error

    source = clip(tmp_path / "in.mp4", frames=FRAMES)
    monkeypatch.setattr(mux, "_mux", failing)
    messages = Messages()
    with pytest.raises(MediaError, match="cannot merge") as raised:
        run(engine, source, tmp_path / "out.mp4", messages=messages)
    assert messages[-1].startswith("kept 4 segments in")
    assert ("rerun the same command" in messages[-1]) == hint
    assert ("--no-audio" in str(raised.value)) != hint
