"""Overlap. Stand-ins play the GPU's streams and events here; test_cuda.py runs on a real one."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from support.pictures import photograph
from torch import Tensor

from upscaler import Upscaler
from upscaler.inference import batching, memory, overlap
from upscaler.inference.runtime import Runtime
from upscaler.models.contract import Network

CPU = torch.device("cpu")


def test_neighbours_of_one_kind_go_together() -> None:
    items = ["a1", "a2", "a3", "b1", "a4", "c1", "c2"]
    together = batching.batch_equal(
        items, key=lambda item: item[0], max_batch=lambda item: 3 if item[0] == "c" else 2
    )
    assert list(together) == [["a1", "a2"], ["a3"], ["b1"], ["a4"], ["c1", "c2"]]
    assert list(batching.batch_equal([], key=str, max_batch=lambda item: 2)) == []


def test_on_a_processor_batches_are_done_as_they_are_asked_for() -> None:
    read: list[int] = []

    def batches() -> Iterator[tuple[list[Tensor], int]]:
        for number in range(3):
            read.append(number)
            yield [torch.tensor(float(number))], number

    def work(tensors: list[Tensor], tag: int, check: bool) -> tuple[list[Tensor], Tensor]:
        assert check
        return [tensors[0] * 10 + tag], torch.tensor(True)

    output = overlap.run_overlapped(batches(), work, CPU)
    assert next(output)[0] == [torch.tensor(0.0)]
    assert read == [0]
    assert [(float(results[0]), tag) for results, tag in output] == [(11.0, 1), (22.0, 2)]


class Log:
    """Stands in for a stream or an event, and notes what is done to it."""

    def __init__(self, entries: list[str], name: str) -> None:
        self.entries, self.name, self.device = entries, name, CPU

    def wait_stream(self, other: "Log") -> None:
        self.entries.append(f"{self.name} waits for {other.name}")

    def record(self, stream: "Log") -> None:
        self.entries.append(f"mark on {stream.name}")

    def synchronize(self) -> None:
        self.entries.append("host waits")


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the host orders, with the processor in the GPU's place."""
    entries: list[str] = []
    names = iter(["upload", "download"])

    def on(stream: Log) -> AbstractContextManager[None]:
        entries.append(f"on {stream.name}")
        return nullcontext()

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Log(entries, next(names)))
    monkeypatch.setattr(torch.cuda, "Event", lambda: Log(entries, "event"))
    monkeypatch.setattr(torch.cuda, "stream", on)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Log(entries, "compute"))
    monkeypatch.setattr(Tensor, "record_stream", lambda tensor, stream: None)
    monkeypatch.setattr(overlap, "_pinned_like", torch.empty_like)
    return entries


def add_one(log: list[str]) -> overlap.Work[int]:
    """Work that adds 1 and notes when it was given to the device; it must not wait to check its values."""

    def work(tensors: list[Tensor], tag: int, check: bool) -> tuple[list[Tensor], Tensor]:
        assert not check
        log.append(f"work {tag}")
        return [tensors[0] + 1], torch.tensor(True)

    return work


def test_results_come_in_order_with_their_tags(log: list[str]) -> None:
    batches = (([torch.full((2,), float(tag))], tag) for tag in range(5))
    results = [(tensors[0].tolist(), tag) for tensors, tag in overlap._run_on_gpu(batches, add_one(log), CPU)]
    assert results == [([tag + 1.0, tag + 1.0], tag) for tag in range(5)]


def test_three_batches_are_given_to_the_device_before_the_host_waits(log: list[str]) -> None:
    """One each in upload, computation and download; then the host waits for one before it gives another."""
    batches = (([torch.zeros(2)], tag) for tag in range(5))
    list(overlap._run_on_gpu(batches, add_one(log), CPU))
    steps = [entry.split()[0] for entry in log if entry.startswith(("work", "host"))]
    assert steps == [*["work"] * 3, "host", "work", "host", "work", *["host"] * 3]


