"""Limits of containers, read from files laid out as the kernel lays them out."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path
from typing import cast

import psutil
import pytest
import torch
from av.codec.context import CodecContext
from av.video.codeccontext import VideoCodecContext
from support.containers import lay_out
from support.media import clip

from upscaler import process_settings
from upscaler.options import VideoOptions
from upscaler.system import containers, memory, processors
from upscaler.trainer.data import cache
from upscaler.video import encoders
from upscaler.video.encoders import EncodeSettings
from upscaler.video.info import ColorTags
from upscaler.video.reader import VideoReader

GIB = 1 << 30
UNLIMITED_V1 = 9223372036854771712
DOCKER_V1 = {
    "proc/self/cgroup": "5:cpu,cpuacct:/docker/abc\n4:memory:/docker/abc\n0::/\n",
    "proc/self/mountinfo": (
        "30 20 0:26 /docker/abc /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n"
        "31 20 0:27 /docker/abc /sys/fs/cgroup/cpu,cpuacct ro - cgroup cgroup rw,cpu,cpuacct\n"
    ),
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2 * GIB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{GIB}\n",
    "sys/fs/cgroup/memory/memory.stat": f"cache 7\ninactive_file 3\ntotal_inactive_file {GIB // 4}\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "150000\n",
    "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
}
# A batch system on the host: the limit is two levels above the process.
SLURM_V2 = {
    "proc/self/cgroup": "0::/slurm/job_7/step_0\n",
    "proc/self/mountinfo": "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n",
    "sys/fs/cgroup/slurm/job_7/memory.max": f"{3 * GIB}\n",
    "sys/fs/cgroup/slurm/job_7/memory.high": "max\n",
    "sys/fs/cgroup/slurm/job_7/memory.current": f"{GIB}\n",
    "sys/fs/cgroup/slurm/job_7/memory.stat": f"anon 5\ninactive_file {GIB // 2}\nactive_file 9\n",
    "sys/fs/cgroup/slurm/job_7/cpu.max": "400000 100000\n",
    "sys/fs/cgroup/slurm/job_7/step_0/memory.max": "max\n",
    "sys/fs/cgroup/slurm/job_7/step_0/memory.current": f"{GIB}\n",
    "sys/fs/cgroup/slurm/job_7/step_0/cpu.max": "max 100000\n",
}
# A container in a namespace of its own, whose path is that of the host; mounted where there is a blank.
PODMAN_V2 = {
    "proc/self/cgroup": "0::/../../machine.slice/libpod-1.scope\n",
    "proc/self/mountinfo": "30 20 0:26 / /my\\040groups rw - cgroup2 cgroup rw\n",
    "my groups/memory.max": f"{GIB}\n",
    "my groups/memory.high": f"{GIB // 2}\n",
    "my groups/memory.current": "0\n",
    "my groups/cpu.max": "50000 100000\n",
}


@pytest.mark.parametrize(
    ("files", "left", "allowed"),
    [
        (DOCKER_V1, [2 * GIB - GIB + GIB // 4], 2),
        (DOCKER_V1 | {"sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n"}, [GIB + GIB // 4], None),
        (SLURM_V2, [3 * GIB - GIB + GIB // 2], 4),
        (PODMAN_V2, [GIB, GIB // 2], 1),
        ({}, [], None),
    ],
)
def test_every_limit_above_the_process_is_read(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    files: dict[str, str],
    left: list[int],
    allowed: int | None,
) -> None:
    lay_out(tmp_path, files, monkeypatch)
    assert containers.memory_left_bytes() == left
    assert containers.processors() == allowed


def test_the_smallest_limit_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, {}, monkeypatch)
    machine = memory.available_bytes()
    assert 0 < machine <= psutil.virtual_memory().total
    lay_out(tmp_path, PODMAN_V2, monkeypatch)
    assert memory.available_bytes() == GIB // 2
    unlimited = DOCKER_V1 | {"sys/fs/cgroup/memory/memory.limit_in_bytes": f"{UNLIMITED_V1}\n"}
    lay_out(tmp_path, unlimited, monkeypatch)
    assert memory.available_bytes() > GIB // 2


@pytest.mark.parametrize(("affinity", "expected"), [(64, 4), (2, 2)])
def test_processors_are_those_of_affinity_and_quota(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, affinity: int, expected: int
) -> None:
    lay_out(tmp_path, SLURM_V2, monkeypatch)
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: list(range(affinity)), raising=False)
    assert processors.count() == expected
    assert processors.are_limited() is (affinity > 4)


def test_threads_keep_to_the_quota(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of torch, of a decoder, and of encoders with threads of their own."""
    lay_out(tmp_path, SLURM_V2, monkeypatch)
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: list(range(64)), raising=False)
    given: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    process_settings.use_allowed_processors()
    assert given == [4]
    context = cast(VideoCodecContext, CodecContext.create("libx265", "w"))
    choice = encoders.choose(".mp4", VideoOptions(codec="hevc"))
    size, colors = 64, ColorTags(2, 2, 2, False)
    rate = Fraction(25)
    encoders.configure(context, EncodeSettings(choice, size, size, 1 / rate, rate, Fraction(1), colors))
    assert context.thread_count == 4
    assert "pools=4" in context.options["x265-params"].split(":")
    with VideoReader(clip(tmp_path / "in.mp4", frames=2)) as reader:
        assert reader._decoder.thread_count == 4


def test_no_more_threads_than_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil.Process, "cpu_affinity", lambda _: list(range(64)), raising=False)
    given: list[int] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", given.append)
    process_settings.use_allowed_processors(3)
    assert (given, processors.count(), processors.are_limited()) == ([3], 3, True)
    process_settings.use_allowed_processors()
    assert given == [3]
    assert not processors.are_limited()


def test_photographs_are_cached_within_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay_out(tmp_path, PODMAN_V2, monkeypatch)
    assert not cache.Cache(GIB // 8, tmp_path).mapped
    monkeypatch.setattr(cache, "_mapped", lambda *_: torch.empty(0, dtype=torch.uint8))
    assert cache.Cache(GIB // 3, tmp_path).mapped


@pytest.mark.skipif(sys.platform == "win32", reason="has no ulimit")
def test_ulimit_counts() -> None:
    code = (
        "import resource, psutil; used = psutil.Process().memory_info().vms; "
        "resource.setrlimit(resource.RLIMIT_AS, (used + (1 << 28), -1)); "
        "from upscaler.system import memory; print(memory.available_bytes())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert 0 < int(done.stdout) <= 1 << 28
