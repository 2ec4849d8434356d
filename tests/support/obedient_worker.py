"""A worker that does what the names of its sources say."""

import os
import signal
import time
from pathlib import Path

from upscaler.executors.local_processes import Place, serve_tasks
from upscaler.executors.tasks import (
    Advanced,
    Failure,
    GroupDone,
    JobEnded,
    OnEvent,
    RunTask,
    Task,
    TaskResult,
)
from upscaler.results import Done, Progress


def main() -> None:
    serve_tasks(runner_at)


def device_at(place: Place) -> str:
    return place.device


def runner_at(place: Place) -> RunTask:
    def run(task: Task, on_event: OnEvent) -> TaskResult:
        ended = []
        for number, job in enumerate(task.jobs if hasattr(task, "jobs") else ()):
            on_event(Advanced(number, Progress(1, 2, "tiles", source_px=(3, 4))))
            if job.source.name == "wait":
                time.sleep(600)
            if job.source.name == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if job.source.name == "kill once" and not Path(job.target).exists():
                Path(job.target).touch()
                os.kill(os.getpid(), signal.SIGKILL)
            if job.source.name == "crash":
                os.kill(os.getpid(), signal.SIGSEGV)
            failure = Failure("ValueError", "a bug", trace="line 3") if job.source.name == "fail" else None
            done = None if failure else Done(os.getpid())
            ended.append(
                JobEnded(place.name, number, "failed" if failure else "done", 0.5, done, (), (), failure)
            )
            on_event(ended[-1])
        return GroupDone(place.name, tuple(ended))

    return run
