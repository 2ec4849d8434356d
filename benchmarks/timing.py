"""Shared measuring: alternatives take turns in one process, and their medians are compared."""

import multiprocessing
import statistics
import time
from collections.abc import Callable, Mapping
from multiprocessing.connection import Connection

import torch


class Apart:
    """A call that runs ``calls`` times in a separate process whenever it is called.

    Several times, because other processes have evicted its data from the caches before the first.

    Args:
        make: Makes the call, in that process.
        arguments: For ``make``.
        calls: Number of calls per turn.
    """

    def __init__(self, make: Callable[..., Callable[[], object]], *arguments: object, calls: int = 1) -> None:
        context = multiprocessing.get_context("spawn")
        self._here, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(there, calls, make, arguments), daemon=True)
        self._process.start()
        there.close()

    def __call__(self) -> None:
        """Run the call."""
        self._here.send(True)
        self._here.recv()  # EOFError: it failed, and its standard error has the traceback

    def close(self) -> None:
        """End the process without waiting for its libraries to clean up."""
        self._process.kill()
        self._process.join()


def _serve(
    requests: Connection, calls: int, make: Callable[..., Callable[[], object]], arguments: tuple[object]
) -> None:
    call = make(*arguments)
    while requests.recv():
        for _ in range(calls):
            call()
        requests.send(True)


def take_turns(alternatives: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each alternative.

    One call each to warm up, then ``rounds`` rounds in which every alternative runs once, so that other load
    affects all of them alike. Call with all cores free.
    """
    for call in alternatives.values():
        call()
    seconds: dict[str, list[float]] = {name: [] for name in alternatives}
    for _ in range(rounds):
        for name, call in alternatives.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
    return {name: statistics.median(times) for name, times in seconds.items()}


def matrix_peak_flops(dtype: torch.dtype, side: int = 2048, rounds: int = 7) -> float:
    """Measured floating-point operations per second of a square matrix product: the physical limit."""
    left, right = (torch.rand(side, side).to(dtype) for _ in range(2))
    seconds = take_turns({"product": lambda: left @ right}, rounds)["product"]
    return 2 * side**3 / seconds


def memory_bandwidth(size_bytes: int = 256 * 2**20, rounds: int = 7) -> float:
    """Measured bytes per second of a copy, reads and writes both counted: the other physical limit."""
    source = torch.zeros(size_bytes, dtype=torch.uint8)
    target = torch.empty_like(source)
    seconds = take_turns({"copy": lambda: target.copy_(source)}, rounds)["copy"]
    return 2 * size_bytes / seconds


def print_table(title: str, rows: dict[str, dict[str, str]]) -> None:
    """Print a Markdown table; the first row determines the columns."""
    columns = list(next(iter(rows.values())))
    print(f"\n| {title} | {' | '.join(columns)} |")
    print(f"|{'---|' * (len(columns) + 1)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(row.get(column, '-') for column in columns)} |")
