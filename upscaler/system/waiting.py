"""Waiting in a way that a signal can end."""

from concurrent.futures import Future, wait
from typing import TypeVar

T = TypeVar("T")

_POLL_S = 0.2


def wait_for(future: "Future[T]") -> "Future[T]":
    """Wait until a future is done, and give it back.

    On Windows, Ctrl-C does not end a wait without a limit.
    """
    while not future.done():
        wait([future], _POLL_S)
    return future
