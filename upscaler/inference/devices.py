"""What the machine can do: device, fast number format, compiler, processor name."""

import functools
import shutil
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from upscaler.errors import DeviceError
from upscaler.system import memory, processors

# bf16 rounds, so it must gain at least this factor over fp32. It gained 2 on an EPYC and lost 1.5 on a Xeon
# with masked AMX: far enough from the bar for one machine to decide alike every time.
_BF16_GAIN_MIN = 1.15
# Short turns, and many: on a busy machine the scheduler interrupts most of those that take a millisecond.
_BF16_TURNS, _BF16_SIDE_PX = 16, 32


def select(name: str) -> torch.device:
    """Turn a device name into a device that exists.

    Args:
        name: ``auto`` (a GPU when there is one, else the processor), ``cpu``, ``cuda`` or ``cuda:1``.

    Raises:
        DeviceError: The name is unknown, or there is no such device.
    """
    gpus, why_none = _gpus()
    if name == "auto":
        return torch.device("cuda" if gpus else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"unknown device '{name}'", "use auto, cpu, cuda or cuda:0") from error
    if device.type not in ("cpu", "cuda"):
        raise DeviceError(f"device '{name}' is not supported", "use auto, cpu, cuda or cuda:0")
    if device.type == "cuda" and (device.index or 0) >= gpus:
        reason = f": {why_none}" if why_none else ""
        raise DeviceError(f"no device '{name}' on this machine{reason}", "use --device auto or --device cpu")
    return device


@functools.cache
def _gpus() -> tuple[int, str]:
    """How many GPUs can be used, and torch's complaint where one cannot be, such as an old driver."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    return count, str(caught[0].message).partition(". ")[0] if caught and not count else ""


def fast_dtype(device: torch.device) -> torch.dtype:
    """The number format in which this device runs networks fastest without visible loss.

    fp16 on CUDA. On a processor bf16 where it has instructions for it (AMX or AVX512-BF16) and a trial shows
    that they pay, else fp32: without such instructions bf16 is emulated, and on an Intel Xeon whose AMX is
    masked by the hypervisor AVX512-BF16 took 1.8 times as long as fp32.
    """
    if device.type == "cuda":
        return torch.float16
    # Not in every torch that we support; without it nothing is known, and fp32 is always right.
    capabilities: Mapping[str, Any] = getattr(torch.cpu, "get_capabilities", dict)()
    native = capabilities.get("amx_bf16") or capabilities.get("avx512_bf16")
    return torch.bfloat16 if native and _bf16_pays() else torch.float32


@functools.cache
def _bf16_pays() -> bool:
    """Whether a convolution of the default networks' size is clearly faster in bf16 than in fp32; 15 ms.

    The shortest of several turns each: a busy machine lengthens some of them, but shortens none.
    """
    shortest_s = {torch.float32: float("inf"), torch.bfloat16: float("inf")}
    weight, features = torch.full((48, 48, 3, 3), 0.01), torch.ones(1, 48, _BF16_SIDE_PX, _BF16_SIDE_PX)
    with torch.inference_mode():
        for turn in range(_BF16_TURNS):
            for dtype in shortest_s:
                kernel, given = (
                    tensor.to(dtype).contiguous(memory_format=torch.channels_last)
                    for tensor in (weight, features)
                )
                start = time.perf_counter()
                torch.nn.functional.conv2d(given, kernel, padding=1)
                if turn:  # the first one chooses its algorithm
                    shortest_s[dtype] = min(shortest_s[dtype], time.perf_counter() - start)
    return shortest_s[torch.bfloat16] * _BF16_GAIN_MIN < shortest_s[torch.float32]


def can_compile(device: torch.device) -> bool:
    """Whether ``torch.compile`` finds what it needs to make code for a device; a GPU's comes with torch."""
    return device.type != "cpu" or has_compiler()


@functools.cache
def has_compiler() -> bool:
    """Whether a C++ compiler is found, which ``torch.compile`` needs on a processor."""
    return any(shutil.which(name) for name in ("g++", "c++", "clang++"))


def free_memory_bytes(device: torch.device) -> int:
    """Memory that can still be had: the GPU's, or main memory within the limits of this process."""
    if device.type == "cuda":
        free, _total = torch.cuda.mem_get_info(device)
        return int(free)
    return memory.available_bytes()


def name(device: torch.device) -> str:
    """The name of the GPU or of the processor."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else processors.name()


def describe(device: torch.device) -> str:
    """The name of the GPU, or of the processor with its number of threads, for logs and model cards."""
    return name(device) + (f", {torch.get_num_threads()} threads" if device.type == "cpu" else "")


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA has a class for it; the processor's allocator raises a RuntimeError that says so."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "DefaultCPUAllocator" in str(error)
