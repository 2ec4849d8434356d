"""Signals that ask to stop, while commands load, work and exit."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.command import UPSCALE as SHORT_SEGMENTS
from support.command import files_below
from support.media import clip, save

from upscaler.commands.interrupts import Interrupts
from upscaler.system import stop_signals
from upscaler.system.stop_signals import STOP_SIGNALS

UPSCALE = [sys.executable, "-m", "upscaler"]
# Sends itself a signal that was ignored before, or was not.
STARTED = """
import os, signal, sys
if sys.argv[1] == "ignored":
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
from upscaler.commands.interrupts import INTERRUPTS
INTERRUPTS.hold()
os.kill(os.getpid(), signal.SIGHUP)
try:
    INTERRUPTS.release()
except KeyboardInterrupt:
    print("stops")
else:
    print("goes on")
"""
without_terminals = pytest.mark.skipif(
    sys.platform == "win32", reason="has neither SIGHUP nor terminals of POSIX"
)


@without_terminals
@pytest.mark.parametrize(("at_start", "then"), [("default", "stops"), ("ignored", "goes on")])
def test_a_closed_terminal_stops_unless_it_is_ignored(at_start: str, then: str) -> None:
    """As with ``nohup``, which has the signal ignored."""
    command = [sys.executable, "-c", STARTED, at_start]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{then}\n", "")


@without_terminals
@pytest.mark.slow
@pytest.mark.parametrize("ignored", [False, True])
def test_the_terminal_is_closed_during_the_work(tmp_path: Path, ignored: bool) -> None:
    """The system sends SIGHUP, and nothing can be written any more; with ``nohup`` the work is finished."""
    import fcntl
    import pty
    import termios

    def take_terminal() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
        fcntl.ioctl(2, termios.TIOCSCTTY, 0)

    source, target = clip(tmp_path / "in.mp4", frames=200, height=96, width=128), tmp_path / "out.mp4"
    outside, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", SHORT_SEGMENTS, str(source), "-o", str(target)],
        stdin=inside,
        stdout=inside,
        stderr=inside,
        start_new_session=True,
        preexec_fn=take_terminal,
    )
    os.close(inside)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.upscaling/segment-*.json")) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.glob("*.upscaling/segment-*.json")), "the work never began"
    assert process.poll() is None
    os.close(outside)
    assert process.wait(timeout=120) == (0 if ignored else 130)
    assert target.exists() is ignored
    assert bool(list(tmp_path.glob("*.upscaling/segment-*.json"))) is not ignored


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(pytest.param(each, marks=pytest.mark.slow) for each in STOP_SIGNALS if each != signal.SIGINT),
    ],
)
def test_an_interrupt_leaves_no_partial_files(tmp_path: Path, number: signal.Signals) -> None:
    source = clip(tmp_path / "in.mp4", frames=500, height=96, width=128)
    process = subprocess.Popen(
        [*UPSCALE, str(source), "-o", str(tmp_path / "out.mp4")], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("*.upscaling/segment*")) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert list(tmp_path.glob("*.upscaling/segment*")), "the work never began"
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in said and "Traceback" not in said
    assert files_below(tmp_path) == ["in.mp4"]


def test_an_interrupt_at_exit_shows_no_traceback(tmp_path: Path) -> None:
    save(tmp_path / "a.png")
    # Registered before the command runs, so the last thing that Python does before it shuts down.
    program = (
        "import atexit, os; atexit.register(lambda: os.kill(os.getpid(), 2)); "
        "from upscaler.__main__ import main; main()"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "a.png"), "--scale", "2"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert "Traceback" not in done.stderr and "1 of 1 files" in done.stderr
    assert files_below(tmp_path) == ["a.png", "a_x2.png"]


def test_a_signal_while_handlers_are_removed_raises_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the work, an exception would come from the middle of what ends the command."""
    before = {number: signal.getsignal(number) for number in stop_signals.STOP_SIGNALS}
    interrupts, change = Interrupts(), signal.signal
    interrupts.hold()
    interrupts.release()

    def receive_and_change(number: int, handler: object) -> object:
        monkeypatch.setattr(signal, "signal", change)
        signal.raise_signal(signal.SIGTERM)
        return change(number, handler)

    monkeypatch.setattr(signal, "signal", receive_and_change)
    try:
        interrupts.leave()
        assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    finally:
        for number, handler in before.items():
            change(number, handler)


@pytest.mark.parametrize(
    ("entry", "arguments", "said"),
    [
        ("upscaler.__main__:main", ["a.png", "--scale", "2"], "interrupted; no partial file is left"),
        ("upscaler.trainer.__main__:train", [".", "-o", "w.safetensors"], ""),
        ("upscaler.trainer.__main__:evaluate", ["bicubic", "."], ""),
    ],
)
def test_an_interrupt_while_typer_loads_is_not_lost(
    entry: str, arguments: list[str], said: str, tmp_path: Path
) -> None:
    save(tmp_path / "a.png")
    # A stand-in for typer's place on the disk, which an interrupt meets while it is read.
    module, _, name = entry.partition(":")
    program = f"""
import os, sys
class Finder:
    def find_spec(self, name, path=None, target=None):
        if name == "typer":
            sys.meta_path.remove(self)
            os.kill(os.getpid(), 2)
sys.meta_path.insert(0, Finder())
from {module} import {name}
{name}()
"""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert (done.returncode, done.stderr.strip()) == (130, said)
    assert files_below(tmp_path) == ["a.png"]
