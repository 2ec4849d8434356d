"""What is said about jobs that overtake each other, in the order of the jobs."""

from collections import deque
from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

T = TypeVar("T")


class Turns(Generic[T]):
    """Items take turns: what is said about an item waits until those before it have left.

    Args:
        items: In order; must be hashable.
        begin: Called with each item when its turn begins, the first one at once.
    """

    def __init__(self, items: Iterable[T], begin: Callable[[T], None]) -> None:
        self._waiting = deque(items)
        self._begin = begin
        self._held: dict[T, list[Callable[[], None]]] = {}
        if self._waiting:
            begin(self._waiting[0])

    @property
    def current(self) -> T:
        """The item whose turn it is."""
        return self._waiting[0]

    def say(self, item: T, call: Callable[[], None]) -> None:
        """Call a function now if it is the item's turn, else when it is."""
        if item == self.current:
            call()
        else:
            self._held.setdefault(item, []).append(call)

    def leave(self) -> None:
        """End the turn of the current item, and begin the next one's, if there is one."""
        self._waiting.popleft()
        if self._waiting:
            self._begin(self.current)
            for call in self._held.pop(self.current, ()):
                call()
