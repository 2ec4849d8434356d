"""How an interrupted video continues: whether the segments of an earlier run can be kept, and with what."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from upscaler.errors import DeviceError
from upscaler.inference.engine import Upscaler
from upscaler.inference.plan import Plan
from upscaler.results import Message, OnMessage
from upscaler.resume.job_folder import JobFolder, Manifest
from upscaler.video.info import VideoInfo
from upscaler.video.segments import Segment, closed_segments


@contextmanager
def resume_or_start(
    folder: JobFolder,
    fingerprint: Mapping[str, str],
    engine: Upscaler,
    plan: Plan,
    info: VideoInfo,
    frames: int,
    on_message: OnMessage,
    *,
    resume: bool,
) -> Iterator[dict[int, Segment]]:
    """Continue the earlier run that left a job folder, or start one.

    An earlier run is continued if it had the same fingerprint, and if this machine can run the networks as it
    did (device, precision, threads, runtime, batch): only then do both runs give the same bits. The
    engine runs them so, or in the way that is fastest for a new run, until the context ends.

    Args:
        folder: The job folder, entered.
        fingerprint: From ``fingerprint.fingerprint_of``, for this run.
        engine: Runs the networks.
        plan: For the video's frames.
        info: Of the video.
        frames: How many of its frames are selected; decides whether compiling pays.
        on_message: Called with the decision, if there is an earlier run.
        resume: Continue an earlier run; otherwise always start.

    Yields:
        The complete segments of the earlier run, by number; or none, with a new manifest in the folder.

    Raises:
        MediaError: The manifest cannot be written.
    """
    earlier = folder.manifest() if resume else None
    segments = closed_segments(folder.path)
    with ExitStack() as restored:
        if earlier and segments:
            reason = earlier.difference(fingerprint)
            if not reason:
                try:
                    restored.enter_context(engine.restored_execution(earlier.execution, plan))
                except DeviceError as error:
                    reason = error.message
            if not reason:
                done = sum(segment.frames for segment in segments.values())
                on_message(Message("info", f"resuming after {done} frames of an earlier run"))
                yield segments
                return
            text = f"restarting: the earlier partial result cannot be reused, because {reason}"
            on_message(Message("info", text))
        restored.enter_context(engine.prepared(plan, info.height, info.width, frames))
        folder.begin(Manifest(fingerprint, engine.execution(plan)))
        yield {}
