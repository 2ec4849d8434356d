"""What the machine can do: device, fast number format, compiler, processor name."""

import functools
import shutil
import time
import warnings
from collections.abc import Mapping
from typing import Any

import torch

from upscaler.errors import DeviceError
from upscaler.system import graphics, memory, processors

# bf16 rounds, so it must gain at least this factor over fp32. It gained 2 on an EPYC and lost 1.5 on a Xeon
# with masked AMX: far enough from the bar for one machine to decide alike every time.
_BF16_GAIN_MIN = 1.15
# Short turns, and many: on a busy machine the scheduler interrupts most of those that take a millisecond.
_BF16_TURNS, _BF16_SIDE_PX = 16, 32


# Kinds of GPUs, as torch calls them, in the order in which ``auto`` tries them. ROCm's go by "cuda".
_GPU_KINDS = ("cuda", "mps", "xpu")
_SELECTOR = "https://pytorch.org/get-started/locally"


def select(name: str) -> torch.device:
    """Turn a device name into a device that exists.

    Args:
        name: ``auto`` (a GPU when there is one, else the processor), ``cpu``, ``cuda``, ``mps``, ``xpu``, or
            one of several GPUs: ``cuda:1``.

    Raises:
        DeviceError: The name is unknown, or there is no such device.
    """
    if name == "auto":
        return torch.device(next((kind for kind in _GPU_KINDS if _gpus(kind)[0]), "cpu"))
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise DeviceError(f"unknown device '{name}'", "use auto, cpu, cuda, cuda:0, mps or xpu") from error
    if device.type == "cpu":
        return device
    if device.type not in _GPU_KINDS:
        raise DeviceError(f"device '{name}' is not supported", "use auto, cpu, cuda, cuda:0, mps or xpu")
    gpus, why_none = _gpus(device.type)
    if (device.index or 0) >= gpus:
        reason = f": {why_none}" if why_none else ""
        raise DeviceError(f"no device '{name}' on this machine{reason}", "use --device auto or --device cpu")
    return device


@functools.cache
def _gpus(kind: str) -> tuple[int, str]:
    """How many GPUs of a kind can be used, and torch's complaint if one cannot be, such as an old driver."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        if kind == "mps":
            count = int(torch.backends.mps.is_available())
        else:
            module = torch.cuda if kind == "cuda" else torch.xpu
            count = module.device_count() if module.is_available() else 0
    return count, str(caught[0].message).partition(". ")[0] if caught and not count else ""


def unused_gpu(device: torch.device) -> str:
    """A line about an NVIDIA card that this torch cannot use, for work on the processor; empty if none is."""
    if device.type != "cpu":
        return ""
    if why_none := _gpus("cuda")[1]:
        return (
            f"the NVIDIA GPU is not used: {why_none}; update its driver, or choose another torch: {_SELECTOR}"
        )
    if torch.version.cuda is None and torch.version.hip is None and graphics.has_nvidia_driver():
        return f"the NVIDIA GPU is not used: this torch has no CUDA; how to install one that has: {_SELECTOR}"
    return ""


def fast_dtype(device: torch.device) -> torch.dtype:
    """The number format in which this device runs networks fastest without visible loss.

    fp16 on GPUs. On a processor bf16 where it has instructions for it (AMX or AVX512-BF16) and a trial shows
    that they pay, else fp32: without such instructions bf16 is emulated, and on an Intel Xeon whose AMX is
    masked by the hypervisor AVX512-BF16 took 1.8 times as long as fp32.
    """
    if device.type in _GPU_KINDS:
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


def is_processor(device: torch.device) -> bool:
    """Whether a device is the processor, which has every operation."""
    return device.type == "cpu"


def safer_dtype(device: torch.device, dtype: torch.dtype) -> torch.dtype | None:
    """The next safer number format, in which values that are not finite are computed again; after fp32 none.

    Apple's GPUs have bf16 only from macOS 14 on.
    """
    if dtype is torch.float16 and device.type != "mps":
        return torch.bfloat16
    return None if dtype is torch.float32 else torch.float32


def synchronize(device: torch.device) -> None:
    """Wait until a GPU has done its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "xpu":
        torch.xpu.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def free_memory_bytes(device: torch.device) -> int:
    """Memory that can still be had: the GPU's, or main memory within the limits of this process."""
    if device.type == "mps":  # the processor's memory, of which Metal takes no more than it recommends
        left = torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory()
        return max(0, min(left, memory.available_bytes()))
    if device.type in _GPU_KINDS:
        module = torch.cuda if device.type == "cuda" else torch.xpu
        free, _total = module.mem_get_info(device)
        return int(free)
    return memory.available_bytes()


def name(device: torch.device) -> str:
    """The name of the GPU or of the processor."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "xpu":
        return str(torch.xpu.get_device_name(device))
    return processors.name() + (" (GPU)" if device.type == "mps" else "")


def describe(device: torch.device) -> str:
    """The name of the GPU, or of the processor with its number of threads, for logs and model cards."""
    return name(device) + (f", {torch.get_num_threads()} threads" if device.type == "cpu" else "")


def is_out_of_memory(error: BaseException) -> bool:
    """CUDA and XPU have a class for it; MPS and the processor raise a RuntimeError that says so."""
    return isinstance(error, torch.OutOfMemoryError) or memory.is_exhausted(error)
