"""The local workers that the options ask for, and what this process does as they do, so that plans agree."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch

from upscaler.errors import DeviceError, UsageError
from upscaler.executors.local_processes import Place
from upscaler.inference import devices
from upscaler.options import Options
from upscaler.process_settings import use_allowed_processors
from upscaler.system import processors


def local_places(options: Options) -> list[Place]:
    """A place for each worker; the processors are divided.

    Raises:
        DeviceError: A device is not there.
    """
    names = options.devices or (options.device,) * (options.workers or 1)
    if names == ("all",):
        names = tuple(f"cuda:{index}" for index in range(torch.cuda.device_count()))
        if not names:
            raise DeviceError("--devices all: this machine has no CUDA device", "use --workers COUNT")
    names = tuple(str(devices.select(name)) for name in names)
    share = max(1, processors.count() // len(names))
    return [Place(f"worker {number} ({name})", name, share) for number, name in enumerate(names, 1)]


def note_on_devices(places: Sequence[Place], *, strict: bool) -> str:
    """A line if the devices of workers differ; empty if not.

    Raises:
        UsageError: They differ, and ``strict`` refuses that.
    """
    names = dict.fromkeys(devices.name(devices.select(place.device)) for place in places)
    if len(names) < 2:
        return ""
    text = f"the devices differ ({', '.join(names)})"
    if strict:
        raise UsageError(f"--strict-plan: {text}", "name equal devices")
    return f"{text}: the result may differ in the last bit from that of one device"


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
