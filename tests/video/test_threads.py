"""The threads beside the network: order, bounded queues, early exit, errors, and no thread left behind.

No test depends on how fast a thread is: events hold the threads where the test needs them. A deadlock ends
in ``TIMEOUT_S``.
"""

import threading
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from upscaler.video.threads import QUEUE_FRAMES, BackgroundWriter, Prefetcher

TIMEOUT_S = 30


@pytest.fixture(autouse=True)
def _no_thread_is_left() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


def wait_until(is_true: Callable[[], bool]) -> None:
    waiting = threading.Event()
    for _ in range(TIMEOUT_S * 100):
        if is_true():
            return
        waiting.wait(0.01)
    raise AssertionError("timed out")


class Source:
    """An iterator that counts the items taken from it, and says in which threads."""

    def __init__(self, items: int) -> None:
        self.taken = 0
        self.threads: set[str] = set()
        self._items = items

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.taken == self._items:
            raise StopIteration
        self.threads.add(threading.current_thread().name)
        self.taken += 1
        return self.taken


def test_prefetcher_yields_all_items_in_order_from_its_own_thread() -> None:
    source = Source(50)
    with Prefetcher(source) as items:
        assert list(items) == list(range(1, 51))
    assert source.threads == {"decode"}


def test_prefetcher_of_nothing_yields_nothing() -> None:
    with Prefetcher(iter(())) as items:
        assert list(items) == []


def test_prefetcher_stays_within_its_bound() -> None:
    source = Source(100)
    with Prefetcher(source) as items:
        iterator = iter(items)
        for consumed in range(1, 4):
            assert next(iterator) == consumed
            ahead = consumed + QUEUE_FRAMES + 1  # one more is in the thread's hands
            wait_until(lambda ahead=ahead: source.taken == ahead)  # type: ignore[misc]
            threading.Event().wait(0.05)  # time enough for a thread without a bound to go on
            assert source.taken == ahead


def test_prefetcher_that_is_left_early_takes_no_more_items() -> None:
    source = Source(100)
    with Prefetcher(source) as items:
        assert next(iter(items)) == 1
    taken = source.taken
    assert taken <= 1 + QUEUE_FRAMES + 1 + 1  # one place was freed while it was stopped
    assert next(source) == taken + 1  # nobody else uses it now


def test_prefetcher_that_nobody_iterates_over_ends() -> None:
    with Prefetcher(Source(100)):
        pass


def test_prefetcher_waits_for_an_item_under_way_before_its_context_ends() -> None:
    """A decoder must not outlive its container."""
    entered, finished = threading.Event(), threading.Event()

    def slow() -> Iterator[int]:
        entered.set()
        threading.Event().wait(0.2)
        finished.set()
        yield 1

    with Prefetcher(slow()):
        assert entered.wait(TIMEOUT_S)
    assert finished.is_set()


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_error_of_the_iterator_is_raised_after_the_items_before_it(error: type[BaseException]) -> None:
    def frames() -> Iterator[int]:
        yield from (1, 2)
        raise error("planted")

    consumed = []
    with pytest.raises(error, match="planted"), Prefetcher(frames()) as items:
        for item in items:
            consumed.append(item)
    assert consumed == [1, 2]


def test_error_of_the_consumer_leaves_no_thread() -> None:
    with pytest.raises(ZeroDivisionError), Prefetcher(Source(100)) as items:
        for _ in items:
            raise ZeroDivisionError


class Sink:
    """Records what is written to it, and by which threads; a closed gate holds it."""

    def __init__(self) -> None:
        self.pts: list[int] = []
        self.threads: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def write(self, planes: list[Tensor], pts: int) -> None:
        assert self.gate.wait(TIMEOUT_S)
        assert planes[0].item() == pts
        self.threads.add(threading.current_thread().name)
        self.pts.append(pts)


def put(writer: BackgroundWriter, pts: int) -> None:
    writer.put([torch.tensor(pts)], pts)


