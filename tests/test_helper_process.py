"""A helper's death costs its parent nothing but the answer."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from upscaler import helper_process
from upscaler.helper_process import (
    HelperDiedError,
    HelperOutOfMemoryError,
    HelperProcess,
    HelperUnavailableError,
)

DOOMED = "support.doomed"


def test_one_process_answers_all_requests() -> None:
    with HelperProcess(DOOMED) as helper:
        answers = [helper.ask({"given": "a\n'ü"}, 60) for _ in range(2)]
    assert answers[0] == answers[1]
    assert answers[0]["given"] == "a\n'ü"
    assert answers[0]["process"] != os.getpid()


def test_each_death_is_named_and_the_next_request_is_answered() -> None:
    ends = {"abort": "SIGABRT", "crash": "SIGSEGV", "exit": "exit code 3", "raise": "exit code 1"}
    with HelperProcess(DOOMED) as helper:
        for what, said in ends.items():
            with pytest.raises(HelperDiedError, match=said):
                helper.ask({"do": what}, 60)
        with pytest.raises(HelperDiedError, match=r"no answer in 0\.1 s"):
            helper.ask({"do": "hang"}, 0.1)
        assert helper.ask({"do": "print", "given": 7}, 60)["given"] == 7


def test_a_lack_of_memory_is_told_from_a_crash() -> None:
    with HelperProcess(DOOMED) as helper:
        with pytest.raises(HelperOutOfMemoryError, match="too little memory"):
            helper.ask({"do": "lack memory"}, 60)
        assert helper.ask({"given": 7}, 60)["given"] == 7


def test_a_death_between_two_requests_is_not_blamed_on_the_next() -> None:
    with HelperProcess(DOOMED) as helper:
        first = helper.ask({"given": 1}, 60)["process"]
        os.kill(first, signal.SIGTERM)
        os.waitid(os.P_PID, first, os.WEXITED | os.WNOWAIT)
        assert helper.ask({"given": 7}, 60)["given"] == 7


def test_an_answer_that_is_not_json_counts_as_a_death() -> None:
    with HelperProcess(DOOMED) as helper:
        with pytest.raises(HelperDiedError, match="wrong answer"):
            helper.ask({"do": "babble", "given": "[" * 100_000}, 60)
        assert helper.ask({"given": 7}, 60)["given"] == 7


def test_progress_extends_the_time() -> None:
    with HelperProcess(DOOMED) as helper:
        assert helper.ask({"do": "work", "given": 7}, 0.8)["given"] == 7  # the work takes 1 s


def test_a_helper_that_somebody_ends_gets_a_second_chance(tmp_path: Path) -> None:
    with HelperProcess(DOOMED) as helper:
        given = str(tmp_path / "once")
        assert helper.ask({"do": "be killed once", "given": given}, 60)["given"] == given
        with pytest.raises(HelperDiedError, match="SIGKILL"):
            helper.ask({"do": "be killed", "given": given}, 60)


def test_a_helper_that_closes_its_output_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upscaler.helper_process._END_TIMEOUT_S", 0.1)
    with HelperProcess(DOOMED) as helper:
        with pytest.raises(HelperDiedError, match="wrong answer"):
            helper.ask({"do": "close"}, 60)
        assert helper.ask({"given": 7}, 60)["given"] == 7


def test_an_answer_after_an_interrupt_is_not_taken_for_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    with HelperProcess(DOOMED) as helper:
        helper.ask({"given": 1}, 60)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(helper_process, "_killed_after", lambda *_: signal.raise_signal(signal.SIGINT))
            helper.ask({"given": 2}, 60)
        assert helper.ask({"given": 3}, 60)["given"] == 3


def test_helper_ends_with_its_parent() -> None:
    code = f"import sys; sys.path[:] = {sys.path!r}; from upscaler.helper_process import HelperProcess as H; "
    code += f"print(H('{DOOMED}').ask({{'given': 1}}, 60)['process'])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    with pytest.raises(ProcessLookupError):
        for _ in range(600):
            os.kill(int(said), 0)
            subprocess.run(["sleep", "0.05"], check=True)


def test_a_helper_that_cannot_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    with HelperProcess("support.does_not_exist") as helper, pytest.raises(HelperUnavailableError):
        helper.ask({}, 60)
    monkeypatch.setattr(sys, "executable", "/nonexistent")
    with HelperProcess(DOOMED) as helper, pytest.raises(HelperUnavailableError):
        helper.ask({}, 60)


def test_files_of_the_current_folder_are_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "json.py").write_text("raise SystemExit")
    (tmp_path / "av.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    with HelperProcess(DOOMED) as helper:
        assert helper.ask({"given": 1}, 60)["given"] == 1
