"""Processors: how many this process may use, and what they are called."""

import os
import platform
import sys
from contextlib import suppress
from pathlib import Path

import psutil

from upscaler.system import containers

if sys.platform == "win32":
    import winreg


_most: int | None = None


def count() -> int:
    """Processors that this process may use: by affinity, its container's quota, and ``use_at_most``."""
    return min(_by_affinity(), containers.processors() or sys.maxsize, _most or sys.maxsize)


def use_at_most(most: int | None) -> None:
    """Count no more processors than this from now on; ``None`` takes the limit away."""
    global _most  # a setting of the whole process, as the affinity is
    _most = most


def most() -> int | None:
    """What ``use_at_most`` was given."""
    return _most


def are_limited() -> bool:
    """Whether there are fewer processors than the affinity says, which is all that libraries look at."""
    return count() < _by_affinity()


def _by_affinity() -> int:
    process = psutil.Process()
    if hasattr(process, "cpu_affinity"):  # not on macOS
        with suppress(psutil.Error):
            return len(process.cpu_affinity() or ()) or 1
    return os.cpu_count() or 1


def name() -> str:
    """The name of the processor, such as ``AMD EPYC 7763``; where the system does not tell, its kind."""
    with suppress(OSError):
        if sys.platform == "win32":
            return _name_in_registry()
        if sys.platform == "linux":
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
        if sys.platform == "darwin":
            return _name_by_sysctl()
    return platform.processor() or platform.machine()


if sys.platform == "win32":

    def _name_in_registry() -> str:
        folder = r"HARDWARE\DESCRIPTION\System\CentralProcessor\0"
        with winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, folder) as key:
            return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()


if sys.platform == "darwin":
    import ctypes

    def _name_by_sysctl() -> str:
        text, size = ctypes.create_string_buffer(256), ctypes.c_size_t(256)
        if ctypes.CDLL(None).sysctlbyname(b"machdep.cpu.brand_string", text, ctypes.byref(size), None, 0):
            raise OSError("the system does not tell")
        return text.value.decode(errors="replace").strip()
