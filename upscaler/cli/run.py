"""Run a batch and show it: progress bar, lines on stderr, JSON report, summary, exit code."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from upscaler.batch.batch import Batch, one_at_a_time
from upscaler.batch.observer import Observer
from upscaler.batch.result import Result
from upscaler.cli import json_report
from upscaler.cli import pipes as standard
from upscaler.cli.crash_recovery import Ledger, Tally
from upscaler.cli.display import Display, say, summary
from upscaler.cli.dry_run import show
from upscaler.cli.forecast import Forecast
from upscaler.cli.pipes import Pipes
from upscaler.cli.time_left import TimeLeft
from upscaler.error_text import error_report
from upscaler.errors import UpscalerError
from upscaler.jobs import Job
from upscaler.options import Options
from upscaler.results import Message, OnMessage, OnProgress, Progress
from upscaler.system.console import printable

EXIT_DONE, EXIT_FAILED, EXIT_DAMAGED, EXIT_INTERRUPTED = 0, 1, 3, 130  # 2: see app.py


def run(
    inputs: Sequence[Path],
    options: Options,
    report: Path | None,
    *,
    dry_run: bool,
    quiet: bool,
    ledger: Ledger | None = None,
) -> int:
    """Plan everything, then run the jobs in order; after a crash, go on with the job after that.

    Args:
        inputs: Images, videos, and folders of them; paths or URLs.
        options: Everything else that decides what is written.
        report: File for the JSON report; ``-``: standard output; ``None``: no report.
        dry_run: Only say what would be done.
        quiet: Print nothing but warnings and errors.
        ledger: What another process has done of this before it crashed; notes what this one does.

    Returns:
        The exit code.

    Raises:
        UpscalerError: The batch cannot start; nothing is written then.
    """
    to_output = report is not None and str(report) == "-"
    with (
        standard.opened(inputs, options, report_on_output=to_output) as pipes,
        one_at_a_time(),
        Batch(pipes.inputs, pipes.options, ledger.plan() if ledger else None, pipes.raw_output) as batch,
    ):
        pipes = replace(pipes, staged=batch.files.shown)
        if dry_run:
            return EXIT_DONE if show(batch, pipes.shown) else EXIT_FAILED
        return _run(batch, report, pipes, ledger, quiet=quiet)


def _run(batch: Batch, report: Path | None, pipes: Pipes, ledger: Ledger | None, *, quiet: bool) -> int:
    earlier = ledger.tally() if ledger else None
    tally = earlier or Tally(time.monotonic())
    job_list = batch.job_list
    with (
        json_report.opened(report, append=earlier is not None) as lines,
        Display(len(job_list.jobs), pipes.shown, tally.ended, quiet=quiet) as display,
    ):
        if earlier is None:
            if ledger:
                ledger.begin(job_list)
            _show_not_run(batch, display, lines, pipes)
        shown = _Shown(batch, display, lines, pipes, tally, ledger)
        if earlier:
            display.clear_line()
        if tally.crash:
            shown.show_crash(job_list.jobs[tally.ended])
        batch.run(shown, tally.ended, overlap=tally.overlap)
    if shown.is_interrupted:
        return EXIT_INTERRUPTED
    if shown.untried:
        files = "1 file is" if shown.untried == 1 else f"{shown.untried} files are"
        say(f"error: no space left on the disk: {files} not tried")
    is_compared = _compare(batch, display, pipes)
    elapsed_s = time.monotonic() - tally.started_s
    text = summary(job_list, tally.outcomes, lossy=tally.lossy, frames=tally.frames, elapsed_s=elapsed_s)
    display.line(text)
    is_incomplete = bool(not is_compared or job_list.unreadable or (lines and lines.failed))
    return _exit_code(tally, is_incomplete=is_incomplete)


def _exit_code(tally: Tally, *, is_incomplete: bool) -> int:
    if tally.outcomes["failed"] or is_incomplete:
        return EXIT_FAILED
    return EXIT_DAMAGED if tally.outcomes["done with warnings"] else EXIT_DONE


def _show_not_run(batch: Batch, display: Display, lines: json_report.Report | None, pipes: Pipes) -> None:
    """Show what is known before the first job."""
    for message in batch.messages:
        display.line(message.text)
    for result in batch.not_run():
        if result.error:
            say(pipes.shown(error_report(result.error, result.error_line)))
        _report(result, lines, pipes)


class _Shown(Observer):
    """Shows how each job goes and ends, and notes it.

    Attributes:
        is_interrupted: Whether the last job was interrupted.
        untried: How many jobs were not tried for the lack of disk space: one line tells of all of them.
    """

    def __init__(
        self,
        batch: Batch,
        display: Display,
        lines: json_report.Report | None,
        pipes: Pipes,
        tally: Tally,
        ledger: Ledger | None,
    ) -> None:
        self.is_interrupted, self.untried = False, 0
        self._batch, self._display, self._lines, self._pipes = batch, display, lines, pipes
        self._tally, self._ledger = tally, ledger
        self._shown: Job | None = None
        self._running: Job | None = None
        jobs = batch.job_list.jobs[tally.ended :]
        self._forecast = Forecast([job.source for job in jobs if job.kind == "still"])
        self._time_left = TimeLeft(jobs)

    def show_crash(self, job: Job) -> None:
        """Show how a job ended that ended the process before this one."""
        tally = self._tally
        self._display.begin(str(job.source), tally.begun_s)
        begun_s = time.monotonic() if tally.begun_s is None else tally.begun_s
        seconds = time.monotonic() - begun_s
        self.end(self._batch.crashed(job, tally.crash, seconds, self._display.message))

    def watch(self, job: Job, on_progress: OnProgress, on_message: OnMessage) -> OnProgress:
        self._running = job
        self._note()
        if job.kind == "preview":
            return on_progress
        return self._forecast.watch(job.source, self._batch.engines[job.kind], on_progress, on_message)

    def begin(self, job: Job) -> None:
        self._shown = job
        self._tally.begun_s = time.monotonic()
        self._note()
        self._time_left.begin()
        self._display.begin(str(job.source))

    def progress(self, job: Job, progress: Progress) -> None:
        self._display.advance(progress, self._time_left.of_file(progress), self._time_left.of_all())

    def message(self, job: Job, message: Message) -> None:
        self._display.message(message)

    def end(self, result: Result) -> None:
        if result.done and result.target:
            try:
                self._pipes.send(result.target)
            except UpscalerError as error:
                result = replace(result, outcome="failed", error=error)
        if not result.is_tried:
            self._display.drop()
            self.untried += 1
        elif result.error:
            self._display.end(error_report(result.error, result.error_line), is_trouble=True)
        elif result.outcome == "skipped":
            text = f"skipped: another upscale has made or is making {result.target}"
            self._display.end(printable(text))
        elif result.outcome == "interrupted":
            self._display.end("interrupted; no partial file is left", is_trouble=True)
        else:
            self._display.end(printable(f"wrote {result.target}"))
        _report(result, self._lines, self._pipes)
        self.is_interrupted = result.outcome == "interrupted"
        self._time_left.end(was_worked_at=result.done is not None)
        tally = self._tally
        tally.ended += 1
        tally.outcomes[result.outcome] += 1
        tally.frames += result.frames
        tally.lossy += any(message.is_loss for message in result.messages)
        tally.begun_s, tally.crash = None, ""
        self._note()

    def _note(self) -> None:
        self._tally.is_ahead = self._running is not None and self._running != self._shown
        if self._ledger:
            self._ledger.note(self._tally)


def _compare(batch: Batch, display: Display, pipes: Pipes) -> bool:
    """Write the page that was asked for, if any; returns whether that succeeded."""
    try:
        batch.compare(lambda message: display.line(pipes.shown(message.text)))
    except UpscalerError as error:
        say(error_report(error))
        return False
    return True


def _report(result: Result, lines: json_report.Report | None, pipes: Pipes) -> None:
    """Add a result to the report, if there is one; if that fails, say so and go on with the work itself."""
    try:
        if lines:
            lines.add(pipes.shown_json(json_report.line(result)))
    except UpscalerError as error:
        say(error_report(error))
