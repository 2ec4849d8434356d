"""Work in flight: on a GPU, upload, computing and download of successive batches run at the same time."""

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

# Batches between upload and the end of download: one in each of the three stages.
_DEPTH = 3


def run_overlapped(
    batches: Iterable[tuple[list[Tensor], T]], work: Work[T], device: torch.device
) -> Iterator[tuple[list[Tensor], T]]:
    """Do ``work`` on every batch, in order.

    Args:
        batches: Tensors on the host, and whatever belongs to them.
        work: Runs on ``device``. On a GPU the steady loop never waits for it: values that are not finite are
            noticed when a batch has come home, and that batch is done again with checks.
        device: Where ``work`` runs.

    Returns:
        The results on the host, with what belongs to them. On a GPU some batches are read ahead.
    """
    if device.type == "cuda":
        return _overlapped(batches, work, device)
    return ((work(tensors, tag, True)[0], tag) for tensors, tag in batches)


@dataclass(frozen=True)
class _Flying(Generic[T]):
    """A batch on its way; what it was made from stays, should it have to be done again."""

    sources: list[Tensor]
    results: list[Tensor]
    finite: Tensor
    home: torch.cuda.Event
    tag: T


def _overlapped(
    batches: Iterable[tuple[list[Tensor], T]], work: Work[T], device: torch.device
) -> Iterator[tuple[list[Tensor], T]]:
    upload, download = torch.cuda.Stream(device), torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
    flying: deque[_Flying[T]] = deque()
    for tensors, tag in batches:
        flying.append(_started(tensors, tag, work, upload, download))
        if len(flying) == _DEPTH:
            yield _landed(flying.popleft(), work)
    while flying:
        yield _landed(flying.popleft(), work)


def _started(
    tensors: list[Tensor], tag: T, work: Work[T], upload: torch.cuda.Stream, download: torch.cuda.Stream
) -> _Flying[T]:
    """Queue a batch's upload, work and download, each on its own stream, without waiting for any of them."""
    compute = torch.cuda.current_stream(upload.device)
    with torch.cuda.stream(upload):
        sources = [_pinned(tensor).to(upload.device, non_blocking=True) for tensor in tensors]
    compute.wait_stream(upload)
    for tensor in sources:
        tensor.record_stream(compute)  # its memory must not be given away before compute is through
    computed, finite = work(sources, tag, False)
    download.wait_stream(compute)
    with torch.cuda.stream(download):
        results = [_pinned_like(tensor).copy_(tensor, non_blocking=True) for tensor in (*computed, finite)]
    for tensor in (*computed, finite):
        if tensor.device.type == "cuda":
            tensor.record_stream(download)
    home = torch.cuda.Event()  # type: ignore[no-untyped-call]
    home.record(download)
    return _Flying(sources, results[:-1], results[-1], home, tag)


def _landed(flying: _Flying[T], work: Work[T]) -> tuple[list[Tensor], T]:
    """Wait for a batch; the only place where the host waits for the GPU."""
    flying.home.synchronize()
    if bool(flying.finite):
        return flying.results, flying.tag
    results, _ = work(flying.sources, flying.tag, True)
    return [result.cpu() for result in results], flying.tag


def _pinned(tensor: Tensor) -> Tensor:
    """A copy in memory that the GPU can fetch by itself; torch keeps such memory for the next one."""
    return _pinned_like(tensor).copy_(tensor)


def _pinned_like(tensor: Tensor) -> Tensor:
    return torch.empty_like(tensor, device="cpu", pin_memory=True)
