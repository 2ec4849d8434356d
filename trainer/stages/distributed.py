"""Several processes that train one network: torchrun starts them, this lets them act as one."""

import contextlib
import os
from collections.abc import Iterator
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from upscaler.inference import devices

Module = TypeVar("Module", bound=nn.Module)


class Team:
    """The processes of one run; a single process is a team of one, for which nothing here costs anything.

    Every process draws the same batch and takes its own crops of it, so that N processes with ``batch``
    crops each do exactly what one process with N times ``batch`` crops does. The first process decides what
    depends on the clock, validates and writes.

    Attributes:
        place: This process's device.
        rank: Number of this process, from 0.
        size: How many there are.
    """

    def __init__(self, place: torch.device, rank: int = 0, size: int = 1) -> None:
        self.place, self.rank, self.size = place, rank, size

    @property
    def leads(self) -> bool:
        """Whether this is the process that decides, validates and writes."""
        return self.rank == 0

    def own(self, crops: Tensor) -> Tensor:
        """This process's part of a batch drawn for all, on its device."""
        return crops[self.rank :: self.size].to(self.place, non_blocking=True)

    def wrapped(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over all processes; its weights become those of the first.

        Buffers are not sent around: every process computes the same spectral norms, and batch norm keeps
        the statistics of its own crops.
        """
        if self.size == 1:
            return network
        indices = [self.place] if self.place.type == "cuda" else None
        return DistributedDataParallel(network, device_ids=indices, broadcast_buffers=False)

    @contextlib.contextmanager
    def summing(self, network: nn.Module, last: bool) -> Iterator[None]:
        """Around the parts of one batch: gradients are exchanged with the last one only."""
        if last or not isinstance(network, DistributedDataParallel):
            yield
        else:
            with network.no_sync():
                yield

    def agreed(self, *numbers: float) -> tuple[float, ...]:
        """The first process's numbers, in every process."""
        if self.size == 1:
            return numbers
        sent = torch.tensor(numbers, dtype=torch.float64, device=self.place)
        dist.broadcast(sent, 0)
        return tuple(sent.tolist())

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes, in every process."""
        if self.size == 1:
            return values
        dist.all_reduce(values)
        return values / self.size

    def same(self, value: Any) -> Any:  # noqa: ANN401 - whatever can be pickled
        """The first process's value, in every process."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, 0, device=self.place)
        return box[0]


@contextlib.contextmanager
def joined(device_name: str) -> Iterator[Team]:
    """The team that torchrun's environment variables describe; left when the block ends.

    Raises:
        DeviceError: As ``devices.select``.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield Team(devices.select(device_name))
        return
    place = devices.select(device_name)
    if place.type == "cuda":
        place = devices.select(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(place)
    dist.init_process_group("nccl" if place.type == "cuda" else "gloo")
    try:
        yield Team(place, dist.get_rank(), size)
    finally:
        dist.destroy_process_group()
