"""A worker may crash; its parent starts another one. Stop signals reach it once, and both end alike."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from upscaler.system import worker

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux can fork safely")


def test_without_proc_there_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def not_mounted(_: str) -> list[str]:
        raise FileNotFoundError

    monkeypatch.setattr(os, "listdir", not_mounted)
    assert not worker.is_possible()


# What the command does, with a job that is chosen by name.
PROGRAM = """
import ctypes, os, signal, sys, time
from upscaler.commands.interrupts import INTERRUPTS
INTERRUPTS.hold()
from upscaler.cli.crash_recovery import Tally, go_on_in_worker
from upscaler.system import stop_signals
ledger = go_on_in_worker(INTERRUPTS)
INTERRUPTS.release()
what, tally = sys.argv[1], ledger.tally()
if tally:
    print(f"job {tally.ended} ended by {tally.crash}")
    sys.exit(5)
ledger.note(Tally(0.0, ended=3, begun_s=None if what == "early" else 1.0))
def crash():
    ctypes.string_at(0)
try:
    print(os.getpid(), os.getppid(), flush=True)
    if what in ("crash", "early"):
        crash()
    if what in ("stop", "stop and crash"):
        time.sleep(60)
except KeyboardInterrupt:
    if what == "stop and crash":
        crash()
    time.sleep(0.1)  # a second KeyboardInterrupt would end it
    print("stopped")
    INTERRUPTS.leave()
    sys.exit(130)
if what == "kill":
    os.kill(os.getpid(), signal.SIGKILL)
sys.exit(7)
"""


def start(what: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, what]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def first_line(process: subprocess.Popen[str]) -> list[int]:
    assert process.stdout
    return [int(number) for number in process.stdout.readline().split()]


@pytest.mark.parametrize(
    ("what", "code", "said"),
    [
        ("nothing", 7, ""),
        ("crash", 5, "job 3 ended by SIGSEGV\n"),
        ("early", -signal.SIGSEGV, ""),
        ("kill", -signal.SIGKILL, ""),
    ],
)
def test_a_crash_during_a_job_starts_another_worker(what: str, code: int, said: str) -> None:
    process = start(what)
    worker, parent = first_line(process)
    assert parent == process.pid != worker
    assert process.communicate(timeout=60) == (said, "")
    assert process.returncode == code


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("to", ["parent", "worker", "both"])
def test_a_stop_signal_counts_once(number: signal.Signals, to: str) -> None:
    process = start("stop")
    worker, parent = first_line(process)
    for each in [parent] * (to != "worker") + [worker] * (to != "parent"):
        os.kill(each, number)
    assert process.communicate(timeout=60) == ("stopped\n", "")
    assert process.returncode == 130


def test_no_other_worker_is_started_after_a_stop_signal() -> None:
    process = start("stop and crash")
    first_line(process)
    process.send_signal(signal.SIGTERM)
    assert process.communicate(timeout=60) == ("", "")
    assert process.returncode == -signal.SIGSEGV


def test_the_worker_ends_with_its_parent() -> None:
    process = start("stop")
    worker, _ = first_line(process)
    process.kill()
    process.communicate(timeout=60)  # waits until the worker has closed its output
    while Path(f"/proc/{worker}").exists():
        time.sleep(0.01)
