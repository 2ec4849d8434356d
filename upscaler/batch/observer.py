"""Who hears about the jobs of a batch: one after the other, though the work on images overlaps."""

from upscaler.batch.result import Result
from upscaler.jobs import Job
from upscaler.results import Message, OnMessage, OnProgress, Progress


class Observer:
    """Hears about one job after the other, in the thread that runs them. What it raises ends the batch.

    This one ignores everything.
    """

    def watch(self, job: Job, on_progress: OnProgress, on_message: OnMessage) -> OnProgress:
        """The work on a job begins, which may be before its turn.

        Args:
            job: The job.
            on_progress: Passes a progress on to ``progress`` in the job's turn.
            on_message: Likewise to ``message``; such a message is not part of the result.

        Returns:
            What is called with every progress as it arises: ``on_progress``, or what calls it.
        """
        return on_progress

    def begin(self, job: Job) -> None:
        """The job's turn begins."""

    def progress(self, job: Job, progress: Progress) -> None:
        """A frame or a batch of tiles is done."""

    def message(self, job: Job, message: Message) -> None:
        """There is a message about the job."""

    def end(self, result: Result) -> None:
        """The job whose turn it is has ended."""
