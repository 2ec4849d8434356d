"""Grouping of frames that can go through the network together."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batch_equal(
    items: Iterable[T], key: Callable[[T], object], max_batch: Callable[[T], int]
) -> Iterator[list[T]]:
    """Group consecutive items with equal keys, at most ``max_batch`` of the item per group; order is kept."""
    batch: list[T] = []
    for item in items:
        if batch and key(item) != key(batch[0]):
            yield batch
            batch = []
        batch.append(item)
        if len(batch) >= max_batch(item):
            yield batch
            batch = []
    if batch:
        yield batch
