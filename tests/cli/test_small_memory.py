"""In a container of 2 GB, a picture of 12 megapixels and a film of 1080p end well."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.media import clip, save

LIMIT_BYTES = 2_000_000_000
Run = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.slow


def group_of_this_process() -> Path | None:
    """The folder of this process's memory group, of version 1 or 2, if it is mounted where it usually is."""
    own = Path("/proc/self/cgroup")
    for line in own.read_text().splitlines() if own.exists() else ():
        _, names, path = line.split(":", 2)
        if names in ("", "memory"):
            folder = Path(f"/sys/fs/cgroup/{names}{path}")
            if (folder / ("memory.limit_in_bytes" if names else "memory.max")).exists():
                return folder
    return None


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    """Runs the command in a control group below this process's own, which may take `LIMIT_BYTES`."""
    own = group_of_this_process()
    group = (own or tmp_path) / f"upscaler-test-{os.getpid()}"
    try:
        if own is None:
            raise OSError("this process has none")
        group.mkdir()
    except OSError as error:
        pytest.skip(f"no control group of memory can be made: {error}")
    try:
        name = "memory.limit_in_bytes" if (group / "memory.limit_in_bytes").exists() else "memory.max"
        (group / name).write_text(str(LIMIT_BYTES))
    except OSError as error:
        group.rmdir()
        pytest.skip(f"no control group of memory can be limited: {error}")

    def start(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "upscaler", *map(str, arguments)],
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            preexec_fn=lambda: (group / "cgroup.procs").write_text(str(os.getpid())),
        )

    yield start
    group.rmdir()


def test_a_picture_of_12_megapixels(run: Run, tmp_path: Path) -> None:
    done = run(save(tmp_path / "a.jpg", 3000, 4000), "--scale", 2, "--model", "fast")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "a_x2.jpg").exists()


@pytest.mark.parametrize("scale", [3.6, 6])
def test_what_does_not_fit_is_one_line(run: Run, tmp_path: Path, scale: float) -> None:
    """At 6, the result alone is too large; at 3.6, what is resized to it."""
    done = run(save(tmp_path / "a.jpg", 3000, 4000), "--scale", scale, "--model", "fast")
    assert done.returncode != -signal.SIGKILL
    assert done.returncode == 1
    (line,) = (each for each in done.stderr.splitlines() if each.startswith("error: "))
    assert "GB of memory" in line
    assert [path.name for path in tmp_path.iterdir()] == ["a.jpg"]


def test_a_film_of_1080p(run: Run, tmp_path: Path) -> None:
    source = clip(tmp_path / "a.mp4", frames=15, height=1080, width=1920)
    done = run(source, "--scale", 2)
    assert done.returncode == 0, done.stderr
    assert re.search(r"x264 looks \d\d? frames ahead", done.stderr)
    assert (tmp_path / "a_x2.mp4").exists()
