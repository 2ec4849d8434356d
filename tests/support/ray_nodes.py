"""A real Ray cluster of two nodes on this machine."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

_TESTS = Path(__file__).parents[1]
_OBJECT_STORE_BYTES = 100 << 20


class TwoNodes:
    """A head and another node, with a processor each."""

    def __init__(self) -> None:
        from ray.cluster_utils import Cluster

        self._share: dict[str, Any] = {"num_cpus": 1, "object_store_memory": _OBJECT_STORE_BYTES}
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


@contextmanager
def two_nodes() -> Iterator[TwoNodes]:
    """The cluster, until the block ends; tests are skipped where Ray is missing."""
    pytest.importorskip("ray", reason="ray is not installed")
    with pytest.MonkeyPatch.context() as patch:
        # Workers find what this process does; a busy machine takes long to start a node.
        folders = [str(_TESTS.parent), str(_TESTS), os.environ.get("PYTHONPATH", "")]
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, folders)))
        patch.setenv("RAY_raylet_start_wait_time_s", "300")
        patch.setenv("OMP_NUM_THREADS", "1")
        nodes = TwoNodes()
        try:
            yield nodes
        finally:
            nodes.end()
