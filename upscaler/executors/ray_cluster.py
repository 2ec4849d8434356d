"""Tasks on the machines of a Ray cluster: one worker for each GPU, or for each share of processors.

A worker is an actor that has one call at a time, and this process keeps the queue. Calls that wait at an
actor are lost with it, and their retries are used up while its node is still going down (seen with Ray 2.60).
Actors instead of Ray's plain tasks, because Ray ends the process of a task that had a GPU, and with it the
engine.
"""

import importlib
import os
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from upscaler import __version__
from upscaler.errors import DeviceError, UsageError, first_line
from upscaler.executors.executor import Finished, Joined, Lost, Report, Told
from upscaler.executors.local_processes import Place
from upscaler.executors.stream import events_and_result
from upscaler.executors.tasks import RunTask, Task
from upscaler.system import stop_signals

_INSTALL = "pip install 'upscaler[cluster]'"
_POLL_S = 0.2
# How often nodes are counted; they may come and go.
_COUNT_S = 2.0
# How long a cluster may have lost all nodes that can run a worker, while others start or come back.
_PATIENCE_S = 60.0
_FAILED_STARTS_MAX = 5
# How long the first machine may take to answer a connection.
_KNOCK_S = 10.0


class WorkerActor:
    """What runs on the nodes.

    Args:
        module: Full name of a module whose ``runner_at`` makes what runs tasks, and whose ``device_at`` names
            the device.
        device: As ``EngineOptions.device`` has it.
        processors: How many this worker may use.
    """

    def __init__(self, module: str, device: str, processors: int) -> None:
        self._module = module
        self._place = Place(f"{socket.gethostname()} ({device}, process {os.getpid()})", device, processors)
        self._run: RunTask | None = None

    def hello(self) -> tuple[str, str, str]:
        """Get ready to work.

        Returns:
            Name of the worker, version of this program there, and name of the device.
        """
        module = importlib.import_module(self._module)
        runner_at: Callable[[Place], RunTask] = module.runner_at
        device_at: Callable[[Place], str] = module.device_at
        self._run = runner_at(self._place)
        return self._place.name, __version__, device_at(self._place)

    def run(self, task: Task) -> Iterator[Any]:
        """Run a task; gives its events, and at last its result."""
        assert self._run, "call hello first"
        yield from events_and_result(self._run, task)


@dataclass
class _Worker:
    """An actor, and what it does: first it says who it is.

    Attributes:
        actor: Ray's handle.
        name: Empty until it has said it.
        number: Of its task.
        answers: What is being waited for: an object, or a generator of them.
    """

    actor: Any
    answers: Any
    name: str = ""
    number: int | None = None


