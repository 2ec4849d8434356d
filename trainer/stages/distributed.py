"""Several processes, started by torchrun, that train one network together."""

import contextlib
import inspect
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous
from torch.nn.parallel import DistributedDataParallel

from upscaler.errors import DeviceError, TrainingError, UsageError
from upscaler.inference import devices
from upscaler.trainer.stages.attempt import attempt_store

# Newer versions of torch renamed the argument and warn of the old name; buffers start equal anyway.
_SYNC_BUFFERS = next(
    name
    for name in ("forward_sync_buffers", "broadcast_buffers")
    if name in inspect.signature(DistributedDataParallel).parameters
)


class World:
    """The processes of one run. With a single process, every method here is free.

    Every process draws the same batch and takes its own crops from it, so that N processes with ``batch``
    crops each do exactly what one process with N times ``batch`` crops does. Rank 0 decides what depends on
    the clock, validates, and writes files.

    Attributes:
        device: This process's device.
        rank: Number of this process, from 0.
        size: Number of processes.
    """

    def __init__(self, device: torch.device, rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = device, rank, size

    @property
    def is_rank_zero(self) -> bool:
        """Whether this process decides, validates and writes."""
        return self.rank == 0

    def shard(self, crops: Tensor) -> Tensor:
        """This process's part ``(N/size, ...)`` of what was drawn for all ``(N, ...)``, on its device."""
        return crops[self.rank :: self.size].to(self.device, non_blocking=True)

    def wrap(self, network: nn.Module) -> nn.Module:
        """The network with gradients averaged over all processes; all of them get the weights of rank 0.

        Buffers are not broadcast: every process computes the same spectral norms, and batch norm keeps the
        statistics of its own crops.
        """
        if self.size == 1:
            return network
        indices = [self.device] if self.device.type == "cuda" else None
        synced: dict[str, Any] = {_SYNC_BUFFERS: False}
        return DistributedDataParallel(network, device_ids=indices, **synced)

    @contextlib.contextmanager
    def gradient_sync(self, network: nn.Module, *, last: bool) -> Iterator[None]:
        """Around the backward pass of a micro-batch: gradients are exchanged with the last one of a batch."""
        if last or not isinstance(network, DistributedDataParallel):
            yield
        else:
            with network.no_sync():
                yield

    def broadcast(self, *numbers: float) -> tuple[float, ...]:
        """The numbers of rank 0, in every process."""
        if self.size == 1:
            return numbers
        sent = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        dist.broadcast(sent, 0)
        return tuple(sent.tolist())

    def decide(self, *numbers: float, stop: bool) -> tuple[bool, tuple[float, ...]]:
        """Whether any process is asked to stop, and the numbers of rank 0; the same in every process."""
        if self.size == 1:
            return stop, numbers
        shares = [stop, *(numbers if self.is_rank_zero else [0.0] * len(numbers))]
        sent = torch.tensor(shares, dtype=torch.float64, device=self.device)
        dist.all_reduce(sent)
        asked, *decided = sent.tolist()
        return asked > 0, tuple(decided)

    def mean(self, values: Tensor) -> Tensor:
        """The mean over all processes, in every process."""
        if self.size == 1:
            return values
        dist.all_reduce(values)
        return values / self.size

    def broadcast_object(self, value: Any) -> Any:  # noqa: ANN401 - whatever can be pickled
        """The value of rank 0, in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, 0, device=self.device)
        return values[0]


@contextlib.contextmanager
def join_world(device_name: str, should_stop: Callable[[], bool] = lambda: False) -> Iterator[World]:
    """Join the processes that torchrun's environment variables describe; leave them when the block ends.

    Args:
        device_name: As for ``devices.select``.
        should_stop: Asked while the other processes start.

    Raises:
        DeviceError: As ``devices.select``; or several processes cannot share work on such a device.
        TrainingError: Another process has ended, or cannot be reached; or asked to stop.
        UsageError: A variable is missing, or not a number.
    """
    _require_numbers("WORLD_SIZE")
    size = int(os.environ.get("WORLD_SIZE", "1"))
    if size == 1:
        yield World(devices.select(device_name))
        return
    _require_numbers("RANK", "LOCAL_RANK", "MASTER_PORT")
    device = devices.select(device_name)
    if device.type not in ("cpu", "cuda"):  # gloo exchanges no tensors on such a GPU
        raise DeviceError(
            f"{size} processes cannot train together on {device.type}", "use one, or --device cpu"
        )
    _require_variables("RANK", "MASTER_ADDR", "MASTER_PORT", *(["LOCAL_RANK"] * (device.type == "cuda")))
    if device.type == "cuda":
        device = devices.select(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(device)
    try:
        store, rank, _ = next(rendezvous("env://"))
        store = attempt_store(store, rank, size, should_stop)
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, store=store, rank=rank, world_size=size)
        yield World(device, rank, size)
    except RuntimeError as error:
        if not (isinstance(error, dist.DistError) or "gloo" in str(error)):  # whose errors have no class
            raise
        text = "another process of this training has ended, or cannot be reached"
        raise TrainingError(text, "torchrun --max-restarts starts all of them again") from error
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()


def _require_variables(*names: str) -> None:
    missing = [name for name in names if name not in os.environ]
    if missing:
        text = f"the environment has WORLD_SIZE={os.environ['WORLD_SIZE']}, but no {', '.join(missing)}"
        raise UsageError(text, "start several processes with torchrun; for a single one, unset WORLD_SIZE")


def _require_numbers(*names: str) -> None:
    for name in names:
        if not (value := os.environ.get(name, "0")).isdecimal():
            raise UsageError(f"the environment has {name}={value}, not a number", "start it with torchrun")


def starts_again() -> bool:
    """Whether torchrun may start this process again, with the same arguments."""
    return os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0") != "0"
