"""When a task that takes its worker with it is not tried again."""

from dataclasses import dataclass

from upscaler.errors import MediaError
from upscaler.executors.executor import Lost
from upscaler.jobs import Job

# How often a task may crash its worker, and how often it may be lost for whatever reason.
_CRASHES_MAX, _LOSSES_MAX = 2, 4


@dataclass
class LostWorkers:
    """How often workers were lost with a task.

    Attributes:
        count: For whatever reason.
        crashes: Because the worker crashed.
    """

    count: int = 0
    crashes: int = 0

    def add(self, lost: Lost) -> bool:
        """Count a worker, and whether the task is to be given up."""
        self.count += 1
        self.crashes += lost.crashed
        return self.crashes >= _CRASHES_MAX or self.count >= _LOSSES_MAX


def lost_too_often(job: Job, lost: Lost) -> MediaError:
    """The error of a job whose worker was lost too often."""
    if lost.crashed:
        return crashed(job, lost.how)
    text = f"{_LOSSES_MAX} workers were ended while they worked on '{job.source}' ({lost.how})"
    return MediaError(text, "is there enough memory? use fewer workers")


def crashed(job: Job, how: str) -> MediaError:
    """The error of a job that ended its process; ``how`` is what ended it, such as ``SIGSEGV``."""
    return MediaError(f"the program crashed on '{job.source}' ({how})", "the file may be damaged")
