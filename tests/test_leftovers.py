"""Hidden files of killed runs are removed by the next run; those of a run that still works are not."""

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from support.command import files_below, run
from support.file_systems import without_folder_sync
from support.makers import Configure
from support.media import save
from support.training import messages

from upscaler import atomic
from upscaler.resume import job_folder
from upscaler.resume.job_folder import JobFolder
from upscaler.trainer.run.run_folder import RunFolder
from upscaler.trainer.stages.distributed import World

without_locks = pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be removed there")
FOREIGN = [".a.part", ".0123456.part.png", ".b.0123456x.part.png", "c.01234567.part.png", ".d.png"]
WRITER = """
import os, sys
from pathlib import Path
from upscaler import atomic
with atomic.replacing(Path(sys.argv[1])) as partial:
    partial.write_bytes(b"half")
    print("writes", flush=True)
    sys.stdin.read()
"""


@contextmanager
def writer(target: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that is writing a file; killed at the end of the block, if it still is there."""
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(target)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdin and process.stdout
    with process:
        assert process.stdout.readline() == "writes\n"
        yield process
        process.kill()


def leave(folder: Path) -> None:
    """What killed runs leave, and files of others with like names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in (".a_x2.01234567.part.png", ".01234567.part", *FOREIGN):
        (folder / name).touch()


def test_what_a_killed_process_was_writing_is_removed_and_nothing_else(tmp_path: Path) -> None:
    leave(tmp_path)
    with writer(tmp_path / "a.png") as other:
        atomic.remove_leftovers(tmp_path)
        assert len(files_below(tmp_path)) == len(FOREIGN) + 1, "it is still being written"
        other.kill()
        other.wait()
        atomic.remove_leftovers(tmp_path)
        assert files_below(tmp_path) == sorted(FOREIGN)


def test_a_file_that_is_held_gets_its_name(tmp_path: Path) -> None:
    with atomic.replacing(tmp_path / "a.png") as partial:
        partial.write_bytes(b"whole")
        atomic.remove_leftovers(tmp_path)
    assert (tmp_path / "a.png").read_bytes() == b"whole"
    atomic.remove_leftovers(tmp_path)
    assert files_below(tmp_path) == ["a.png"]


@without_locks
def test_a_file_that_is_taken_for_a_leftover_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")
    lock = fcntl.flock

    def lock_too_late(descriptor: int, operation: int) -> None:
        monkeypatch.setattr(fcntl, "flock", lock)
        atomic.remove_leftovers(tmp_path)
        lock(descriptor, operation)

    monkeypatch.setattr(fcntl, "flock", lock_too_late)
    with atomic.replacing(tmp_path / "a.png") as partial:
        partial.write_bytes(b"whole")
        assert partial.exists()
    assert files_below(tmp_path) == ["a.png"]


@without_locks
def test_without_locks_files_are_written_and_nothing_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_descriptor: int, _operation: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(pytest.importorskip("fcntl"), "flock", fail)
    leave(tmp_path)
    before = files_below(tmp_path)
    with atomic.replacing(tmp_path / "a.png"):
        atomic.remove_leftovers(tmp_path)
    assert files_below(tmp_path) == sorted([*before, "a.png"])


def test_links_and_folders_of_such_a_name_stay(tmp_path: Path) -> None:
    (tmp_path / ".a.01234567.part.png").symlink_to(tmp_path / "precious")
    (tmp_path / "precious").write_text("kept")
    (tmp_path / ".b.01234567.part.png").mkdir()
    atomic.remove_leftovers(tmp_path)
    assert len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("skip_existing", [False, True])
def test_upscale_removes_them_from_the_folders_of_its_targets(
    tmp_path: Path, tiny_weights: Path, skip_existing: bool
) -> None:
    source = save(tmp_path / "in" / "below" / "a.png", 16, 16)
    leave(tmp_path / "out" / "below")
    if skip_existing:
        save(tmp_path / "out" / "below" / "a.png")
    options = ["-o", tmp_path / "out", "--model", tiny_weights, *["--skip-existing"] * skip_existing]
    run(source.parents[1], *options, "--dry-run")
    assert (tmp_path / "out" / "below" / ".01234567.part").exists(), "a dry run changes nothing"
    run(source.parents[1], *options)
    assert files_below(tmp_path / "out" / "below") == sorted([*FOREIGN, "a.png"])


def test_a_job_folder_is_removed_with_what_a_killed_run_left_in_it(tmp_path: Path) -> None:
    kept = job_folder.folder_of(tmp_path / "out.mp4")
    kept.mkdir()
    for name in ("job.json", ".01234567.part"):  # the latter is of a run that was killed as it began
        (kept / name).touch()
    with JobFolder(tmp_path / "out.mp4"):
        pass
    assert not list(tmp_path.iterdir())


def test_upscale_train_removes_them_beside_its_weights_and_in_its_folder(configure: Configure) -> None:
    config = configure(stages="1,2")
    folder, name = Path(config.output).parent, Path(config.output).stem
    of_others = [f"{name}2.safetensors.part", *FOREIGN]
    before = sorted([*files_below(folder), *of_others])
    leave(folder)
    leave(folder / f"{name}.run")
    weights = [f"{name}{end}.part" for end in (".safetensors", ".md", "-stage1.safetensors")]
    for each in (*weights, *of_others, f"{name}.run/state.pt.part"):
        (folder / each).touch()
    with RunFolder(config, World(torch.device("cpu"))).locked(restart=False):
        pass
    assert [each for each in files_below(folder) if f"{name}.run" not in each] == before
    in_run = [path.name for path in (folder / f"{name}.run").iterdir()]
    assert sorted(in_run) == sorted(set(FOREIGN) - {".a.part"})


def test_folders_that_cannot_be_synced_are_named(
    tmp_path: Path, tiny_weights: Path, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_folder_sync(monkeypatch)
    line = "cannot be synced: after a power cut, the last files may be missing from it"
    source, new = save(tmp_path / "a.png", 16, 16), tmp_path / "new" / "a.png"
    said = run(source, "-o", new, "--model", tiny_weights)
    assert said.count(line) == 1 and f"'{tmp_path}' {line}" in said
    assert new.exists()
    assert [line in text for text in messages(configure(steps=1))].count(True) == 1
