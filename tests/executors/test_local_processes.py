"""Tasks go to local processes, and results come back as data; a lost worker costs its task only."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from upscaler.errors import DiskFullError
from upscaler.executors.as_data import from_data, to_data
from upscaler.executors.executor import Executor, Finished, Lost, Report, Told
from upscaler.executors.local_processes import LocalProcesses, Place
from upscaler.executors.tasks import (
    Advanced,
    Event,
    Failure,
    GroupDone,
    JobEnded,
    JobGroup,
    RangeDone,
    TaskResult,
    VideoPlanned,
)
from upscaler.jobs import Job
from upscaler.options import Options
from upscaler.results import Done, Message, Progress, StreamPlan, VideoFacts, WeightFacts

PLACES = [Place(f"worker {number}", "cpu", 1) for number in (1, 2)]


def group(tmp_path: Path, *names: str) -> JobGroup:
    return JobGroup(tuple(Job(Path(name), tmp_path / f"{name}.png", "still") for name in names), Options())


@pytest.fixture(scope="module")
def executor() -> Iterator[Executor]:
    with LocalProcesses("support.obedient_worker", PLACES) as processes:
        yield processes


def reports_of(executor: Executor, tasks: int) -> list[Report]:
    """All reports until so many tasks have ended."""
    reports: list[Report] = []
    while sum(isinstance(report, Finished | Lost) for report in reports) < tasks:
        report = executor.next_report(30)
        assert report is not None, reports
        reports.append(report)
    return reports


def test_tasks_are_shared_and_their_events_come_before_their_results(
    executor: Executor, tmp_path: Path
) -> None:
    for number in range(6):
        executor.submit(number, group(tmp_path, "a", "fail"))
    reports = reports_of(executor, 6)
    workers, processes = set(), set()
    for number in range(6):
        *told, finished = [report for report in reports if report.task == number]
        events = [report.event for report in told if isinstance(report, Told)]
        assert events[0] == Advanced(0, Progress(1, 2, "tiles", source_px=(3, 4)))
        assert isinstance(finished, Finished) and isinstance(finished.result, GroupDone)
        first, second = finished.result.ended
        assert [first, second] == [event for event in events if isinstance(event, JobEnded)]
        assert first.done and second.failure and str(second.failure.error()) == "a bug"
        workers.add(finished.result.worker)
        processes.add(first.done.frames)
    assert workers <= {"worker 1", "worker 2"}
    assert os.getpid() not in processes


@pytest.mark.parametrize(("name", "how", "crashed"), [("kill", "SIGKILL", False), ("crash", "SIGSEGV", True)])
def test_a_lost_worker_is_named_and_replaced(
    executor: Executor, tmp_path: Path, name: str, how: str, crashed: bool
) -> None:
    executor.submit(10, group(tmp_path, "a", name))
    *told, lost = reports_of(executor, 1)
    assert any(isinstance(report, Told) and isinstance(report.event, JobEnded) for report in told)
    assert isinstance(lost, Lost)
    assert (lost.task, lost.how, lost.crashed) == (10, how, crashed)
    executor.submit(11, group(tmp_path, "a"))
    assert isinstance(reports_of(executor, 1)[-1], Finished)


def test_leaving_ends_running_tasks(tmp_path: Path) -> None:
    with LocalProcesses("support.obedient_worker", PLACES[:1]) as executor:
        executor.submit(0, group(tmp_path, "a"))
    assert executor.next_report(0) is None or executor.slots == 1  # it does not hang


def test_results_survive_json() -> None:
    done = Done(
        3,
        VideoFacts(
            frames_in=3,
            frames_resumed=0,
            frames_decoded=3,
            reused_share=0.5,
            seconds_in=1.0,
            seconds_out=2.0,
            streams=[StreamPlan(1, "audio", "aac", "", "copy")],
            settings={"device": "cpu", "threads": 1},
            stages_s={"decode": 1.0},
        ),
    )
    ended = JobEnded(
        "w", 0, "done", 1.0, done, (Message("info", "é"),), (WeightFacts("a", 4, "b", "c"),), None
    )
    part = RangeDone("w", made=((3, 120),), stages_s={"decode": 2}, shown_until=7)
    plan = VideoPlanned("w", 120, 1, 2.0, "x2", ("a",), {"CPU cores": "1"}, {"device": "A", "threads": 1})
    results = [(TaskResult, each) for each in (GroupDone("w", (ended,)), part, plan)]
    for kind, value in [(Event, ended), *results]:
        assert from_data(kind, json.loads(json.dumps(to_data(value)))) == value


@pytest.mark.parametrize(
    "data", [{}, [], None, "x", {"kind of": "Task"}, {"kind of": "Advanced", "job": "0", "progress": {}}]
)
def test_something_else_is_no_result(data: object) -> None:
    with pytest.raises(ValueError, match=r"."):
        from_data(Event, data)


def test_errors_come_back_as_what_they_were() -> None:
    error = Failure.of(DiskFullError("full", "free some")).error()
    assert type(error) is DiskFullError
    assert str(error) == "full (free some)"
    try:
        raise KeyError("a")
    except KeyError as bug:
        failure = Failure.of(bug)
    again = failure.error()
    assert type(again).__name__ == "KeyError"
    assert "test_errors_come_back" in "".join(again.__notes__)
