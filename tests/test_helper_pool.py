"""Helpers that share requests with data."""

import threading
import time

import pytest

from upscaler.helper_pool import HelperPool
from upscaler.helper_process import HelperDiedError

DOOMED = "support.doomed"


def test_requests_are_shared_and_ended_at_once() -> None:
    with HelperPool(DOOMED, 2) as pool:
        answers = [pool.exchange({"do": "data"}, [bytes([number]) * 100_000, b"end"]) for number in range(5)]
        for number, answer in enumerate(answers):
            content, data = answer.result(60)
            assert content["length"] == 100_003 and data == bytes([number]) * 100_000 + b"end"
        before = threading.active_count()
        hanging = [pool.exchange({"do": "hang"}) for _ in range(3)]
        deadline = time.monotonic() + 30
        while not (hanging[0].running() and hanging[1].running()) and time.monotonic() < deadline:
            time.sleep(0.01)
    assert all(answer.done() for answer in hanging) and hanging[2].cancelled()
    assert threading.active_count() <= before
    with pytest.raises(HelperDiedError, match="SIGKILL"):
        hanging[0].result()
