"""Processes that torchrun starts again find each other, and nothing of those before."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from torch.distributed import HashStore, Store  # type: ignore[attr-defined]

from upscaler.errors import TrainingError
from upscaler.trainer.stages.attempt import attempt_store

_PATIENCE_S = 60


def out_of_patience() -> Callable[[], bool]:
    """For ``should_stop``: where processes do not find each other, a test fails and does not hang."""
    deadline = time.monotonic() + _PATIENCE_S
    return lambda: time.monotonic() > deadline


def joined(store: Store, size: int) -> list[Store]:
    """What each of the processes gets that start at about the same time."""
    should_stop = out_of_patience()
    with ThreadPoolExecutor(size) as pool:
        return list(pool.map(lambda rank: attempt_store(store, rank, size, should_stop), range(size)))


def test_an_attempt_sees_what_its_processes_write_and_nothing_of_the_one_before() -> None:
    store = HashStore()
    first, second = joined(store, 3), joined(store, 3)
    for attempt, address in ((first, "of a killed process"), (second, "of a new one")):
        assert not any(of_rank.check(["address/1"]) for of_rank in attempt)
        attempt[1].set("address/1", address)
        assert {of_rank.get("address/1") for of_rank in attempt} == {address.encode()}


def test_rank_0_waits_for_the_new_process_although_a_killed_one_has_asked() -> None:
    store, should_stop = HashStore(), out_of_patience()
    store.set("asking/1", "killed")
    with ThreadPoolExecutor(1) as pool:
        rank_0 = pool.submit(attempt_store, store, 0, 2, should_stop)
        while not store.check(["answer/killed"]) and not should_stop():
            time.sleep(0.01)
        rank_1 = attempt_store(store, 1, 2, should_stop)
        rank_1.set("address/1", "new")
        assert rank_0.result().get("address/1") == b"new"


@pytest.mark.parametrize("rank", [0, 1])
def test_who_waits_for_lost_processes_can_be_stopped(rank: int) -> None:
    with pytest.raises(TrainingError, match="stopped before all processes"):
        attempt_store(HashStore(), rank, 2, lambda: True)