def test_computation_waits_for_its_upload_and_download_for_its_computation(log: list[str]) -> None:
    batches = (([torch.zeros(2)], tag) for tag in range(3))
    list(overlap._run_on_gpu(batches, add_one(log), CPU))
    for tag in range(3):
        work = log.index(f"work {tag}")
        uploads = [index for index, entry in enumerate(log[:work]) if entry == "on upload"]
        assert "compute waits for upload" in log[uploads[-1] : work]
        download = log.index("on download", work)
        assert "download waits for compute" in log[work:download]


def test_batches_are_read_only_as_results_are_taken(log: list[str]) -> None:
    """Memory stays bounded: a long video is not read ahead of its encoder."""
    read: list[int] = []

    def batches() -> Iterator[tuple[list[Tensor], int]]:
        for tag in range(100):
            read.append(tag)
            yield [torch.zeros(2)], tag

    for taken, _ in enumerate(overlap._run_on_gpu(batches(), add_one(log), CPU)):
        assert len(read) <= taken + overlap._DEPTH


@pytest.mark.parametrize("depth_taken", [0, 2])
def test_an_error_of_the_work_reaches_the_caller(log: list[str], depth_taken: int) -> None:
    def failing(tensors: list[Tensor], tag: int, check: bool) -> tuple[list[Tensor], Tensor]:
        if tag == 2 + depth_taken:
            raise ValueError("planted")
        return [tensors[0]], torch.tensor(True)

    batches = (([torch.zeros(2)], tag) for tag in range(9))
    results = overlap._run_on_gpu(batches, failing, CPU)
    for _ in range(depth_taken):
        next(results)
    with pytest.raises(ValueError, match="planted"):
        list(results)


def test_a_batch_with_a_non_finite_value_is_repeated_with_checks(log: list[str]) -> None:
    def work(tensors: list[Tensor], tag: int, check: bool) -> tuple[list[Tensor], Tensor]:
        if check:
            return [torch.full((2,), -1.0)], torch.tensor(True)
        result = tensors[0] / (tag != 1)  # the second batch divides by zero
        return [result], result.sum().isfinite()

    batches = (([torch.full((2,), 5.0)], tag) for tag in range(3))
    output = [results[0].tolist() for results, _ in overlap._run_on_gpu(batches, work, CPU)]
    assert output == [[5.0, 5.0], [-1.0, -1.0], [5.0, 5.0]]


def test_the_engine_reports_non_finite_values(tiny_weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler(tiny_weights, precision="fp32", tile_px=40)
    source = torch.rand(1, 3, 50, 60)
    plan = upscaler.plan(50, 60)
    result, finite = upscaler.upscale_flagged(source, plan, check=False)
    assert torch.equal(result, upscaler.upscale(source, plan))
    assert bool(finite)
    real = Runtime.__call__
    monkeypatch.setattr(Runtime, "__call__", lambda self, lr: real(self, lr) * float("nan"))
    _, finite = upscaler.upscale_flagged(source, plan, check=False)  # does not raise: the caller looks
    assert not bool(finite)


@pytest.mark.parametrize("batch", [1, 3])
def test_frames_of_one_size_go_through_the_network_together(
    tiny_weights: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    shapes: list[tuple[int, ...]] = []
    real = Network.__call__

    def noting(self: Network, lr: Tensor) -> Tensor:
        shapes.append(tuple(lr.shape[:1]) + tuple(lr.shape[2:]))
        return real(self, lr)

    monkeypatch.setattr(Network, "__call__", noting)
    monkeypatch.setattr(memory, "bytes_per_pixel", lambda network, device: 1000)
    upscaler = Upscaler(tiny_weights, precision="fp32", batch=batch)
    frames = [photograph(20, 24, seed) for seed in range(4)] + [photograph(16, 16)]
    output = list(upscaler.frames(frames))
    expected = [(1, 20, 24)] * 4 + [(1, 16, 16)] if batch == 1 else [(3, 20, 24), (1, 20, 24), (1, 16, 16)]
    assert shapes == expected
    alone = Upscaler(tiny_weights, precision="fp32")
    for result, frame in zip(output, frames, strict=True):
        assert np.abs(result.astype(int) - alone.image(frame)).max() <= 1
