"""Memory: how much of it this process can still take, and whether freed blocks go back to the system."""

import ctypes
import functools
import os
import platform
import re
import sys

import psutil

from upscaler.errors import MemoryNeededError
from upscaler.system import containers

if sys.platform != "win32":
    import resource

# Smaller things are made without asking.
_UNCHECKED_BYTES = 256 << 20
# What libraries call it: torch, oneDNN (which cannot allocate its workspace), OpenCV, Pillow, the system.
_EXHAUSTED = re.compile(
    "DefaultCPUAllocator|could not create a primitive|insufficient memory|out of memory"
    "|not enough memory|cannot allocate memory",
    re.IGNORECASE,
)
# Parameters of mallopt, from malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4


def available_bytes() -> int:
    """Main memory that this process can still take, file cache that the system would give up included.

    The smallest of what the machine has left, what every control group above this process has left
    (containers, batch systems), and what ``ulimit -v`` leaves.
    """
    left = [int(psutil.virtual_memory().available), *containers.memory_left_bytes()]
    if sys.platform != "win32":
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            left.append(limit - int(psutil.Process().memory_info().vms))
    return max(0, min(left))


def limit_bytes() -> int:
    """Main memory that this process may take in all, whatever is in use now.

    The smallest of the machine's, the limits of every control group above this process, and ``ulimit -v``.
    """
    limits = [int(psutil.virtual_memory().total), *containers.memory_limits_bytes()]
    if sys.platform != "win32":
        limit, _ = resource.getrlimit(resource.RLIMIT_AS)
        if limit != resource.RLIM_INFINITY:
            limits.append(limit)
    return min(limits)


def check_room(needed_bytes: int, what: str, hint: str) -> None:
    """Make sure that main memory can hold something before the work for it begins.

    Args:
        needed_bytes: How much it takes at least.
        what: What is to be held, for the error: ``a picture of 80000x60000``.
        hint: For the error.

    Raises:
        MemoryNeededError: There is less, even with the memory that the system can move to the disk.
    """
    if needed_bytes < _UNCHECKED_BYTES or needed_bytes <= (left := _obtainable_bytes()):
        return
    _return_freed_blocks()
    if needed_bytes > (left := max(left, _obtainable_bytes())):
        text = f"{what} takes {needed_bytes / 1e9:.1f} GB of memory, and {left / 1e9:.1f} GB are left"
        raise MemoryNeededError(text, hint)


def _obtainable_bytes() -> int:
    """``available_bytes``, and swap space where only the machine limits this process."""
    left = available_bytes()
    is_limited = left < int(psutil.virtual_memory().available)
    return left if is_limited else left + int(psutil.swap_memory().free)


def is_exhausted(error: BaseException) -> bool:
    """Whether an error of any library says that there is no main memory left."""
    return isinstance(error, MemoryError) or bool(_EXHAUSTED.search(str(error)))


def _return_freed_blocks() -> None:
    """Give the system what was freed and kept, see ``keep_freed_blocks``."""
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)


@functools.cache
def keep_freed_blocks() -> None:
    """Keep large blocks that were freed, with glibc; see ``process_settings.keep_freed_memory``."""
    if platform.libc_ver()[0] != "glibc" or any(name.startswith("MALLOC_") for name in os.environ):
        return
    library = ctypes.CDLL(None)
    library.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)
    library.mallopt(_M_MMAP_MAX, 0)


def peak_bytes() -> int:
    """The most main memory that this process has held so far."""
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    else:  # for mypy, which checks what follows a return on another system
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
