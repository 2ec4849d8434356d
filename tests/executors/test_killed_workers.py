"""Real worker processes, some of which are killed: nothing is lost, and little is made twice."""

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from support.command import LENGTH, UPSCALE
from support.interrupted import moving_clip
from support.media import save

from upscaler.batch import batch as batches
from upscaler.batch.batch import Batch, upscale
from upscaler.batch.observer import Observer
from upscaler.batch.result import Result
from upscaler.jobs import Job
from upscaler.options import Options
from upscaler.results import Progress
from upscaler.system import processors
from upscaler.video import segments

WORKER = "support.short_segments_worker"
FRAMES = 12 * LENGTH + 2


class Killer(Observer):
    """Kills a worker after each of some numbers of frames."""

    def __init__(self, after: list[int]) -> None:
        self.results: list[Result] = []
        self.killed = 0
        self._after = after

    def progress(self, job: Job, progress: Progress) -> None:
        if self._after and progress.unit == "frames" and progress.done >= self._after[0]:
            self._after.pop(0)
            workers = [child for child in psutil.Process().children() if WORKER in " ".join(child.cmdline())]
            workers[0].send_signal(signal.SIGKILL)
            self.killed += 1

    def end(self, result: Result) -> None:
        self.results.append(result)


@pytest.mark.slow
def test_killed_workers_cost_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_weights: Path
) -> None:
    monkeypatch.setattr(segments, "_FRAMES_MIN", LENGTH)
    monkeypatch.setattr(segments, "_FRAMES_MAX", LENGTH)
    monkeypatch.setattr(batches, "_TASK_RUNNER", WORKER)
    monkeypatch.setattr(processors, "count", lambda: 1)  # here as in the workers
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    film = moving_clip(tmp_path / "film.mp4", frames=FRAMES)
    photos = [save(tmp_path / f"{number}.png", seed=number) for number in range(4)]
    how = {"model": tiny_weights, "preset": "veryslow"}
    upscale([film, *photos], tmp_path / "alone", **how)
    killer = Killer([2 * LENGTH, 6 * LENGTH])
    monkeypatch.syspath_prepend(os.path.dirname(os.path.dirname(__file__)))
    with Batch([film, *photos], Options(tmp_path / "shared", workers=2, **how)) as batch:
        batch.run(killer)
    assert [result.error for result in killer.results] == [None] * 5
    assert killer.killed == 2
    for path in (film, *photos):
        shared, alone = (tmp_path / folder / path.name for folder in ("shared", "alone"))
        assert shared.read_bytes() == alone.read_bytes()
    assert killer.results[0].done and sum(killer.results[0].done.made_by.values()) == FRAMES
    made = Counter((tmp_path / "shared" / "made.txt").read_text().split())
    assert len(made) == 13
    assert max(made.values()) <= killer.killed + 1


COMMAND = (
    "from upscaler.__main__ import INTERRUPTS, main; INTERRUPTS.hold(); "
    "from upscaler.video import segments; from upscaler.batch import batch; "
    f"segments._FRAMES_MIN = segments._FRAMES_MAX = {LENGTH}; batch._TASK_RUNNER = {WORKER!r}; "
    "main()"
)


def workers() -> list[int]:
    """Worker processes that run."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if WORKER in " ".join(process.cmdline()) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process.pid)
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
def test_a_killed_command_leaves_no_worker_and_goes_on(
    tmp_path: Path, tiny_weights: Path, number: signal.Signals, code: int
) -> None:
    film = moving_clip(tmp_path / "film.mp4", frames=FRAMES)
    tests = os.path.dirname(os.path.dirname(__file__))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": f"{tests}:{os.getcwd()}"}
    how = ["--model", str(tiny_weights), "--preset", "veryslow", "--threads", "2", "--workers", "2"]
    target = tmp_path / "out.mp4"
    command = [sys.executable, "-c", COMMAND, str(film), "-o", str(target), *how]
    running = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    made = tmp_path / "made.txt"
    while running.poll() is None and not (made.exists() and len(made.read_text().split()) >= 2):
        time.sleep(0.01)
    running.send_signal(number)
    _, said = running.communicate(timeout=60)
    assert running.returncode == code, said
    assert "Traceback" not in said
    deadline = time.monotonic() + 30
    while workers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not workers() and not target.exists()
    report = tmp_path / "report.jsonl"
    again = subprocess.run(
        [*command, "--json", str(report)], env=environment, capture_output=True, text=True, check=False
    )
    assert again.returncode == 0, again.stderr
    line = json.loads(report.read_text())
    assert line["frames_resumed"] >= 2 * LENGTH
    assert line["frames_resumed"] + sum(line["made_by"].values()) == FRAMES
    assert not (tmp_path / "out.mp4.upscaling").exists()
    alone = [sys.executable, "-c", UPSCALE, str(film), "-o", str(tmp_path / "alone.mp4"), *how[:4]]
    subprocess.run([*alone, "--threads", "1"], env=environment, capture_output=True, check=True)
    assert target.read_bytes() == (tmp_path / "alone.mp4").read_bytes()
