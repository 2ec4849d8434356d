"""How every benchmark here measures: alternatives take turns in one process, and medians are compared."""

import statistics
import time
from collections.abc import Callable

import torch


def take_turns(alternatives: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Median seconds of each alternative.

    One call each to warm up, then ``rounds`` rounds in which every alternative runs once, so that what
    else the machine does hits all of them alike. Call with all cores free.
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


def print_table(title: str, rows: dict[str, dict[str, str]]) -> None:
    """A Markdown table; the first row gives the columns."""
    columns = list(next(iter(rows.values())))
    print(f"\n| {title} | {' | '.join(columns)} |")
    print(f"|{'---|' * (len(columns) + 1)}")
    for name, row in rows.items():
        print(f"| {name} | {' | '.join(row.get(column, '-') for column in columns)} |")
