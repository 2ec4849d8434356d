"""The command, killed at random moments and run again."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.command import LENGTH, UPSCALE
from support.media import clip

from upscaler.resume import job_folder


def command(source: Path, target: Path) -> list[str]:
    return [sys.executable, "-c", UPSCALE, str(source), "-o", str(target), "--scale", "2"]


def run(*arguments: str) -> None:
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def kill_and_rerun(tmp_path: Path, *, frames: int, stride: int, number: signal.Signals) -> int:
    """Kill a run every few segments, let the last one end; returns how many kills met one at work.

    Each kill comes a random moment after 1 to ``stride`` further segments are done, the last ones while these
    are joined.
    """
    source, target = clip(tmp_path / "in.mp4", frames=frames, audio=["aac"]), tmp_path / "out.mp4"
    run(*command(source, tmp_path / "whole.mp4"))
    folder, last = job_folder.folder_of(target), -(-frames // LENGTH) - 1
    random = np.random.default_rng(frames)
    killed = done = 0
    while done < last:
        expected = min(done + int(random.integers(1, stride, endpoint=True)), last)
        process = subprocess.Popen(command(source, target), stderr=subprocess.PIPE, text=True)
        while process.poll() is None and done < expected:
            time.sleep(0.01)
            done = len(list(folder.glob("segment-*.json")))
        time.sleep(random.uniform(0, 0.05))
        if process.poll() is None:
            process.send_signal(number)
            killed += 1
        _, said = process.communicate(timeout=60)
        assert "Traceback" not in said
        if target.exists() and not folder.exists():
            break  # it was done, even if it was killed on its way out
        done = len(list(folder.glob("segment-*.json")))
    else:
        run(*command(source, target))
    # Of a run killed while it removed its job folder, the next command removes the rest.
    run(*command(source, target), "--skip-existing")
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.mp4", "out.mp4", "whole.mp4"]
    return killed


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_many_times(tmp_path: Path, number: signal.Signals) -> None:
    assert kill_and_rerun(tmp_path, frames=100, stride=3, number=number) > 1
