"""Waiting in a way that a signal can end."""

from concurrent.futures import Future, wait
from typing import TypeVar

from upscaler.system.threads import RaiseIfStopped, never_stopped

T = TypeVar("T")

_POLL_S = 0.2


def wait_for(future: "Future[T]", raise_if_stopped: RaiseIfStopped = never_stopped) -> "Future[T]":
    """Wait until a future is done, and give it back.

    On Windows, Ctrl-C does not end a wait without a limit.
    """
    while not future.done():
        raise_if_stopped()
        wait([future], _POLL_S)
    return future
