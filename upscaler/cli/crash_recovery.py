"""How far a batch is, in memory that survives a crash: another process then goes on with the next file.

The command works in a forked process (``system/worker.py``). It notes here what it has planned and which file
it has begun. Native code that crashes it, such as a decoder on a damaged video, costs that file alone.
"""

import json
import pickle
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field

from upscaler.commands.interrupts import Interrupts
from upscaler.jobs import JobList
from upscaler.results import Outcome
from upscaler.system import crashes, worker


@dataclass
class Tally:
    """What has become of the jobs of a batch so far.

    Attributes:
        started_s: When it started, on the monotonic clock of the system.
        ended: How many jobs have ended; they run in the order of the list.
        outcomes: Of these jobs, how many ended how.
        frames: That they have written.
        lossy: Jobs of which something is not kept.
        begun_s: When the running job began, likewise; ``None`` between two jobs.
        is_ahead: Whether what runs is a later job than that: images overlap.
        overlap: Whether they still may.
        crash: What ended the process that ran this job, such as ``SIGSEGV``; empty if it still runs.
    """

    started_s: float
    ended: int = 0
    outcomes: Counter[Outcome] = field(default_factory=Counter)
    frames: int = 0
    lossy: int = 0
    begun_s: float | None = None
    is_ahead: bool = False
    overlap: bool = True
    crash: str = ""


class Ledger:
    """The plan and the tally of a batch, shared by the processes that work on it one after the other."""

    def __init__(self) -> None:
        self._plan, self._tally = worker.SharedNote(), worker.SharedNote()

    def plan(self) -> JobList | None:
        """What an earlier process has planned: a new plan would find the targets of the finished jobs."""
        # Pickled by this program before it opened any file.
        plan: JobList | None = pickle.loads(self._plan.read()) if self._plan.read() else None
        return plan

    def tally(self) -> Tally | None:
        """How far the batch is; ``None`` before the first job, or if the note was not written completely."""
        with suppress(ValueError, TypeError):
            tally = Tally(**json.loads(self._tally.read()))
            tally.outcomes = Counter(tally.outcomes)
            return tally
        return None

    def begin(self, plan: JobList) -> None:
        """Note the plan."""
        self._plan.write(pickle.dumps(plan))

    def note(self, tally: Tally) -> None:
        """Note how far the batch is."""
        self._tally.write(json.dumps(vars(tally)).encode())


def go_on_in_worker(interrupts: Interrupts) -> Ledger | None:
    """Go on in a worker, and after each crash during a job in another one; this process only waits for them.

    Returns in each worker. Returns in the process itself, with ``None``, if no worker is possible, or if this
    process does not run the command: it may be a program that calls the command's function.

    Args:
        interrupts: Handle the signals in this process, and then in each worker.
    """
    if not (interrupts.are_held and worker.is_possible()):
        return None
    try:
        ledger = Ledger()
        running = _fork(interrupts)
    except OSError:  # too many processes, or a sandbox: the work is done here
        return None
    while running:
        code = running.wait()
        tally = ledger.tally()
        is_crash = crashes.is_crash(code) and not running.was_stopped
        if not is_crash or tally is None or tally.begun_s is None:
            worker.end_as(code)
        if tally.is_ahead:  # nobody knows which job it was: it will crash once more, in its turn
            tally.is_ahead = tally.overlap = False
        else:
            tally.crash = crashes.describe(code)
        ledger.note(tally)
        try:
            running = _fork(interrupts)
        except OSError:
            worker.end_as(code)
    return ledger


def _fork(interrupts: Interrupts) -> worker.Worker | None:
    interrupts.hold_in_worker()
    return worker.fork()
