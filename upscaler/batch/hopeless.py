"""When a task that takes its worker with it is not tried again."""

from upscaler.errors import MediaError
from upscaler.executors.executor import Lost
from upscaler.jobs import Job

# How often a task may crash its worker, and how often it may be lost for whatever reason.
CRASHES_MAX, LOSSES_MAX = 2, 4


def hopeless(job: Job, lost: Lost) -> MediaError:
    """The error of a job whose worker was lost too often."""
    if lost.crashed:
        return MediaError(f"the program crashed on '{job.source}' ({lost.how})", "the file may be damaged")
    text = f"{LOSSES_MAX} workers were ended while they worked on '{job.source}' ({lost.how})"
    return MediaError(text, "is there enough memory? use fewer workers")
