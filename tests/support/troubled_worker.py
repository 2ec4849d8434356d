"""Workers of a cluster, of which the first is in trouble: ``UPSCALER_TEST_TROUBLE`` says in which."""

import os
import resource
import time
from pathlib import Path

from upscaler.batch import task_runner
from upscaler.executors.local_processes import Place
from upscaler.executors.tasks import OnEvent, RunTask, Task, TaskResult

VARIABLE = "UPSCALER_TEST_TROUBLE"
_FILE_BYTES = 2_000


def runner_at(place: Place) -> RunTask:
    """The variable has the kind of trouble and a folder that all workers see: ``slow:/tmp/a``."""
    kind, _, folder = os.environ[VARIABLE].partition(":")
    run = task_runner.runner_at(place)
    try:
        (Path(folder) / "first").mkdir()
    except FileExistsError:
        return run
    if kind == "full":
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, resource.RLIM_INFINITY))

    def run_slowly(task: Task, on_event: OnEvent) -> TaskResult:
        time.sleep(2)
        return run(task, on_event)

    return run_slowly if kind == "slow" else run