def test_writer_writes_all_frames_in_order_in_its_own_thread() -> None:
    sink = Sink()
    with BackgroundWriter(sink.write) as writer:
        for pts in range(50):
            put(writer, pts)
        writer.finish()
        assert sink.pts == list(range(50))
    assert sink.threads == {"encode"}


def test_writer_of_nothing_finishes() -> None:
    with BackgroundWriter(Sink().write) as writer:
        writer.finish()


def test_writer_stays_within_its_bound() -> None:
    sink = Sink()
    sink.gate.clear()
    handed_over = 0

    def produce(writer: BackgroundWriter) -> None:
        nonlocal handed_over
        for pts in range(20):
            put(writer, pts)
            handed_over += 1
        writer.finish()

    with BackgroundWriter(sink.write) as writer:
        producer = threading.Thread(target=produce, args=(writer,))
        producer.start()
        behind = QUEUE_FRAMES + 1  # one more is in the thread's hands
        wait_until(lambda: handed_over == behind)
        producer.join(0.05)  # time enough for a `put` without a bound to go on
        assert handed_over == behind and sink.pts == []
        sink.gate.set()
        producer.join(TIMEOUT_S)
    assert sink.pts == list(range(20))


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_error_of_a_write_is_raised_by_finish_and_ends_the_writing(error: type[BaseException]) -> None:
    written = []

    def write(_planes: list[Tensor], pts: int) -> None:
        if pts == 2:
            raise error("planted")
        written.append(pts)

    with pytest.raises(error, match="planted"), BackgroundWriter(write) as writer:
        for pts in range(2 + QUEUE_FRAMES):  # fits into the queue: no `put` has to raise
            put(writer, pts)
        writer.finish()
    assert written == [0, 1]


def test_error_of_a_write_is_raised_by_put_long_before_the_end() -> None:
    """A full disk must not be noticed only after hours of decoding; and no `put` waits for ever."""

    def write(_planes: list[Tensor], _pts: int) -> None:
        raise OSError("planted")

    pts = 0
    with pytest.raises(OSError, match="planted"), BackgroundWriter(write) as writer:
        for pts in range(10_000):
            put(writer, pts)
            wait_until(lambda: writer._queue.empty())
    assert pts <= 2


def test_writer_left_without_finish_drops_the_frames_that_wait() -> None:
    sink = Sink()
    sink.gate.clear()

    def open_gate_after_exit() -> None:
        wait_until(lambda: writer._error is not None)
        sink.gate.set()

    opener = threading.Thread(target=open_gate_after_exit)
    with BackgroundWriter(sink.write) as writer:
        for pts in range(QUEUE_FRAMES):
            put(writer, pts)
        wait_until(lambda: writer._queue.qsize() == QUEUE_FRAMES - 1)  # the first is being written
        opener.start()
    opener.join(TIMEOUT_S)
    assert sink.pts == [0]


def test_error_of_the_producer_is_not_replaced() -> None:
    with pytest.raises(ZeroDivisionError, match="mine"), BackgroundWriter(Sink().write) as writer:
        put(writer, 1)
        raise ZeroDivisionError("mine")


def test_both_measure_work_and_waiting() -> None:
    """Work counts as work and waiting as waiting; how much is the machine's business."""

    def slow() -> Iterator[int]:
        for item in range(3):
            threading.Event().wait(0.05)
            yield item

    with Prefetcher(slow()) as items:
        assert list(items) == [0, 1, 2]
    assert items.busy_s > 0.1 and items.waited_s > 0

    def write(_planes: list[Tensor], _pts: int) -> None:
        threading.Event().wait(0.05)

    with BackgroundWriter(write) as writer:
        for pts in range(QUEUE_FRAMES + 3):
            put(writer, pts)
        writer.finish()
    assert writer.busy_s > 0.2 and writer.waited_s > 0
