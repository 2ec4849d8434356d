"""Two workers that compute on the processor, and say that it is a GPU; neither makes a range alone."""

import os
import time
from dataclasses import replace
from pathlib import Path

from support.command import LENGTH

from upscaler.batch import task_runner
from upscaler.cache_folder import cache_folder
from upscaler.executors.local_processes import Place
from upscaler.executors.tasks import OnEvent, RunTask, Task, TaskResult, VideoRange
from upscaler.inference import devices
from upscaler.video import segments

_PATIENCE_S = 120


def declare(*gpus: str) -> None:
    """Name the GPUs of the workers that come next, in their order."""
    for path in _folder().iterdir():
        path.unlink()
    for number, gpu in enumerate(gpus):
        (_folder() / f"free-{number}").write_text(gpu)


def _folder() -> Path:
    return cache_folder("gpus")


def _take() -> str:
    """The next GPU that no other worker has."""
    taken = _folder() / f"taken-{os.getpid()}"
    for path in sorted(_folder().glob("free-*")):
        try:
            return path.rename(taken).read_text()
        except FileNotFoundError:  # another worker was faster
            continue
    raise AssertionError("more workers than GPUs")


def runner_at(place: Place) -> RunTask:
    """As that of the command, but for the name of the device."""
    assert place.device == "cuda", "the cluster has declared GPUs"
    gpu = _take()
    devices.name = lambda _: gpu  # type: ignore[assignment]  # of this process alone
    segments._FRAMES_MIN = segments._FRAMES_MAX = LENGTH
    run = task_runner.runner_at(replace(place, device="cpu"))

    def run_together(task: Task, on_event: OnEvent) -> TaskResult:
        deadline = time.monotonic() + _PATIENCE_S
        while isinstance(task, VideoRange) and list(_folder().glob("free-*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        return run(task, on_event)

    return run_together


def device_at(place: Place) -> str:
    return task_runner.device_at(replace(place, device="cpu"))
