"""Overlap: on a GPU, upload, computation and download of successive batches run at the same time."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor

T = TypeVar("T")

# (a batch's tensors, its tag, whether to check) -> (results, flag). With ``check`` the work waits for the
# device and redoes what is not finite; without, it does not wait, and the flag, a bool scalar on the device,
# says whether all values were finite.
Work = Callable[[list[Tensor], T, bool], tuple[list[Tensor], Tensor]]

# Batches between the start of upload and the end of download: one each in upload, computation and download.
_DEPTH = 3


def run_overlapped(
    batches: Iterable[tuple[list[Tensor], T]], work: Work[T], device: torch.device
) -> Iterator[tuple[list[Tensor], T]]:
    """Run ``work`` on every batch, in order.

    Args:
        batches: Tensors on the host, of any shape, dtype and range, and a tag for each batch.
        work: Runs on ``device``. On a GPU the loop does not wait for it: when a result arrives with values
            that are not finite, its batch is run again with ``check``.
        device: Where ``work`` runs.

    Returns:
        The results of ``work`` on the host, and the tags. On a GPU some batches are read ahead.
    """
    if device.type == "cuda":
        return _run_on_gpu(batches, work, device)
    return ((work(tensors, tag, True)[0], tag) for tensors, tag in batches)


@dataclass(frozen=True)
class _Pending(Generic[T]):
    """A batch on its way, with its sources in case it has to be run again."""

    sources: list[Tensor]
    results: list[Tensor]
    finite: Tensor
    arrived: torch.cuda.Event
    tag: T


def _run_on_gpu(
    batches: Iterable[tuple[list[Tensor], T]], work: Work[T], device: torch.device
) -> Iterator[tuple[list[Tensor], T]]:
    upload, download = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    waiting: deque[_Pending[T]] = deque()
    for tensors, tag in batches:
        waiting.append(_enqueue(tensors, tag, work, upload, download))
        if len(waiting) == _DEPTH:
            yield _collect(waiting.popleft(), work)
    while waiting:
        yield _collect(waiting.popleft(), work)


def _enqueue(
    tensors: list[Tensor], tag: T, work: Work[T], upload: torch.cuda.Stream, download: torch.cuda.Stream
) -> _Pending[T]:
    """Queue a batch's upload, work and download, each on its own stream, without waiting for any of them."""
    compute = torch.cuda.current_stream(upload.device)
    with torch.cuda.stream(upload):
        sources = [_pinned(tensor).to(upload.device, non_blocking=True) for tensor in tensors]
    compute.wait_stream(upload)
    for tensor in sources:
        tensor.record_stream(compute)  # its memory must not be reused before compute is done
    computed, finite = work(sources, tag, False)
    download.wait_stream(compute)
    with torch.cuda.stream(download):
        results = [_pinned_like(tensor).copy_(tensor, non_blocking=True) for tensor in (*computed, finite)]
    for tensor in (*computed, finite):
        if tensor.device.type == "cuda":
            tensor.record_stream(download)
    arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
    arrived.record(download)
    return _Pending(sources, results[:-1], results[-1], arrived, tag)


def _collect(pending: _Pending[T], work: Work[T]) -> tuple[list[Tensor], T]:
    """Wait for a batch; the only place where the host waits for the GPU."""
    pending.arrived.synchronize()
    if bool(pending.finite):
        return pending.results, pending.tag
    results, _ = work(pending.sources, pending.tag, True)
    return [result.cpu() for result in results], pending.tag


def _pinned(tensor: Tensor) -> Tensor:
    """A copy in memory that the GPU can fetch by itself; torch keeps such memory for the next one."""
    return _pinned_like(tensor).copy_(tensor)


def _pinned_like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="cpu", pin_memory=True)
