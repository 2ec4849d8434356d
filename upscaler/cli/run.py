"""Run a batch and show it: progress bar, lines on stderr, JSON report, summary, exit code."""

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from upscaler.batch import Batch, Result, one_at_a_time
from upscaler.cli import json_report
from upscaler.cli import pipes as standard
from upscaler.cli.display import Display, say, summary
from upscaler.cli.dry_run import show
from upscaler.cli.forecast import Forecast
from upscaler.cli.ledger import Ledger, Tally
from upscaler.cli.pipes import Pipes
from upscaler.error_text import error_report
from upscaler.errors import UpscalerError
from upscaler.jobs import Job
from upscaler.options import Options
from upscaler.results import OnProgress
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
    """Plan everything, then run one job after the other; after a crash, go on with the job after that.

    Args:
        inputs: Images, videos, and folders of them.
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
        Batch(pipes.inputs, pipes.options, ledger.plan() if ledger else None) as batch,
    ):
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
        jobs, untried = job_list.jobs[tally.ended :], 0
        forecast = Forecast([job.source for job in jobs if job.kind == "still"])
        for job in jobs:
            if tally.crash:
                result = _show_crash(job, batch, display, tally)
            elif not_tried := batch.not_tried(job):  # for the lack of disk space: one line for all of them
                result, untried = not_tried, untried + 1
            else:
                tally.begun_s = time.monotonic()
                if ledger:
                    ledger.note(tally)
                result = _run_job(job, batch, display, forecast, pipes)
            _report(result, lines, pipes)
            if result.outcome == "interrupted":
                return EXIT_INTERRUPTED
            _add(result, tally)
            if ledger:
                ledger.note(tally)
    if untried:
        files = "1 file is" if untried == 1 else f"{untried} files are"
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
            say(error_report(result.error, result.error_line))
        _report(result, lines, pipes)


def _add(result: Result, tally: Tally) -> None:
    tally.ended += 1
    tally.outcomes[result.outcome] += 1
    tally.frames += result.frames
    tally.lossy += any(message.is_loss for message in result.messages)
    tally.begun_s, tally.crash = None, ""


def _show_crash(job: Job, batch: Batch, display: Display, tally: Tally) -> Result:
    """Show how a job ended that ended the process before this one."""
    display.clear_line()
    display.begin(str(job.source), tally.begun_s)
    begun_s = time.monotonic() if tally.begun_s is None else tally.begun_s
    result = batch.crashed(job, tally.crash, time.monotonic() - begun_s, display.message)
    assert result.error, "a crash is an error"
    display.end(error_report(result.error, result.error_line), is_trouble=True)
    return result


def _run_job(job: Job, batch: Batch, display: Display, forecast: Forecast, pipes: Pipes) -> Result:
    """Run one job and show how it ended."""
    display.begin(str(job.source))
    on_progress: OnProgress = display.advance
    if job.kind != "preview":
        on_progress = forecast.watch(job.source, batch.engines[job.kind], display.advance, display.message)
    result = batch.run(job, on_progress, display.message)
    if result.done:
        try:
            pipes.send(job.target)
        except UpscalerError as error:
            result = replace(result, outcome="failed", error=error)
    if result.error:
        display.end(error_report(result.error, result.error_line), is_trouble=True)
    elif result.outcome == "skipped":
        display.end(printable(f"skipped: another upscale has made or is making {job.target}"))
    elif result.outcome == "interrupted":
        display.end("interrupted; no partial file is left", is_trouble=True)
    else:
        display.end(printable(f"wrote {job.target}"))
    return result


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
