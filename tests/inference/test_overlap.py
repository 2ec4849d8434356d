"""Work in flight. The GPU's order of events is played by stand-ins here; test_cuda.py has the real one."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

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

    made = overlap.run_overlapped(batches(), work, CPU)
    assert next(made)[0] == [torch.tensor(0.0)]
    assert read == [0]
    assert [(float(results[0]), tag) for results, tag in made] == [(11.0, 1), (22.0, 2)]


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


def test_the_host_waits_only_for_batches_that_are_three_behind(log: list[str]) -> None:
    def work(tensors: list[Tensor], tag: int, check: bool) -> tuple[list[Tensor], Tensor]:
        assert not check
        log.append(f"work {tag}")
        return [tensors[0] + 1], torch.tensor(True)

    batches = (([torch.full((2,), float(tag))], tag) for tag in range(4))
    made = [(results[0].tolist(), tag) for results, tag in overlap._run_on_gpu(batches, work, CPU)]
    assert made == [([1.0, 1.0], 0), ([2.0, 2.0], 1), ([3.0, 3.0], 2), ([4.0, 4.0], 3)]
    start = ["on upload", "compute waits for upload"]
    end = ["download waits for compute", "on download", "mark on download"]
    queued = [[*start, f"work {tag}", *end] for tag in range(4)]
    landed = ["host waits"]
    assert log == [*queued[0], *queued[1], *queued[2], *landed, *queued[3], *landed, *landed, *landed]


def test_a_batch_with_a_value_that_is_not_finite_is_done_again_with_checks(log: list[str]) -> None:
    def work(tensors: list[Tensor], tag: int, check: bool) -> tuple[list[Tensor], Tensor]:
        if check:
            return [torch.full((2,), -1.0)], torch.tensor(True)
        result = tensors[0] / (tag != 1)  # the second batch divides by zero
        return [result], result.sum().isfinite()

    batches = (([torch.full((2,), 5.0)], tag) for tag in range(3))
    made = [results[0].tolist() for results, _ in overlap._run_on_gpu(batches, work, CPU)]
    assert made == [[5.0, 5.0], [-1.0, -1.0], [5.0, 5.0]]


def test_the_engine_flags_values_that_are_not_finite(monkeypatch: pytest.MonkeyPatch) -> None:
    upscaler = Upscaler("fast", 2, precision="fp32", tile_px=40)
    source = torch.rand(1, 3, 50, 60)
    plan = upscaler.plan(50, 60)
    result, finite = upscaler.upscale_flagged(source, plan, check=False)
    assert torch.equal(result, upscaler.upscale(source, plan))
    assert bool(finite)
    real = Runtime.__call__
    monkeypatch.setattr(Runtime, "__call__", lambda self, low: real(self, low) * float("nan"))
    _, finite = upscaler.upscale_flagged(source, plan, check=False)  # does not raise: the caller looks
    assert not bool(finite)


@pytest.mark.parametrize("batch", [1, 3])
def test_frames_of_one_size_go_through_the_network_together(
    monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    shapes: list[tuple[int, ...]] = []
    real = Network.__call__

    def noting(self: Network, low: Tensor) -> Tensor:
        shapes.append(tuple(low.shape[:1]) + tuple(low.shape[2:]))
        return real(self, low)

    monkeypatch.setattr(Network, "__call__", noting)
    monkeypatch.setattr(memory, "bytes_per_pixel", lambda network, device: 1000)
    upscaler = Upscaler("fast", 2, precision="fp32", batch=batch)
    frames = [photograph(20, 24, seed) for seed in range(4)] + [photograph(16, 16)]
    made = list(upscaler.frames(frames))
    expected = [(1, 20, 24)] * 4 + [(1, 16, 16)] if batch == 1 else [(3, 20, 24), (1, 20, 24), (1, 16, 16)]
    assert shapes == expected
    alone = Upscaler("fast", 2, precision="fp32")
    for result, frame in zip(made, frames, strict=True):
        assert np.abs(result.astype(int) - alone.image(frame)).max() <= 1
