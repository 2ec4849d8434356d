"""Memory: how much of it this process can still take, and whether freed blocks go back to the system."""

import ctypes
import functools
import os
import platform
import sys

import psutil

from upscaler.system import containers

if sys.platform != "win32":
    import resource

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
