"""The workers that the options ask for, and what this process does as they do, so that plans agree."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import torch

from upscaler.errors import DeviceError, UsageError
from upscaler.executors.executor import Executor
from upscaler.executors.local_processes import LocalProcesses, Place
from upscaler.executors.ray_cluster import RayCluster
from upscaler.inference import devices
from upscaler.options import Options
from upscaler.process_settings import use_allowed_processors
from upscaler.system import processors


def worker_places(options: Options) -> list[Place]:
    """A place for each worker of this machine, which share its processors; of a cluster, one for all.

    Raises:
        DeviceError: A device is not there.
    """
    if options.cluster is not None:  # whose devices this machine need not have
        return [Place("cluster", "cpu", processors.count())]
    names = options.devices or (options.device,) * (options.workers or 1)
    if names == ("all",):
        names = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
        if not names:
            raise DeviceError("--devices all: this machine has no CUDA device", "use --workers COUNT")
    names = tuple(str(devices.select(name)) for name in names)
    share = max(1, processors.count() // len(names))
    return [Place(f"worker {number} ({name})", name, share) for number, name in enumerate(names, 1)]


def note_on_devices(places: Sequence[Place], *, strict: bool) -> str:
    """A line if the devices of local workers differ; empty if not. Those of a cluster tell when they join.

    Raises:
        UsageError: They differ, and ``strict`` refuses that.
    """
    names = dict.fromkeys(devices.name(devices.select(place.device)) for place in places)
    return devices_differ(names, strict=strict) if len(names) > 1 else ""


def devices_differ(names: Iterable[str], *, strict: bool) -> str:
    """A line about devices that differ.

    Raises:
        UsageError: ``strict`` refuses that.
    """
    text = f"the devices differ ({', '.join(names)})"
    if strict:
        raise UsageError(f"--strict-plan: {text}", "name equal devices")
    return f"{text}: the result may differ in the last bit from that of one device"


def executor_for(options: Options, places: Sequence[Place], module: str) -> Executor:
    """What runs tasks at these places.

    Args:
        options: Of the command.
        places: From ``worker_places``.
        module: Full name of the module with ``runner_at``, ``device_at`` and ``main``.

    Raises:
        UsageError: Ray is needed, and not installed.
        DeviceError: There is no cluster, or none with room for a worker.
    """
    if options.cluster is not None:
        return RayCluster(module, options.cluster, options.device, places[0].processors)
    return LocalProcesses(module, places)


def have_own_device(executor: Executor) -> bool:
    """Whether workers have a device as this process has one: not on the GPUs of a cluster."""
    return not isinstance(executor, RayCluster) or executor.device == "cpu"


@contextmanager
def like_a_worker(place: Place) -> Iterator[None]:
    """Until the block ends, use as many processors as a worker: plans and encoders depend on their number."""
    most, threads = processors.most(), torch.get_num_threads()
    use_allowed_processors(place.processors)
    try:
        yield
    finally:
        processors.use_at_most(most)
        torch.set_num_threads(threads)
