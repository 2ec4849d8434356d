"""Segments of a film that goes through a network which remembers: they do not depend on the run."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from support.command import LENGTH, UPSCALE
from support.films import film_engine
from support.interrupted import FRAMES, cut, moving_clip, run
from support.media import clip, frame_times, pictures
from support.pictures import photograph

from upscaler.inference import film_steps
from upscaler.resume import job_folder


def clip_of_a_picture(path: Path, frames: int) -> Path:
    """With a key frame every 5 frames. Of noise, a network would remember nothing."""
    return moving_clip(path, frames=frames, picture=np.ascontiguousarray(photograph(96, 160)[..., 1]))


@pytest.mark.parametrize("after", [2, 2 * LENGTH + 3])
def test_a_resumed_film_is_that_of_one_run(tmp_path: Path, after: int) -> None:
    source = clip_of_a_picture(tmp_path / "in.mp4", FRAMES)
    engine = film_engine(tmp_path)
    run(engine, source, tmp_path / "whole.mp4", crf=0)
    cut(engine, source, tmp_path / "out.mp4", after, crf=0)
    done, said, _ = run(film_engine(tmp_path), source, tmp_path / "out.mp4", crf=0)
    assert not any("decoding from the start" in text for text in said)
    assert done.video is not None and done.video.frames_resumed == after // LENGTH * LENGTH
    if after > LENGTH:  # frames from 8 on are needed, for the state
        assert done.video.frames_decoded == FRAMES - 5
    assert (tmp_path / "out.mp4").read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert frame_times(tmp_path / "out.mp4") == frame_times(source)


def test_a_segment_begins_with_what_came_before_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the frames that warm it up, its first frame would be another."""
    source = clip(tmp_path / "in.mp4", frames=LENGTH + 2)
    engine = film_engine(tmp_path)
    run(engine, source, tmp_path / "warm.mp4", crf=0)
    monkeypatch.setattr(film_steps, "WARM_UP_FRAMES", 0)
    run(engine, source, tmp_path / "cold.mp4", crf=0)
    warm, cold = (pictures(tmp_path / f"{name}.mp4").astype(int) for name in ("warm", "cold"))
    differences = np.abs(warm - cold).max((1, 2))
    assert (differences[:LENGTH] == 0).all()
    assert differences[LENGTH] > 0


@pytest.mark.slow
def test_a_killed_command_goes_on_as_if_nothing_had_happened(tmp_path: Path) -> None:
    """The shipped network, a real SIGKILL in the middle of a segment, and the same command again."""
    source = clip_of_a_picture(tmp_path / "in.mp4", 4 * LENGTH + 2)
    target = tmp_path / "out.mp4"
    run_command(source, tmp_path / "whole.mp4")
    folder = job_folder.folder_of(target)
    with subprocess.Popen(command(source, target), stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(folder.glob("segment-000002.*")):
            time.sleep(0.002)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL
    begun, closed = ({path.name[:14] for path in folder.glob(f"segment-{what}")} for what in ("*", "*.json"))
    assert len(closed) >= 2 and len(begun) == len(closed) + 1
    run_command(source, target)
    assert not folder.exists()
    assert target.read_bytes() == (tmp_path / "whole.mp4").read_bytes()
    assert frame_times(target) == frame_times(source)


def command(source: Path, target: Path) -> list[str]:
    return [sys.executable, "-c", UPSCALE, str(source), "-o", str(target), "--model", "film", "--crf", "0"]


def run_command(source: Path, target: Path) -> None:
    done = subprocess.run(command(source, target), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
