"""What the processes of one attempt use of the store through which torchrun's processes find each other."""

import time
import uuid
from collections.abc import Callable

from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.constants import default_pg_timeout

from upscaler.errors import TrainingError

_POLL_S = 0.02


def attempt_store(store: Store, rank: int, size: int, should_stop: Callable[[], bool]) -> Store:
    """Agree with the other processes of this attempt on a part of the store that no other attempt has used.

    When a process is lost, torchrun starts all of them again, on the same store, although torch expects a new
    one (https://github.com/pytorch/pytorch/issues/135712): a process would find the address under which a
    killed one could be reached, and wait there. TORCHELASTIC_RESTART_COUNT does not tell attempts apart: each
    node counts for itself (https://github.com/pytorch/pytorch/issues/108158).

    So every process asks under a name that is new, and rank 0 answers with the name of the attempt until all
    have it. What an earlier attempt has left is answered too, which nobody reads.

    Args:
        store: Where all processes, also those of earlier attempts, find each other.
        rank: Number of this process.
        size: Number of processes.
        should_stop: Asked while waiting.

    Raises:
        TrainingError: Asked to stop, or the others have not come.
        RuntimeError: The store cannot be reached.
    """
    name = uuid.uuid4().hex
    waiting = _Waiting(should_stop)
    if rank != 0:
        store.set(f"asking/{rank}", name)
        while not store.check([f"answer/{name}"]):
            waiting.go_on()
        attempt = PrefixStore(store.get(f"answer/{name}").decode(), store)
        attempt.set(f"here/{rank}", "")
        return attempt
    attempt = PrefixStore(name, store)
    missing = set(range(1, size))
    while missing:
        for other in missing:
            if store.check([f"asking/{other}"]):
                store.set(f"answer/{store.get(f'asking/{other}').decode()}", name)
        waiting.go_on()
        missing = {other for other in missing if not attempt.check([f"here/{other}"])}
    return attempt


class _Waiting:
    """Waits for other processes, as long as torch does."""

    def __init__(self, should_stop: Callable[[], bool]) -> None:
        self._should_stop = should_stop
        self._deadline = time.monotonic() + default_pg_timeout.total_seconds()

    def go_on(self) -> None:
        if self._should_stop():
            raise TrainingError("stopped before all processes of the training had started")
        if time.monotonic() > self._deadline:
            raise TrainingError("the other processes of the training have not started")
        time.sleep(_POLL_S)
