"""The events and the result of a task as a stream, for executors whose calls give one."""

import queue
import threading
from collections.abc import Iterator

from upscaler.executors.tasks import Advanced, Event, RunTask, Task, TaskResult


def events_and_result(run: RunTask, task: Task) -> Iterator[tuple[bool, Event | TaskResult]]:
    """Run a task in a thread.

    Of its progress, only the newest is passed on when it is asked for.

    Args:
        run: Runs it.
        task: The task.

    Yields:
        ``(True, event)`` for each event, and ``(False, result)`` at last.
    """
    said: queue.SimpleQueue[tuple[bool, Event | TaskResult] | BaseException] = queue.SimpleQueue()

    def work() -> None:
        try:
            said.put((False, run(task, lambda event: said.put((True, event)))))
        except BaseException as error:
            said.put(error)

    thread = threading.Thread(target=work, name="task")
    thread.start()
    while True:
        item = said.get()
        while not said.empty() and isinstance(item, tuple) and isinstance(item[1], Advanced):
            item = said.get()
        if isinstance(item, BaseException):
            raise item
        yield item
        if not item[0]:
            thread.join()
            return
