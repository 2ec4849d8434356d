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
