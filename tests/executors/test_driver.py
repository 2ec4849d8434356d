"""A batch on an executor ends as it does in one process, also when workers are lost."""

import signal
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest
from support.media import save

from upscaler.batch import batch as batches
from upscaler.batch.batch import Batch, upscale
from upscaler.batch.observer import Observer
from upscaler.batch.result import Result
from upscaler.batch.task_runner import TaskRunner
from upscaler.errors import UsageError
from upscaler.executors.executor import Finished, Lost, Report, Told
from upscaler.executors.local_processes import Place
from upscaler.executors.tasks import JobGroup, Task
from upscaler.options import Options

PICTURES = 9


class Worker:
    """An executor of two places in this process.

    Args:
        loses: Whether the worker is lost with a task; then one event of it is told before.
    """

    slots = 2

    def __init__(self, loses: Callable[[Task], bool] = lambda _: False, crashed: bool = False) -> None:
        self._loses, self._crashed = loses, crashed
        self._waiting: deque[tuple[int, Task]] = deque()
        self._reports: deque[Report] = deque()
        self._runners = [TaskRunner(Place(f"worker {number}", "cpu", 1)) for number in (1, 2)]
        self.tasks: list[Task] = []
        self.lost = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._waiting.clear()

    def submit(self, number: int, task: Task) -> None:
        self._waiting.append((number, task))

    def next_report(self, timeout_s: float) -> Report | None:
        """Run the task submitted last first, so that jobs end out of order."""
        if not self._reports and self._waiting:
            number, task = self._waiting.pop()
            self.tasks.append(task)
            told: list[Report] = []
            if self._loses(task):
                self.lost += 1
                self._reports.append(Lost(number, "worker 1", "SIGKILL", self._crashed))
            else:
                runner = self._runners[number % 2]
                result = runner.run(task, lambda event: told.append(Told(number, event)))
                self._reports += [*told, Finished(number, result)]
        return self._reports.popleft() if self._reports else None


class Notes(Observer):
    def __init__(self) -> None:
        self.begun: list[str] = []
        self.results: list[Result] = []

    def begin(self, job: object) -> None:
        self.begun.append(job.source.name)

    def end(self, result: Result) -> None:
        assert self.begun[-1] == result.source.name
        self.results.append(result)


def run(
    monkeypatch: pytest.MonkeyPatch, worker: Worker, inputs: list[Path], output: Path, **options: object
) -> Notes:
    monkeypatch.setattr(batches, "LocalProcesses", lambda *_: worker)
    notes = Notes()
    with Batch(inputs, Options(output, workers=2, **options)) as batch:
        batch.run(notes)
    return notes


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    return [save(tmp_path / f"{number}.png", seed=number) for number in range(PICTURES)]


def test_pictures_are_those_of_one_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], tiny_weights: Path
) -> None:
    broken = tmp_path / "4.png"
    broken.write_bytes(b"not a picture")
    upscale(photos, tmp_path / "alone", model=tiny_weights)
    notes = run(monkeypatch, worker := Worker(), photos, tmp_path / "shared", model=tiny_weights)
    assert [result.source for result in notes.results] == photos
    assert [result.outcome for result in notes.results] == ["done"] * 4 + ["failed"] + ["done"] * 4
    assert "4.png" in notes.results[4].error_line
    for path in photos:
        if path != broken:
            assert (tmp_path / "shared" / path.name).read_bytes() == (
                tmp_path / "alone" / path.name
            ).read_bytes()
    made = Counter(worker for result in notes.results if result.done for worker in result.done.made_by)
    assert set(made) == {"worker 1", "worker 2"} and made.total() == PICTURES - 1
    assert all(isinstance(task, JobGroup) for task in worker.tasks)


def names(task: Task) -> list[str]:
    assert isinstance(task, JobGroup)
    return [job.source.name for job in task.jobs]


@pytest.mark.parametrize(("crashed", "times"), [(True, 2), (False, 4)])
def test_a_group_is_split_until_the_bad_file_is_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny_weights: Path, crashed: bool, times: int
) -> None:
    photos = [save(tmp_path / f"{number:02}.png", seed=number) for number in range(32)]
    worker = Worker(lambda task: "02.png" in names(task), crashed)
    notes = run(monkeypatch, worker, photos, tmp_path / "out", model=tiny_weights)
    failed = [result for result in notes.results if result.outcome != "done"]
    assert [result.source.name for result in failed] == ["02.png"]
    assert "SIGKILL" in failed[0].error_line
    alone = [task for task in worker.tasks if names(task) == ["02.png"]]
    assert len(alone) == times
    assert max(len(names(task)) for task in worker.tasks) == 4  # of 32, for two workers


def test_lost_work_is_given_to_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], tiny_weights: Path
) -> None:
    lost: list[Task] = []
    worker = Worker(lambda task: len(lost) < 3 and not lost.append(task))
    notes = run(monkeypatch, worker, photos, tmp_path / "out", model=tiny_weights)
    assert {result.outcome for result in notes.results} == {"done"}
    assert len(notes.results) == PICTURES
    assert worker.lost == 3


def test_an_interrupt_ends_the_job_whose_turn_it_is(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], tiny_weights: Path
) -> None:
    worker = Worker(lambda task: bool(worker.tasks[2:]) and signal.raise_signal(signal.SIGINT))
    notes = run(monkeypatch, worker, photos, tmp_path / "out", model=tiny_weights)
    assert notes.results[-1].outcome == "interrupted"
    assert not list(tmp_path.glob("out/.*"))


def test_what_workers_cannot_do_is_refused(tmp_path: Path, photos: list[Path]) -> None:
    for options, text in [
        ({"workers": 2, "devices": "cpu"}, "exclude each other"),
        ({"device": "cpu", "devices": "cpu,cpu"}, "exclude each other"),
        ({"devices": "all,cpu"}, "all, or a list"),
        ({"devices": "gpu"}, "must be all, or devices"),
        ({"workers": 0}, "at least 1"),
    ]:
        with pytest.raises(UsageError, match=text):
            Options(tmp_path, **options)


@pytest.mark.parametrize("strict", [True, False])
def test_devices_that_differ_are_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, photos: list[Path], tiny_weights: Path, strict: bool
) -> None:
    named = iter(["A100", "H200"])
    monkeypatch.setattr("upscaler.batch.places.devices.name", lambda _: next(named))
    options = Options(tmp_path / "out", model=tiny_weights, devices="cpu,cpu", strict_plan=strict)
    if strict:
        with pytest.raises(UsageError, match=r"--strict-plan: the devices differ \(A100, H200\)"):
            Batch(photos, options)
        return
    with Batch(photos, options) as batch:
        assert any("A100, H200" in message.text and "last bit" in message.text for message in batch.messages)
