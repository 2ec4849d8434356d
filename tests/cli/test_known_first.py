"""What can be known before the work is said before it: folders that cannot be written, and a full disk."""

import errno
import json
import os
from pathlib import Path

import pytest
from support.command import files_below, run
from support.media import save

from upscaler import jobs, upscale
from upscaler.errors import UsageError
from upscaler.inference.tiled_network import TiledNetwork
from upscaler.options import Options
from upscaler.system import disk


@pytest.mark.parametrize("output", ["locked/out.png", "locked/new/folder/out.png"])
def test_a_folder_that_cannot_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str
) -> None:
    source = save(tmp_path / "a.png")
    (tmp_path / "locked").mkdir()
    access = os.access  # the superuser may write everywhere
    monkeypatch.setattr(
        os, "access", lambda path, mode: access(path, mode) and Path(path) != tmp_path / "locked"
    )
    with pytest.raises(UsageError, match=rf"the folder '{tmp_path / 'locked'}' cannot be written to"):
        jobs.plan([source], Options(output=tmp_path / output))


def fill(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The disk is full after that many files."""
    sync, left = disk.sync_file, iter(range(after))

    def sync_or_fail(path: Path) -> None:
        if next(left, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(path)

    monkeypatch.setattr(disk, "sync_file", sync_or_fail)


@pytest.mark.parametrize("has_room", [False, True])
def test_after_a_full_disk_the_rest_is_not_tried(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, has_room: bool
) -> None:
    for name in ("a.png", "b.png", "c.png", "d.png"):
        save(tmp_path / "in" / name, 16, 24)
    fill(monkeypatch, 1)
    monkeypatch.setattr(disk, "has_room", lambda _: has_room)
    ran: list[int] = []
    forward = TiledNetwork.run
    monkeypatch.setattr(TiledNetwork, "run", lambda *a, **b: (ran.append(1), forward(*a, **b))[1])
    report = tmp_path / "report.jsonl"
    said = run(*(tmp_path / "in", "-o", tmp_path / "out", "--model", tiny_weights, "--json", report), code=1)
    assert len(ran) == (4 if has_room else 2)
    assert said.count("no space left on the disk") == (3 if has_room else 2)
    assert ("no space left on the disk: 2 files are not tried" in said) is not has_room
    results = [json.loads(line) for line in report.read_text().splitlines()]
    assert [each["outcome"] for each in results] == ["done", "failed", "failed", "failed"]
    assert all("no space left on the disk" in each["error"] for each in results[1:])
    assert files_below(tmp_path / "out") == ["a.png"]


def test_python_does_not_try_the_rest_either(
    tmp_path: Path, tiny_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sources = [save(tmp_path / name, 16, 24) for name in ("a.png", "b.png")]
    fill(monkeypatch, 0)
    monkeypatch.setattr(disk, "has_room", lambda _: False)
    first, second = upscale(sources, output=tmp_path / "out", model=tiny_weights)
    assert "no space left" in first.error_line
    assert f"'{sources[1]}' is not tried: no space left" in second.error_line


def test_room_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert disk.has_room(tmp_path / "new" / "folder")

    def full(*_: object) -> None:
        raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT))

    monkeypatch.setattr(disk, "reserve", full)
    assert not disk.has_room(tmp_path)
    assert files_below(tmp_path) == []
