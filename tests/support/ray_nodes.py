"""A real Ray cluster of two nodes on this machine."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from support.command import LENGTH

from upscaler.batch import batch
from upscaler.system import processors
from upscaler.video import segments

_TESTS = Path(__file__).parents[1]
_OBJECT_STORE_BYTES = 100 << 20
_START_S = 300


class TwoNodes:
    """A head and another node, with a processor each.

    Args:
        gpus: How many each declares to have.
    """

    def __init__(self, gpus: int = 0) -> None:
        from ray.cluster_utils import Cluster

        self._share: dict[str, Any] = {
            "num_cpus": 1,
            "num_gpus": gpus,
            "object_store_memory": _OBJECT_STORE_BYTES,
        }
        self._cluster = Cluster(
            initialize_head=True, head_node_args=self._share | {"include_dashboard": False}
        )
        self.address: str = self._cluster.address
        self._other = self._cluster.add_node(**self._share)

    def lose_other(self) -> None:
        """End the other node as a power cut does."""
        self._cluster.remove_node(self._other, allow_graceful=False)

    def replace_other(self) -> None:
        """Start another one in its place."""
        self._other = self._cluster.add_node(**self._share)

    def end(self) -> None:
        """End all processes of the cluster."""
        self._cluster.shutdown()


def _patient(get_node: Callable[..., object]) -> Callable[..., object]:
    """Ray (2.60) waits for a node for 30 s, and a busy machine takes longer."""

    def patient(*arguments: object) -> object:
        deadline = time.monotonic() + _START_S
        while True:
            try:
                return get_node(*arguments)
            except RuntimeError:
                if time.monotonic() > deadline:
                    raise

    return patient


@contextmanager
def two_nodes(gpus: int = 0) -> Iterator[TwoNodes]:
    """The cluster, until the block ends; tests are skipped where Ray is missing."""
    pytest.importorskip("ray", reason="ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        # Workers find what this process does.
        folders = [str(_TESTS.parent), str(_TESTS), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("RAY_worker_niceness", "0")  # 15 by default, which starves them on a busy machine
        from ray._private import services

        patch.setattr(services, "get_node", _patient(services.get_node))
        nodes = TwoNodes(gpus)
        try:
            yield nodes
        finally:
            nodes.end()


@contextmanager
def like_their_workers(task_runner: str) -> Iterator[None]:
    """One processor, as a node has, and short segments: what is made depends on both.

    Args:
        task_runner: Full name of the module that workers run.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segments, "_FRAMES_MIN", LENGTH)
        patch.setattr(segments, "_FRAMES_MAX", LENGTH)
        patch.setattr(batch, "_TASK_RUNNER", task_runner)
        processors.use_at_most(1)
        yield
        processors.use_at_most(None)
