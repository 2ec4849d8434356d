"""Tasks on a Ray cluster of two nodes: shared, lost with a worker or a node, and given out again."""

import signal
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.ray_nodes import TwoNodes, two_nodes

from upscaler.errors import DeviceError
from upscaler.executors.executor import Executor, Finished, Joined, Lost, Told
from upscaler.executors.ray_cluster import RayCluster
from upscaler.executors.tasks import GroupDone, JobEnded, JobGroup
from upscaler.jobs import Job
from upscaler.options import Options

pytestmark = pytest.mark.slow
_PATIENCE_S = 300


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    with two_nodes() as cluster:
        yield cluster


def group(*names: str) -> JobGroup:
    return JobGroup(tuple(Job(Path(name), Path(f"{name}.png"), "still") for name in names), Options())


def next_of_tasks(executor: Executor) -> Told | Finished | Lost:
    """The next report on a task: not that a worker has joined."""
    while True:
        report = executor.next_report(_PATIENCE_S)
        assert report is not None
        if not isinstance(report, Joined):
            return report


def reports_of(executor: Executor, tasks: int) -> list[Told | Finished | Lost]:
    """All reports on tasks until so many have ended."""
    reports: list[Told | Finished | Lost] = []
    while sum(isinstance(report, Finished | Lost) for report in reports) < tasks:
        reports.append(next_of_tasks(executor))
    return reports


def test_tasks_on_two_nodes(nodes: TwoNodes) -> None:
    before = signal.getsignal(signal.SIGTERM)
    with RayCluster("support.obedient_worker", nodes.address) as executor:
        assert executor.slots == 2 and signal.getsignal(signal.SIGTERM) is before
        for number in range(6):
            executor.submit(number, group("a", "fail"))
        reports = reports_of(executor, 6)
        for number in range(6):
            *told, finished = [report for report in reports if report.task == number]
            assert isinstance(finished, Finished) and isinstance(finished.result, GroupDone)
            ended = [
                each.event for each in told if isinstance(each, Told) and isinstance(each.event, JobEnded)
            ]
            assert tuple(ended) == finished.result.ended
        for number, name in ((10, "kill"), (11, "crash"), (12, "a")):
            executor.submit(number, group("a", name))
        last = {report.task: report for report in reports_of(executor, 3)}
        assert isinstance(last[12], Finished)
        for number in (10, 11):
            lost = last[number]
            assert isinstance(lost, Lost) and lost.worker and "node" not in lost.how
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_node_that_is_lost_costs_its_task_only(nodes: TwoNodes) -> None:
    with RayCluster("support.obedient_worker", nodes.address) as executor:
        for number in range(2):
            executor.submit(number, group("wait"))
        for _ in range(2):  # both have begun
            assert isinstance(next_of_tasks(executor), Told)
        nodes.lose_other()
        (lost,) = (report for report in reports_of(executor, 1) if not isinstance(report, Told))
        assert isinstance(lost, Lost) and not lost.crashed
        assert lost.how in ("its node is gone", "it cannot be reached")
        while executor.slots > 1:  # until Ray has noticed, too
            assert executor.next_report(0.5) is None
        nodes.replace_other()
        executor.submit(2, group("a"))
        assert isinstance(reports_of(executor, 1)[-1], Finished)
        while executor.slots < 2:
            assert executor.next_report(0.5) is None


def test_workers_that_cannot_start_are_one_line(nodes: TwoNodes) -> None:
    with RayCluster("support.no_worker", nodes.address) as executor:
        executor.submit(0, group("a"))
        with pytest.raises(DeviceError, match=r"cannot start: No module named"):
            reports_of(executor, 1)
    with pytest.raises(DeviceError, match="no node with 64 processors"):
        RayCluster("support.obedient_worker", nodes.address, processors=64).__enter__()


@pytest.mark.parametrize("port", [None, 99999])
def test_an_address_where_nothing_listens_is_one_line(
    port: int | None, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:  # nobody listens at it
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{port or taken.getsockname()[1]}"
        with pytest.raises(DeviceError, match=f"no Ray cluster at '{address}'"):
            RayCluster("support.obedient_worker", address)
    assert capfd.readouterr().err == "", "Ray writes lines of its own while it tries"