class RayCluster:
    """Workers on a Ray cluster; an ``Executor``, connected from the start.

    Args:
        module: As for ``WorkerActor``. It is imported on the nodes, where this program must be installed.
        address: Of the cluster, as ``ray.init`` takes it; ``auto`` is the one of this machine.
        device: ``cpu``, or ``cuda`` for one worker on each GPU; ``auto``: GPUs if the cluster has any.
        processors: How many each worker on a CPU uses.

    Attributes:
        device: Of all workers: ``cpu`` or ``cuda``.

    Raises:
        UsageError: Ray is not installed, or has no such devices.
        DeviceError: There is no cluster, or none with room for a worker.
    """

    def __init__(self, module: str, address: str, device: str = "auto", processors: int = 1) -> None:
        try:
            with stop_signals.kept():  # of which ray takes SIGTERM when it is imported
                import ray
        except ImportError as error:
            raise UsageError("--cluster needs a package that is not installed", _INSTALL) from error
        self._ray: Any = ray
        self._module = module
        self._processors = processors
        self._waiting: deque[tuple[int, Task]] = deque()
        self._workers: list[_Worker] = []
        self._reports: deque[Report] = deque()
        self._capacity, self._counted_s = 0, -_COUNT_S
        self._failed_starts = 0  # in a row
        self._hopeful_s: float | None = None  # when there was room last
        self._connect(address)
        try:
            self.device = self._chosen_device(device)
            self._count()
        except BaseException:
            ray.shutdown()
            raise

    def _connect(self, address: str) -> None:
        hint = "start one with: ray start --head"
        try:
            _knock(address)
            with stop_signals.kept():
                self._ray.init(
                    address=address, log_to_driver=False, configure_logging=False, logging_level="ERROR"
                )
        except (OSError, OverflowError, ValueError, RuntimeError) as error:
            raise DeviceError(f"there is no Ray cluster at '{address}'", hint) from error

    @property
    def slots(self) -> int:
        """How many workers the nodes that are alive have room for."""
        return max(1, self._capacity)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self._workers:
            self._end(worker)
        self._workers.clear()
        with suppress(Exception):  # the cluster may be gone
            self._ray.shutdown()

    def submit(self, number: int, task: Task) -> None:
        """See ``Executor.submit``."""
        self._waiting.append((number, task))
        self._hand_out()

    def next_report(self, timeout_s: float) -> Report | None:
        """See ``Executor.next_report``."""
        deadline = time.monotonic() + timeout_s
        while not self._reports:
            self._hand_out()
            left_s = deadline - time.monotonic()
            busy = {worker.answers: worker for worker in self._workers if worker.answers is not None}
            if busy:
                ready, _ = self._ray.wait(list(busy), num_returns=1, timeout=max(0.0, min(left_s, _POLL_S)))
                for answers in ready:
                    worker = busy[answers]
                    # Ray gives the first one that is ready: the others have their turn before this one again.
                    self._workers.remove(worker)
                    self._workers.append(worker)
                    self._hear(worker)
            elif left_s > 0:
                time.sleep(min(left_s, _POLL_S))
            if left_s <= 0 and not self._reports:
                return None
        return self._reports.popleft()

    def _hear(self, worker: _Worker) -> None:
        """Take what a worker says next."""
        errors = self._ray.exceptions
        try:
            answer = self._ray.get(worker.answers if worker.number is None else next(worker.answers))
        except StopIteration:
            worker.number = worker.answers = None
        except (errors.RayActorError, errors.NodeDiedError, errors.ObjectLostError) as error:
            # Also if it only cannot be reached now: it must not come back while another one does its task.
            self._lose(worker, error)
        except errors.RayTaskError as error:
            reason = first_line(error.cause)
            if worker.number is None:
                raise DeviceError(f"workers of the cluster cannot start: {reason}") from error
            self._reports.append(Lost(worker.number, worker.name, reason, crashed=True))
            worker.number = worker.answers = None
        else:
            if worker.number is None:
                self._welcome(worker, *answer)
            else:
                is_event, said = answer
                report = Told if is_event else Finished
                self._reports.append(report(worker.number, said))

    def _welcome(self, worker: _Worker, name: str, version: str, device: str) -> None:
        if version != __version__:
            text = f"{name} has version {version} of upscaler, and this is {__version__}"
            raise DeviceError(text, "install the same version on all nodes")
        worker.name, worker.answers = name, None
        self._failed_starts = 0
        self._reports.append(Joined(device))

    def _lose(self, worker: _Worker, error: Exception) -> None:
        self._workers.remove(worker)
        self._end(worker)
        self._counted_s = -_COUNT_S
        if not worker.name:
            self._failed_starts += 1
            if getattr(error, "actor_init_failed", False) or self._failed_starts > _FAILED_STARTS_MAX:
                hint = "install the same version of upscaler on all nodes"
                raise DeviceError("workers of the cluster cannot start", hint) from error
        if worker.number is not None:
            self._reports.append(Lost(worker.number, worker.name, _how(error), crashed=_crashed(error)))

    def _end(self, worker: _Worker) -> None:
        with suppress(Exception):  # it may have ended, and its node, too
            self._ray.kill(worker.actor)

    def _hand_out(self) -> None:
        """Give tasks to workers that have none, and start workers where there is room.

        All at once, as the first task may be the plan of a video on which all others wait.
        """
        self._count()
        for worker in self._workers:
            if worker.answers is None and self._waiting:
                worker.number, task = self._waiting.popleft()
                worker.answers = worker.actor.run.options(num_returns="streaming").remote(task)
        while len(self._workers) < self._capacity and self._waiting:
            self._start_worker()

    def _start_worker(self) -> None:
        share: dict[str, Any] = {"num_cpus": self._processors}
        if self.device == "cuda":
            share = {"num_cpus": 0, "num_gpus": 1}
        actor_class = self._ray.remote(**share, max_restarts=0, max_task_retries=0)(WorkerActor)
        actor = actor_class.remote(self._module, self.device, self._processors)
        self._workers.append(_Worker(actor, actor.hello.remote()))

    def _count(self) -> None:
        """See how many workers the nodes have room for.

        Raises:
            DeviceError: There is room for none, or has been for none for long.
        """
        now = time.monotonic()
        if now - self._counted_s < _COUNT_S:
            return
        self._counted_s = now
        name, each = ("GPU", 1) if self.device == "cuda" else ("CPU", self._processors)
        nodes = [node["Resources"].get(name, 0) for node in self._ray.nodes() if node["Alive"]]
        self._capacity = sum(int(count // each) for count in nodes)
        if self._capacity:
            self._hopeful_s = now
        elif self._hopeful_s is None or now - self._hopeful_s > _PATIENCE_S:
            what = "GPU" if self.device == "cuda" else f"node with {each} processors"
            raise DeviceError(
                f"the cluster has no {what}", "add nodes, or use --threads with a smaller number"
            )

    def _chosen_device(self, device: str) -> str:
        if device == "auto":
            has_gpu = any(node["Resources"].get("GPU", 0) for node in self._ray.nodes() if node["Alive"])
            return "cuda" if has_gpu else "cpu"
        kind = device.partition(":")[0]
        if kind not in ("cpu", "cuda"):
            raise UsageError(f"--cluster and --device {device} exclude each other", "use cpu or cuda")
        return kind


def _knock(address: str) -> None:
    """Make sure that something listens at ``HOST:PORT``; Ray would try, and write lines, for minutes.

    Raises:
        OSError: Nothing does, or the host is unknown.
    """
    host, colon, port = address.rpartition(":")
    if colon and "/" not in address and port.isdecimal():
        with socket.create_connection((host.strip("[]"), int(port)), _KNOCK_S):
            pass


def _how(error: Exception) -> str:
    """What ended a worker, in a few words."""
    if type(error).__name__ == "OutOfMemoryError":
        return "memory ran out on its node"
    if type(error).__name__ == "ActorUnavailableError":
        return "it cannot be reached"
    return "its node is gone" if _is_node_lost(error) else "it was killed, or has crashed"


def _crashed(error: Exception) -> bool:
    """Whether the task may be the cause; Ray does not say whether a process was killed or has crashed."""
    return type(error).__name__ == "ActorDiedError" and not _is_node_lost(error)


def _is_node_lost(error: Exception) -> bool:
    text = str(error)
    return "node" in text and any(word in text for word in _NODE_LOST)


# What Ray says of an actor that ended with its node.
_NODE_LOST = ("node was terminated", "node is dead", "node died", "node failed", "node has been marked dead")
