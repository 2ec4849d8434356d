"""Everything writes durably: content on the disk, then the name, then the folder on the disk."""

import errno
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from support.file_systems import without_folder_sync
from support.pictures import photograph

from upscaler import atomic
from upscaler.errors import UpscalerError
from upscaler.images import animation, stills
from upscaler.images.animation import Frame
from upscaler.images.metadata import Metadata
from upscaler.images.still import Still
from upscaler.models import weight_file
from upscaler.models.registry import build
from upscaler.options import VideoOptions
from upscaler.resume.job_folder import JobFolder, Manifest
from upscaler.system.folder_lock import FolderLock
from upscaler.trainer.run import plot, state_file
from upscaler.trainer.run.record import Record
from upscaler.video import encoders
from upscaler.video.encoders import EncodeSettings
from upscaler.video.info import ColorTags
from upscaler.video.segment_writer import SegmentWriter

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="folders cannot be synced there")


def write_network(path: Path) -> None:
    network = build("compact", {"scale": 2, "channels": 6, "depth": 1})
    weight_file.save(path, network, network.state_dict(), {})


def write_segment(path: Path) -> None:
    choice = encoders.choose(".mp4", VideoOptions())
    colors = ColorTags(1, 1, 1, False)
    settings = EncodeSettings(choice, 64, 48, Fraction(1, 25), Fraction(25), Fraction(1), colors)
    with SegmentWriter(path, settings) as writer:
        planes = [torch.zeros(size, dtype=torch.uint8) for size in ((48, 64), (24, 32), (24, 32))]
        writer.write(planes, 0)
        writer.finish()


def write_animation(path: Path) -> None:
    frames = [Frame(photograph(16, 20, seed), None, 100) for seed in range(2)]
    animation.write(path, frames, 0, Metadata())


def write_video(path: Path) -> None:
    with JobFolder(path) as folder:
        merged = folder.path / "merged.mp4"
        merged.write_bytes(b"video")
        folder.publish(merged)


def write_manifest(path: Path) -> None:
    with JobFolder(path.parent.with_suffix("")) as folder:
        folder.begin(Manifest({}, {}))
        assert folder.path / "job.json" == path


WRITERS: dict[str, Callable[[Path], object]] = {
    "a.png": lambda path: stills.write(path, Still(photograph(16, 20))),
    "a.jpg": lambda path: stills.write(path, Still(photograph(16, 20))),
    "deep.png": lambda path: stills.write(path, Still(photograph(16, 20).astype(np.uint16))),
    "deep.tif": lambda path: stills.write(path, Still(photograph(16, 20).astype(np.uint16))),
    "a.gif": write_animation,
    "segment-000000.mp4": write_segment,
    "video.mp4": write_video,
    "video.mp4.upscaling/job.json": write_manifest,
    "a.safetensors": write_network,
    "state.pt": lambda path: state_file.save(path, {"step": 1}),
    "config.toml": lambda path: state_file.write_text(path, "scale = 2\n"),
    "progress.png": lambda path: plot.draw(
        path, [{"step": step, "stage": 1, "pixel": 0.1} for step in (1, 2)]
    ),
    "metrics.csv": lambda path: Record(path.parent, last_step=0),
}


Call = tuple[str, Path, bytes]  # what is done to which path, with which content


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """Every fsync and every rename, in order; they still happen."""
    seen: list[Call] = []
    real_sync, real_replace = os.fsync, os.replace

    def fsync(descriptor: int) -> None:
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        is_folder = path.is_dir()
        seen.append(("sync folder", path, b"") if is_folder else ("sync file", path, path.read_bytes()))
        real_sync(descriptor)

    def replace(source: Path, target: Path) -> None:
        real_replace(source, target)
        seen.append(("rename", Path(target), Path(target).read_bytes()))

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    return seen


@pytest.mark.skipif(sys.platform != "linux", reason="names of descriptors are read from /proc")
@pytest.mark.parametrize("name", WRITERS)
def test_content_is_on_the_disk_before_the_name(tmp_path: Path, calls: list[Call], name: str) -> None:
    path = tmp_path / name
    WRITERS[name](path)
    renamed = next((index for index, call in enumerate(calls) if call[:2] == ("rename", path)), None)
    assert renamed is not None, "written without a rename"
    content = calls[renamed][2]
    assert content
    synced, _, content_synced = calls[renamed - 1] if renamed else ("nothing", path, b"")
    assert (synced, content_synced) == ("sync file", content)
    assert [call[:2] for call in calls[renamed + 1 :]][:1] == [("sync folder", path.parent)]


@pytest.mark.parametrize("name", ["a.png", "deep.tif", "a.gif", "a.safetensors", "segment-000000.mp4"])
def test_a_failed_rename_leaves_the_old_file_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    (tmp_path / name).write_bytes(b"old")

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(UpscalerError, match=os.strerror(errno.EIO)):
        WRITERS[name](tmp_path / name)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {name: b"old"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), ValueError("bug")])
def test_the_partial_file_is_removed_whatever_happens(tmp_path: Path, error: BaseException) -> None:
    (tmp_path / "a.txt").write_bytes(b"old")
    with pytest.raises(type(error)), atomic.replacing(tmp_path / "a.txt") as partial:
        partial.write_bytes(b"half")
        raise error
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.txt": b"old"}


def test_file_systems_that_cannot_sync_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_folder_sync(monkeypatch)
    atomic.write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"new"


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: Path, mask: int) -> None:
    """In a process of its own: the mask belongs to all threads, which is why nothing may set it to ask it."""
    code = (
        "import os, pathlib; from upscaler import atomic; "
        f"os.umask({mask}); os.umask = None; pathlib.Path('usual').touch(); "
        "atomic.write_bytes(pathlib.Path('a'), b'1'); cm = atomic.replacing(pathlib.Path('b.png')); "
        "cm.__enter__().write_bytes(b'2'); cm.__exit__(None, None, None)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    modes = {path.name: path.stat().st_mode for path in tmp_path.iterdir()}
    assert modes == dict.fromkeys(("usual", "a", "b.png"), stat.S_IFREG | (0o666 & ~mask))


def test_only_one_process_holds_a_folder(tmp_path: Path) -> None:
    lock = FolderLock(tmp_path)
    with pytest.raises(BlockingIOError):
        FolderLock(tmp_path)
    lock.release()
    FolderLock(tmp_path).release()


def test_a_replaced_file_keeps_its_permissions(tmp_path: Path) -> None:
    target = tmp_path / "a.png"
    target.touch()
    target.chmod(0o600)
    stills.write(target, Still(photograph(16, 16)))
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert target.stat().st_size > 0
