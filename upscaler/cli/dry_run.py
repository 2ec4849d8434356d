"""``--dry-run``: says what a batch would do, and ends."""

import shutil
from collections.abc import Callable
from pathlib import Path

from upscaler.batch.batch import Batch
from upscaler.batch.dry_run import Expected
from upscaler.cli.display import say, tell
from upscaler.error_text import error_report
from upscaler.errors import UpscalerError
from upscaler.system import disk
from upscaler.system.console import printable

_UNITS = ("bytes", "kB", "MB", "GB", "TB")


def show(batch: Batch, shown: Callable[[str], str]) -> bool:
    """Print what would be read, made, skipped, ignored and refused, and the disk space that it takes.

    Args:
        batch: Nothing of it is run.
        shown: What is shown of a text.

    Returns:
        Whether every job is expected to succeed.
    """
    job_list = batch.job_list
    for message in batch.messages:
        say(message.text)
    made: list[Expected] = []
    for job in job_list.jobs:
        try:
            expected = batch.expected(job)
        except UpscalerError as error:
            say(shown(error_report(error)))
            continue
        made.append(expected)
        size = f"{'roughly' if expected.is_rough else 'at most'} {_size(expected.size_bytes)}"
        first, *others = expected.lines
        tell(printable(shown(f"{job.source} -> {job.target}: {first}, {size}")))
        for line in others:
            tell(f"    {printable(line)}")
    for job in job_list.skipped:
        tell(printable(f"{job.source}: skipped"))
    for folder in job_list.unreadable:
        say(printable(f"error: {folder}"))
    failing = len(job_list.jobs) - len(made)
    tell(_summary(batch, made, failing))
    return not failing and not job_list.unreadable


def _summary(batch: Batch, made: list[Expected], failing: int) -> str:
    job_list = batch.job_list
    text = f"{len(made)} of {len(job_list.jobs)} files would be made"
    if failing:
        text += f"; {failing} would fail"
    if job_list.skipped:
        text += f"; {len(job_list.skipped)} skipped"
    if job_list.ignored:
        text += f"; {len(job_list.ignored)} ignored ({job_list.ignored_kinds()})"
    if made:
        # While a video is put together, its segments exist beside it.
        most = sum(each.size_bytes for each in made)
        most += max((each.size_bytes for each in made if each.is_rough), default=0)
        rough = "roughly" if any(each.is_rough for each in made) else "at most"
        text += f"; {rough} {_size(most)} of disk"
    if job_list.jobs and (free := _free_bytes(job_list.jobs[0].target)) is not None:
        text += f", {_size(free)} free"
    return f"{text}; nothing was written"


def _free_bytes(target: Path) -> int | None:
    try:
        return shutil.disk_usage(disk.existing_folder(target.parent)).free
    except OSError:
        return None


def _size(count: float) -> str:
    """``14.7 MB``."""
    for unit in _UNITS[:-1]:
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} {_UNITS[-1]}"
