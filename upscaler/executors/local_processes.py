"""Tasks in processes on this machine, each with a device of its own, or with a share of the processors."""

import pickle
import queue
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from types import TracebackType
from typing import Self

from upscaler.errors import DeviceError
from upscaler.executors.as_data import from_data, to_data
from upscaler.executors.executor import Finished, Lost, Report, Told
from upscaler.executors.tasks import Event, RunTask, Task, TaskResult
from upscaler.helper_process import (
    Answer,
    HelperDiedError,
    HelperProcess,
    HelperUnavailableError,
    OnReport,
    Request,
    serve_with_reports,
)


@dataclass(frozen=True)
class Place:
    """Where one worker runs.

    Attributes:
        name: For reports, such as ``worker 1 (cpu)``.
        device: As ``EngineOptions.device`` has it.
        processors: How many it may use.
    """

    name: str
    device: str
    processors: int


class LocalProcesses:
    """Workers in processes of this machine; an ``Executor``.

    A worker that ends is replaced when its place gets the next task.

    Args:
        module: Full name of the module whose ``main`` calls ``serve_tasks``.
        places: One for each worker.
    """

    def __init__(self, module: str, places: Sequence[Place]) -> None:
        self._tasks: queue.Queue[tuple[int, Task] | None] = queue.Queue()
        self._reports: queue.Queue[Report | DeviceError] = queue.Queue()
        self._is_closed = False
        self._helpers = [HelperProcess(module) for _ in places]
        self._threads = [
            threading.Thread(target=self._run, args=(helper, place), name=place.name, daemon=True)
            for helper, place in zip(self._helpers, places, strict=True)
        ]

    @property
    def slots(self) -> int:
        """How many tasks run at once."""
        return len(self._helpers)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closed = True
        for helper in self._helpers:
            helper.end()
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads:
            thread.join()
        for helper in self._helpers:
            helper.close()

    def submit(self, number: int, task: Task) -> None:
        """See ``Executor.submit``."""
        self._tasks.put((number, task))

    def next_report(self, timeout_s: float) -> Report | None:
        """See ``Executor.next_report``."""
        with suppress(queue.Empty):
            report = self._reports.get(timeout=timeout_s)
            if isinstance(report, DeviceError):
                raise report
            return report
        return None

    def _run(self, helper: HelperProcess, place: Place) -> None:
        """What the thread of a worker does: hand on one task after the other."""
        while not self._is_closed and (item := self._tasks.get()) is not None:
            if self._is_closed:
                return
            number, task = item

            def tell(report: Answer, number: int = number) -> None:
                self._reports.put(Told(number, from_data(Event, report)))

            try:
                answer, _ = helper.exchange(
                    asdict(place), [pickle.dumps(task)], None, tell, tries_again=False
                )
                self._reports.put(Finished(number, from_data(TaskResult, answer)))
            except HelperDiedError as error:
                self._reports.put(Lost(number, place.name, str(error), error.by_itself))
            except ValueError:
                self._reports.put(Lost(number, place.name, "wrong answer", crashed=True))
            except HelperUnavailableError as error:
                if not self._is_closed:
                    failure = DeviceError("worker processes cannot be started here", "leave out --workers")
                    failure.__cause__ = error
                    self._reports.put(failure)


def serve_tasks(runner_at: Callable[[Place], RunTask]) -> None:
    """In a worker: run tasks until the parent ends.

    Args:
        runner_at: Called once, with the place of this worker, before its first task.
    """
    run: RunTask | None = None

    def answer(request: Request, data: bytearray, on_report: OnReport) -> Answer:
        nonlocal run
        if run is None:
            run = runner_at(Place(**request))
        # Pickled by the driver, which started this process.
        result: Answer = to_data(run(pickle.loads(data), lambda event: on_report(to_data(event))))
        return result

    serve_with_reports(answer)
