"""Graphics cards that the system has, whether or not torch can use them."""

import ctypes
import functools
import shutil
import sys


@functools.cache
def has_nvidia_driver() -> bool:
    """Whether the driver of an NVIDIA card is installed: its library, or ``nvidia-smi``."""
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return shutil.which("nvidia-smi") is not None
    return True
