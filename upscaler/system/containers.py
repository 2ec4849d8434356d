"""Limits of the control groups above this process, which containers and batch systems are made of (Linux).

Versions 1 and 2: https://docs.kernel.org/admin-guide/cgroup-v2.html and
https://docs.kernel.org/admin-guide/cgroup-v1/memory.html. Elsewhere there are none.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

_ROOT = Path("/")  # tests lay out the files of a container below another folder


@dataclass(frozen=True)
class _Group:
    """A control group, as a folder of the kernel's files."""

    version: int
    folder: Path

    def number(self, file: str) -> int | None:
        """The number in a file; ``None`` without the file, or for ``max``."""
        text = _read(self.folder / file).strip()
        return int(text) if re.fullmatch(r"-?\d+", text) else None

    def entry(self, file: str, name: str) -> int:
        """A line ``name number`` of a file; 0 without it."""
        found = re.search(rf"^{name} (\d+)$", _read(self.folder / file), re.MULTILINE)
        return int(found[1]) if found else 0


def memory_limits_bytes() -> list[int]:
    """Each limit of memory above this process; empty without limits."""
    return [limit for limit, _ in _memory_limits()]


def memory_left_bytes() -> list[int]:
    """For each limit of memory above this process, what is left below it; empty without limits.

    Cached files that were read once count as free, because the kernel drops them first.
    """
    return [limit - used for limit, used in _memory_limits()]


def _memory_limits() -> Iterator[tuple[int, int]]:
    """Each limit above this process, and what is used of it, both in bytes."""
    for group in _groups("memory"):
        if group.version == 2:
            limits = [group.number("memory.max"), group.number("memory.high")]
            used, cached = group.number("memory.current"), group.entry("memory.stat", "inactive_file")
        else:
            limits = [group.number("memory.limit_in_bytes")]
            used = group.number("memory.usage_in_bytes")
            cached = group.entry("memory.stat", "total_inactive_file")
        yield from ((limit, (used or 0) - cached) for limit in limits if limit is not None)


def processors() -> int | None:
    """How many processors the smallest quota of processor time fills, rounded up; ``None`` without one."""
    shares = []
    for group in _groups("cpu"):
        if group.version == 2:
            quota, _, period = _read(group.folder / "cpu.max").strip().partition(" ")
        else:
            quota, period = (
                _read(group.folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")
            )
        if quota.isdecimal() and period.isdecimal():  # neither "max" nor -1
            shares.append(int(quota) / int(period))
    return max(1, math.ceil(min(shares))) if shares else None


def _groups(controller: str) -> Iterator[_Group]:
    """The groups that this process is in and those above them, of every hierarchy with this controller."""
    paths: dict[str, str] = {}  # of version 1 by controller; that of version 2 has no name
    for line in _read(_ROOT / "proc/self/cgroup").splitlines():
        _, names, own = line.split(":", 2)
        paths |= dict.fromkeys(names.split(","), own)
    for line in _read(_ROOT / "proc/self/mountinfo").splitlines():
        mount, _, system = line.partition(" - ")
        kind, _, options = system.split(" ", 2)
        if kind == "cgroup2":
            version, path = 2, paths.get("")
        elif kind == "cgroup" and controller in options.split(","):
            version, path = 1, paths.get(controller)
        else:
            continue
        if path is not None:
            top, mount_point = (_unescaped(text) for text in mount.split(" ")[3:5])
            yield from (_Group(version, folder) for folder in _upwards(mount_point, top, path))


def _upwards(mount_point: str, top: str, path: str) -> Iterator[Path]:
    """The folder of a group and those above it, up to where the hierarchy is mounted.

    A container may see its own group as the top of the mount, and its path as it is on the host.
    """
    mounted = _ROOT / mount_point.lstrip("/")
    below = PurePosixPath(path)
    folder = mounted
    if below.is_relative_to(top) and ".." not in below.parts:
        folder = mounted / below.relative_to(top)
    yield folder
    while folder != mounted:
        folder = folder.parent
        yield folder


def _unescaped(text: str) -> str:
    """A path of mountinfo, where blanks and other special characters are octal numbers."""
    return re.sub(r"\\(\d{3})", lambda found: chr(int(found[1], 8)), text)


def _read(path: Path) -> str:
    """A file's text; empty if it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
