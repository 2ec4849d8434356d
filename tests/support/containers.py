"""Files of control groups, as the kernel of a container's host lays them out."""

import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from upscaler.system import containers


def lay_out(folder: Path, files: Mapping[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Write the files below a folder, and have it taken for the root of the file system."""
    root = folder / "root"
    shutil.rmtree(root, ignore_errors=True)
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    monkeypatch.setattr(containers, "_ROOT", root)


def limit_memory(limit_bytes: int, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend a container with this limit, in which nothing is used yet."""
    files = {
        "proc/self/cgroup": "0::/\n",
        "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
        "sys/fs/cgroup/memory.max": f"{limit_bytes}\n",
        "sys/fs/cgroup/memory.current": "0\n",
    }
    lay_out(folder, files, monkeypatch)
