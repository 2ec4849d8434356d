"""What a worker does: tasks of a batch, one after the other, with engines that stay loaded.

``runner_at`` is what executors call in a worker; ``main`` is the start of a local worker process.
"""

from collections.abc import Callable
from dataclasses import replace

from upscaler.batch.batch import Batch
from upscaler.batch.observer import Observer
from upscaler.batch.result import Result
from upscaler.executors.local_processes import Place, serve_tasks
from upscaler.executors.tasks import (
    Advanced,
    Event,
    Failure,
    GroupDone,
    JobEnded,
    JobGroup,
    OnEvent,
    RunTask,
    Said,
    Task,
    TaskResult,
)
from upscaler.inference.engine import Upscaler
from upscaler.jobs import Job, JobList, Kind
from upscaler.options import EngineOptions
from upscaler.process_settings import keep_freed_memory, use_allowed_processors
from upscaler.results import Message, Progress


def main() -> None:
    """In a process of ``LocalProcesses``."""
    serve_tasks(runner_at)


def runner_at(place: Place) -> RunTask:
    """Make this process a worker.

    Args:
        place: Which device and how many processors it uses.

    Returns:
        Runs one task after the other; to be called by one thread at a time.
    """
    keep_freed_memory()
    use_allowed_processors(place.processors)
    return TaskRunner(place).run


class TaskRunner:
    """Runs tasks in this process.

    Args:
        place: Which device it uses, and what it is called.
    """

    def __init__(self, place: Place) -> None:
        self._place = place
        self._engines: dict[EngineOptions, dict[Kind, Upscaler]] = {}

    def run(self, task: Task, on_event: OnEvent) -> TaskResult:
        """Run a task.

        Args:
            task: The task.
            on_event: Called with what happens.
        """
        assert isinstance(task, JobGroup), f"{task} is not supported"
        return self._run_group(task, on_event)

    def _run_group(self, group: JobGroup, on_event: OnEvent) -> GroupDone:
        options = replace(group.options, device=self._place.device)
        engines = self._engines.setdefault(options.engine, {})
        teller = _Teller(self._place.name, group.jobs, on_event)
        with Batch((), options, JobList(list(group.jobs), []), engines=engines) as batch:
            batch.run(teller)
        return GroupDone(self._place.name, tuple(teller.ended))


class _Teller(Observer):
    """Tells the driver about the jobs of a group.

    Args:
        worker: Who runs them.
        jobs: Of the group.
        on_event: Called with every event.

    Attributes:
        ended: How each job ended, as far as they have.
    """

    def __init__(self, worker: str, jobs: tuple[Job, ...], on_event: Callable[[Event], None]) -> None:
        self._worker = worker
        self._numbers = {job: number for number, job in enumerate(jobs)}
        self._on_event = on_event
        self.ended: list[JobEnded] = []

    def progress(self, job: Job, progress: Progress) -> None:
        self._on_event(Advanced(self._numbers[job], progress))

    def message(self, job: Job, message: Message) -> None:
        self._on_event(Said(self._numbers[job], message))

    def end(self, result: Result) -> None:
        ended = JobEnded(
            self._worker,
            len(self.ended),
            result.outcome,
            result.seconds,
            result.done,
            tuple(result.messages),
            tuple(result.weights),
            Failure.of(result.error) if result.error else None,
            result.is_tried,
        )
        self.ended.append(ended)
        self._on_event(ended)
