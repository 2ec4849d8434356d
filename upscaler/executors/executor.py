"""What runs tasks: local processes, a cluster. The driver (``batch/driver.py``) is the only one that uses it.

An executor starts a task, and says how it ends. Everything else is the driver's: what becomes a task, what is
tried again, what the user hears.
"""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from upscaler.executors.tasks import Event, Task, TaskResult


@dataclass(frozen=True)
class Told:
    """Something happened during a task; an executor need not pass it on."""

    task: int
    event: Event


@dataclass(frozen=True)
class Finished:
    """A task ended."""

    task: int
    result: TaskResult


@dataclass(frozen=True)
class Lost:
    """A worker ended during a task, of which nothing more will be heard. The driver may submit it again.

    Attributes:
        task: Its number.
        worker: Who had it.
        how: What ended the worker, such as ``SIGKILL``.
        crashed: The worker ended by itself, so that the task may be the cause; otherwise somebody, such as
            the system when memory runs out, ended it.
    """

    task: int
    worker: str
    how: str
    crashed: bool


@dataclass(frozen=True)
class Joined:
    """A worker is ready, and will get tasks when the driver asks for the next report.

    Of local workers it is not reported: their devices are known before.

    Attributes:
        device: Name of its device, such as that of a GPU.
    """

    device: str


Report = Told | Finished | Lost | Joined


class Executor(Protocol):
    """Runs tasks beside this process; a context manager, used by one thread.

    Leaving it ends all work at once: running tasks are cancelled, nothing more is reported. What they have
    completed stays: finished files, and finished segments in job folders.

    Attributes:
        slots: How many tasks run at once; the driver keeps a few more submitted.
    """

    @property
    def slots(self) -> int:
        """See above; may change while workers come and go."""
        ...

    def submit(self, number: int, task: Task) -> None:
        """Run a task when there is room; returns at once. Submitted tasks begin in this order.

        Args:
            number: By which reports name it; not that of another running task.
            task: The task.
        """
        ...

    def next_report(self, timeout_s: float) -> Report | None:
        """Wait for the next report; ``None`` if none came in this time.

        Raises:
            UpscalerError: Nothing can run any more: one clear line.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
