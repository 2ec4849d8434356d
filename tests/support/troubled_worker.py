"""Workers that make short segments and note what they try; the first may be in trouble."""

import os
import resource
import time
from pathlib import Path

from support.command import LENGTH

from upscaler.batch import task_runner
from upscaler.batch.task_runner import device_at
from upscaler.cache_folder import cache_folder
from upscaler.executors.local_processes import Place
from upscaler.executors.tasks import OnEvent, RunTask, Task, TaskResult, VideoRange
from upscaler.video import segments

__all__ = ["device_at", "runner_at"]
_FILE_BYTES = 2_000


def trouble_file() -> Path:
    """May contain ``slow`` or ``full``: what becomes of the worker that takes it."""
    return cache_folder("trouble") / "kind"


def attempts_file() -> Path:
    """Has a line for each segment whenever somebody begins to make it."""
    return cache_folder("trouble") / "attempts"


def runner_at(place: Place) -> RunTask:
    """As that of the command."""
    segments._FRAMES_MIN = segments._FRAMES_MAX = LENGTH
    run = task_runner.runner_at(place)
    taken = trouble_file().with_name(str(os.getpid()))
    try:
        trouble_file().rename(taken)
        kind = taken.read_text()
    except FileNotFoundError:  # another worker has it, or there is none
        kind = ""
    if kind == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, resource.RLIM_INFINITY))

    def run_noted(task: Task, on_event: OnEvent) -> TaskResult:
        if kind == "slow":
            time.sleep(2)
        if isinstance(task, VideoRange):
            lines = [f"{task.job.source.name} {number}\n" for number in range(task.first, task.stop)]
            with attempts_file().open("a") as file:
                file.writelines(lines)
        return run(task, on_event)

    return run_noted
