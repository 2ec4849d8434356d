"""How long a file and a batch still take, from how long they have taken so far."""

import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable
from pathlib import Path

from upscaler.jobs import Job
from upscaler.results import Progress

_Format = tuple[str, str]  # kind and suffix: a pixel takes more bytes in a PNG than in a JPEG or a video


class TimeLeft:
    """Follows the jobs of a batch in their order; measures work in bytes of the sources, apart by format.

    Args:
        jobs: Those to come.
        clock: Returns seconds; monotonic.
    """

    def __init__(self, jobs: Iterable[Job], clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._coming = deque((_format_of(job), _size_bytes(job.source)) for job in jobs)
        self._left_bytes: dict[_Format, float] = defaultdict(float)
        for form, size_bytes in self._coming:
            self._left_bytes[form] += size_bytes
        self._done_bytes: dict[_Format, float] = defaultdict(float)
        self._spent_s: dict[_Format, float] = defaultdict(float)
        self._since_s = clock()  # the end of the last job
        self._begun_s = self._since_s
        # Of the job whose turn it is: what an earlier run did, what this one did, and a first measurement.
        self._resumed = self._worked = 0.0
        self._first: tuple[float, int] | None = None
        self._last_done = 0

    def begin(self) -> None:
        """The turn of the next job begins."""
        self._begun_s = self._clock()
        self._resumed, self._worked, self._first, self._last_done = 0.0, 0.0, None, 0

    def end(self, *, was_worked_at: bool) -> None:
        """It ends."""
        form, size_bytes = self._coming.popleft()
        self._left_bytes[form] -= size_bytes
        now_s = self._clock()
        if was_worked_at:
            self._done_bytes[form] += size_bytes * (1 - self._resumed)
            self._spent_s[form] += now_s - self._since_s
        self._since_s = now_s
        self.begin()

    def of_file(self, progress: Progress) -> float | None:
        """Seconds until the job whose turn it is ends; ``None`` while that is not known.

        Args:
            progress: Of that job.
        """
        now_s, total, done = self._clock(), progress.total, progress.done
        if total:
            # Tiles are counted again for each network.
            self._worked = max(self._worked, (done - progress.resumed) / total)
            self._resumed = progress.resumed / total
        is_first = self._first is None
        if self._first is None or done < self._last_done:
            self._first = now_s, done
        start_s, before = self._first
        if is_first:  # with what comes before it, until there is a second one
            start_s, before = self._begun_s, progress.resumed
        self._last_done = done
        if not total or done <= before:
            return None
        return (now_s - start_s) / (done - before) * (total - done)

    def of_all(self) -> float | None:
        """Seconds until the batch ends; ``None`` for its last job, and until a file of each kind is begun."""
        if len(self._coming) < 2:
            return None
        current, size_bytes = self._coming[0]
        spent_s, done_bytes, left_bytes = (
            self._spent_s.copy(),
            self._done_bytes.copy(),
            self._left_bytes.copy(),
        )
        left_bytes[current] -= (self._resumed + self._worked) * size_bytes
        if self._worked:
            spent_s[current] += self._clock() - self._since_s
            done_bytes[current] += self._worked * size_bytes
        left_s = 0.0
        for form, count in left_bytes.items():
            if count > 0:
                alike = [form] if done_bytes[form] else [each for each in done_bytes if each[0] == form[0]]
                measured = sum(done_bytes[each] for each in alike)
                if not measured:
                    return None
                left_s += count * sum(spent_s[each] for each in alike) / measured
        return left_s


def _format_of(job: Job) -> _Format:
    return job.kind, job.source.suffix.lower()


def _size_bytes(path: Path) -> int:
    """At least 1, for what cannot be asked: numbered images, a file that is gone."""
    try:
        return max(1, path.stat().st_size)
    except OSError:
        return 1
