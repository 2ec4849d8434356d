"""A job folder that somebody else has prepared: no link is followed, nothing foreign is used."""

import json
import os
import shutil
import sys
from pathlib import Path

import pytest
from support.command import LENGTH
from support.interrupted import FRAMES, cut, run
from support.media import clip

from upscaler import atomic, jobs
from upscaler.errors import MediaError, UsageError
from upscaler.inference.engine import Upscaler
from upscaler.options import Options
from upscaler.resume import job_folder
from upscaler.system import own_files
from upscaler.system.folder_lock import lock_file_of
from upscaler.video import segments
from upscaler.video.segments import closed_segments

needs_links = pytest.mark.skipif(sys.platform == "win32", reason="links take a privilege on Windows")
needs_root = pytest.mark.skipif(
    getattr(os, "geteuid", lambda: 1)() != 0, reason="only the superuser can give files away"
)
OTHER_USER = 12345


@pytest.fixture(scope="module")
def prepared(engine: Upscaler, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a source, what becomes of it, and the job folder that an interrupted run has left."""
    folder = tmp_path_factory.mktemp("prepared")
    source = clip(folder / "in.mp4", frames=FRAMES)
    with pytest.MonkeyPatch.context() as patched:  # as in conftest.py, for each test
        patched.setattr(segments, "_FRAMES_MIN", LENGTH)
        patched.setattr(segments, "_FRAMES_MAX", LENGTH)
        run(engine, source, folder / "whole.mp4")
        cut(engine, source, folder / "out.mp4", 15)
    return folder


@pytest.fixture
def interrupted(prepared: Path, tmp_path: Path) -> tuple[Path, Path, Path]:
    """A copy of these: the source, the target, and the job folder."""
    shutil.copytree(prepared, tmp_path, dirs_exist_ok=True)
    return tmp_path / "in.mp4", tmp_path / "out.mp4", job_folder.folder_of(tmp_path / "out.mp4")


@needs_links
@pytest.mark.parametrize(
    "name",
    [
        "job.json",
        "job.json.part",
        "finished.json.part",
        "merged.mp4",
        "segment-000000.json",
        "segment-000000.mp4",
        "segment-000002.part.mp4",
        "segment-000002.json.part",
    ],
)
def test_links_in_the_folder_are_not_followed(
    engine: Upscaler, interrupted: tuple[Path, Path, Path], tmp_path: Path, name: str
) -> None:
    source, target, folder = interrupted
    victim = tmp_path / "victim"
    link = folder / name
    content = link.read_bytes() if link.exists() else b"precious"
    victim.write_bytes(content)
    link.unlink(missing_ok=True)
    link.symlink_to(victim)
    run(engine, source, target)
    assert victim.read_bytes() == content
    assert target.is_file()
    assert not target.is_symlink()
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@needs_links
def test_the_folder_itself_is_no_link(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "merged.mp4").write_text("precious")
    job_folder.folder_of(tmp_path / "out.mp4").symlink_to(elsewhere)
    with pytest.raises(MediaError, match="is a file or a link"):
        run(engine, source, tmp_path / "out.mp4")
    (tmp_path / "out.mp4.removing.upscaling").symlink_to(elsewhere)
    job_folder.remove_leftovers(tmp_path / "out.mp4")
    assert [path.name for path in elsewhere.iterdir()] == ["merged.mp4"]


@needs_root
def test_folder_of_another_user_is_refused(engine: Upscaler, tmp_path: Path) -> None:
    source = clip(tmp_path / "in.mp4", frames=3)
    folder = job_folder.folder_of(tmp_path / "out.mp4")
    folder.mkdir()
    os.chown(folder, OTHER_USER, OTHER_USER)
    with pytest.raises(MediaError, match="belongs to another user"):
        run(engine, source, tmp_path / "out.mp4")
    assert list(folder.iterdir()) == []


@needs_root
@pytest.mark.parametrize(
    ("name", "used"), [("job.json", 0), ("segment-000000.json", LENGTH), ("segment-000000.mp4", LENGTH)]
)
def test_files_of_another_user_are_not_used(
    engine: Upscaler, interrupted: tuple[Path, Path, Path], name: str, used: int
) -> None:
    source, target, folder = interrupted
    os.chown(folder / name, OTHER_USER, OTHER_USER)
    done, _, _ = run(engine, source, target)
    assert done.video is not None and done.video.frames_resumed == used  # of the second segment
    assert target.is_file()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no modes")
def test_only_the_owner_may_use_the_folder(interrupted: tuple[Path, Path, Path]) -> None:
    _, target, folder = interrupted
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o777)
    with job_folder.JobFolder(target):
        assert folder.stat().st_mode & 0o777 == 0o700


def test_a_segment_that_was_changed_is_made_again(
    engine: Upscaler, interrupted: tuple[Path, Path, Path], tmp_path: Path
) -> None:
    source, target, folder = interrupted
    segment = folder / "segment-000001.mp4"
    content = bytearray(segment.read_bytes())
    content[len(content) // 2] ^= 1  # the size stays
    segment.write_bytes(content)
    assert len(closed_segments(folder)) == 1
    _, messages, _ = run(engine, source, target)
    assert f"resuming after {LENGTH} frames of an earlier run" in messages
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()


@needs_links
def test_a_segment_that_becomes_a_link_is_not_followed(
    interrupted: tuple[Path, Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look at it and its opening."""
    _, _, folder = interrupted
    segment, elsewhere = folder / "segment-000000.mp4", tmp_path / "elsewhere"
    lstat = Path.lstat

    def lstat_and_replace(path: Path) -> os.stat_result:
        status = lstat(path)
        if path == segment and not elsewhere.exists():
            segment.rename(elsewhere)
            segment.symlink_to(elsewhere)
        return status

    monkeypatch.setattr(Path, "lstat", lstat_and_replace)
    assert 0 not in closed_segments(folder)
    assert segment.is_symlink()


@pytest.mark.parametrize(
    "change",
    [
        {"file": "../in.mp4"},
        {"file": "segment-000001.mp4"},
        {"file": 7},
        {"pts": []},
        {"pts": [2, 1]},
        {"pts": "abcdefgh"},
        {"pts": [None] * LENGTH},
        {"time_base": "1/0"},
        {"time_base": "soon"},
        {"frames": -1},
        {"sha256": None},
    ],
    ids=str,
)
def test_forged_records_are_not_used(interrupted: tuple[Path, Path, Path], change: dict[str, object]) -> None:
    _, _, folder = interrupted
    record = json.loads((folder / "segment-000000.json").read_text())
    (folder / "segment-000000.json").write_text(json.dumps(record | change))
    assert 0 not in closed_segments(folder)


@pytest.mark.parametrize("content", ["[]", "7", '{"fingerprint": 1}', "[" * 200_000, "\0", '"' + "x" * 10**6])
def test_forged_manifests_are_not_used(interrupted: tuple[Path, Path, Path], content: str) -> None:
    _, target, folder = interrupted
    (folder / "job.json").write_text(content)
    with job_folder.JobFolder(target) as entered:
        assert entered.manifest() is None


@needs_root
def test_a_forged_mark_of_a_finished_job_does_not_free_the_target(tmp_path: Path) -> None:
    """Who can make a folder beside a target could have it replaced without --overwrite."""
    source, target = clip(tmp_path / "in.mp4", frames=3), tmp_path / "out.mp4"
    target.write_text("precious")
    folder = job_folder.folder_of(target)
    folder.mkdir()
    atomic.write_json(folder / "finished.json", job_folder._identity(target))
    assert job_folder.was_finished(target)
    for path in (folder, folder / "finished.json"):
        os.chown(path, OTHER_USER, OTHER_USER)
    assert not job_folder.was_finished(target)
    with pytest.raises(UsageError, match="already exists"):
        jobs.plan([source], Options(output=target))


@needs_links
def test_a_link_to_a_mark_of_a_finished_job_does_not_count(tmp_path: Path) -> None:
    target = tmp_path / "out.mp4"
    target.write_text("precious")
    atomic.write_json(tmp_path / "mark.json", job_folder._identity(target))
    folder = job_folder.folder_of(target)
    folder.mkdir()
    (folder / "finished.json").symlink_to(tmp_path / "mark.json")
    assert not job_folder.was_finished(target)


@needs_links
@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_does_not_hang(interrupted: tuple[Path, Path, Path]) -> None:
    _, target, folder = interrupted
    (folder / "job.json").unlink()
    os.mkfifo(folder / "job.json")
    with job_folder.JobFolder(target) as entered:
        assert entered.manifest() is None


def test_without_the_flags_of_posix_links_are_still_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_files, "_NO_FOLLOW", 0)
    monkeypatch.setattr(own_files, "_NO_WAIT", 0)
    (tmp_path / "victim").write_text("precious")
    with os.fdopen(own_files.create(tmp_path / "file"), "wb") as file:
        file.write(b"a\nb")
    assert own_files.read(tmp_path / "file") == b"a\nb"
    if sys.platform != "win32":
        (tmp_path / "link").symlink_to(tmp_path / "victim")
        with pytest.raises(own_files.NotOursError):
            own_files.read(tmp_path / "link")
        os.close(own_files.create(tmp_path / "link"))
        assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "victim").read_text() == "precious"


@needs_links
def test_a_link_in_place_of_the_lock_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    lock_file_of(job_folder.folder_of(tmp_path / "out.mp4")).symlink_to(tmp_path / "victim")
    with pytest.raises(MediaError, match="cannot write to"), job_folder.JobFolder(tmp_path / "out.mp4"):
        pass
    assert (tmp_path / "victim").read_text() == "precious"
